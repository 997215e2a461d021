"""Kaldi archives: byte for byte the format, Kaldi's own reader and writer, and what is refused."""

import struct

import numpy as np
import pytest

from features import archive, folder
from features.extractor import get

pytest.importorskip("kaldiio")
FBANK = get("kaldi_fbank80")
X = {
    f"utt{i}": np.random.default_rng(i).standard_normal((20 + i, 80)).astype(np.float32)
    for i in range(5)
}


def by_hand(features, kind=b"FM", code="f4"):
    """An archive after the text of kaldi-asr.org/doc/io.html."""
    data = b""
    for id, x in features.items():
        rows, columns = struct.pack("<bi", 4, len(x)), struct.pack("<bi", 4, x.shape[1])
        data += (
            id.encode() + b" \0B" + kind + b" " + rows + columns + x.astype(f"<{code}").tobytes()
        )
    return data


@pytest.fixture
def written(tmp_path):
    """A folder of ours with the five utterances."""
    with folder.writing(tmp_path, folder.holds(FBANK)):
        with archive.Writer(tmp_path, "00000") as ark:
            for id, x in X.items():
                ark.add(id, np.concatenate([x, np.zeros((3, 80), np.float32)]), len(x))
    return tmp_path


def same(found):
    assert list(found) == list(X)
    assert all(x.dtype == np.float32 and (x == X[id]).all() for id, x in found.items())


def test_bytes_are_the_format(written):
    assert (written / "00000-00.ark").read_bytes() == by_hand(X)
    same(dict(archive.read(written / "00000-00.ark")))
    same(dict(archive.read(archive.join(written), FBANK)))


def test_kaldis_own_reader_reads_ours(written):
    kaldi = pytest.importorskip("kaldi_native_io")
    with kaldi.SequentialFloatMatrixReader(f"scp:{archive.join(written)}") as reader:
        same({id: x.copy() for id, x in reader})
    with kaldi.RandomAccessFloatMatrixReader(f"scp:{written}/feats.scp") as reader:
        assert (reader["utt3"] == X["utt3"]).all()


def test_ours_reads_what_kaldi_writes(tmp_path):
    kaldi = pytest.importorskip("kaldi_native_io")
    place = f"ark,scp:{tmp_path}/a.ark,{tmp_path}/a.scp"
    with kaldi.FloatMatrixWriter(place) as writer:
        for id, x in X.items():
            writer.write(id, x)
    same(dict(archive.read(tmp_path / "a.scp")))
    same(dict(archive.read(tmp_path / "a.ark")))
    place = archive.read_scp(tmp_path / "a.scp")["utt2"]
    assert (archive.load(place + "[3:9]") == X["utt2"][3:10]).all()  # Kaldi's ranges hold both ends
    with kaldi.CompressedMatrixWriter(f"ark:{tmp_path}/c.ark") as writer:
        for id, x in X.items():
            writer.write(id, x, method=kaldi.CompressionMethod.kSpeechFeature)
    for id, x in archive.read(tmp_path / "c.ark"):
        assert np.abs(x - X[id]).max() < 0.05 * np.abs(X[id]).max() and x.dtype == np.float32


def test_double_matrices(tmp_path):
    (tmp_path / "d.ark").write_bytes(by_hand(X, b"DM", "f8"))
    same(dict(archive.read(tmp_path / "d.ark")))


def test_it_refuses_to_be_read_as_another(written, tmp_path):
    with pytest.raises(ValueError, match="holds kaldi_fbank80, wanted whisper80"):
        next(archive.read(written / "00000-00.ark", get("whisper80")))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.ark").write_bytes(by_hand(X))
    with pytest.raises(ValueError, match="does not say which front end made it"):
        next(archive.read(tmp_path / "elsewhere" / "a.ark", FBANK))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("utt1 touch {0}/ran |", "runs the command 'touch .*ran |', which is refused"),
        ("utt1 | touch {0}/ran", "runs the command"),
        ("utt1", "feats.scp:1: wanted 'id file'"),
        ("a x.ark:1\na y.ark:2", "feats.scp:2: 'a' stands there twice"),
        ("utt1 nowhere.ark:5", "nowhere.ark: cannot be read"),
    ],
)
def test_bad_scp(tmp_path, line, said):
    (tmp_path / "feats.scp").write_text(line.format(tmp_path) + "\n")
    with pytest.raises(ValueError, match=said):
        list(archive.read(tmp_path / "feats.scp"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "data",
    [
        b"utt1 PKLcos\nsystem\n(S'touch ran'\ntR.",
        b"utt1  [\n 1 2\n 3 4 ]\n",
        b"utt1 RIFF....WAVE",
        b"\xff\xfe\xfd \0BFM ",
        by_hand(X)[:-30],
        by_hand(X)[:14],
    ],
)
def test_what_is_no_archive_of_matrices(tmp_path, data, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.ark").write_bytes(data)
    with pytest.raises(ValueError, match="wanted a binary matrix|damaged") as caught:
        list(archive.read(tmp_path / "a.ark"))
    assert "\n" not in str(caught.value) and not (tmp_path / "ran").exists()


def test_what_an_archive_cannot_hold(tmp_path):
    with archive.Writer(tmp_path, "00000") as ark:
        for id, x, said in (
            ("a b", np.zeros((3, 80)), "an id with spaces"),
            ("a", np.zeros(3), "wants frames"),
            ("a", np.zeros((0, 80)), "has no frames"),
        ):
            with pytest.raises(ValueError, match=said):
                ark.add(id, x, len(x))
    assert not list(tmp_path.iterdir())
