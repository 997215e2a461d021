"""Stored features are of what is asked for: file, times, channel; never of what had the same id."""

import json
import os
import shutil

import numpy as np
import pytest
import soundfile

import features
from features import archive, cli, extract, requests, sources, stored

RATE = 16000


def tone(hz: float, seconds: float) -> np.ndarray:
    return 0.1 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)


@pytest.fixture
def call(tmp_path):
    """A call of two speakers: 300 Hz then 1500 Hz on channel 0, 1100 Hz on channel 1."""
    left = np.concatenate([tone(300, 2), tone(1500, 2)])
    soundfile.write(tmp_path / "call.wav", np.stack([left, tone(1100, 4)], 1), RATE)
    return tmp_path


def manifest(folder, *rows):
    path = folder / "m.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def row(id="u1", audio="call.wav", **more):
    return {"id": id, "audio": audio, "start": 0.0, "duration": 1.0, "text": "x"} | more


def run(folder, *rows, kind="shards", jobs=1):
    items = sources.find(manifest(folder, *rows))
    tally = extract.extract(items, folder / "fb", "kaldi_fbank80", {"dither": 0.0}, jobs, kind=kind)
    assert not tally.errors
    return tally.done, tally.skipped, tally.anew


def peak(x) -> int:
    return int(np.asarray(x).mean(0).argmax())


def wanted(folder, start=0.0, channel=None, audio="call.wav") -> int:
    fe = features.get("kaldi_fbank80", dither=0.0)
    return peak(fe(features.load(folder / audio, RATE, start, 1.0, channel=channel)[0])[0])


@pytest.mark.parametrize("kind", extract.KINDS)
def test_a_segment_that_moved_is_made_anew(call, kind):
    if kind == "ark":
        pytest.importorskip("kaldiio")
    other = row("u2", start=1.0)
    assert run(call, row(), other, kind=kind) == (2, 0, 0)
    assert run(call, row(), other, kind=kind) == (0, 2, 0)
    assert run(call, row(start=2.0), other, kind=kind) == (1, 1, 1)
    assert run(call, row(start=2.0), other, kind=kind) == (0, 2, 0)
    if kind == "ark":
        found = dict(archive.read(call / "fb" / "feats.scp"))
    else:
        found = {id: stored.Stored(call / "fb")[id][0] for id in stored.Stored(call / "fb")}
        assert len(stored.Stored(call / "fb")) == 2
        stored.Stored(call / "fb").verify()
    assert sorted(found) == ["u1", "u2"]
    assert peak(found["u1"]) == wanted(call, 2.0) != wanted(call)


def test_each_channel_is_its_own(call):
    rows = [row("a", channel=0), row("b", channel=1), row("mix")]
    assert run(call, *rows, jobs=2) == (3, 0, 0)
    fb = stored.Stored(call / "fb")
    assert peak(fb["a"][0]) == wanted(call, channel=0)
    assert peak(fb["b"][0]) == wanted(call, channel=1) != wanted(call, channel=0)
    assert run(call, row("a", channel=1), *rows[1:]) == (1, 2, 1)
    assert peak(stored.Stored(call / "fb")["a"][0]) == wanted(call, channel=1)


@pytest.mark.parametrize("channel", [-1, "left", 1.5, True, [0]])
def test_a_channel_is_a_number(call, channel):
    with pytest.raises(ValueError, match="m.jsonl:1: .*'channel' is"):
        sources.find(manifest(call, row(channel=channel)))


def test_a_file_that_has_changed_is_made_anew(call):
    """Also where it is as long as before."""
    assert run(call, row()) == (1, 0, 0)
    soundfile.write(call / "call.wav", np.stack([tone(2500, 4)] * 2, 1), RATE)
    assert run(call, row()) == (1, 0, 1)
    assert peak(stored.Stored(call / "fb")["u1"][0]) == wanted(call)


def test_another_file_of_the_same_id_is_refused(call, capsys):
    """What refers to the first would be given the other's sound."""
    run(call, row(), row("u2"))
    (call / "other").mkdir()
    soundfile.write(call / "other" / "call.wav", np.stack([tone(2500, 4)] * 2, 1), RATE)
    message = r"holds 'u1' of .*/call.wav, wanted of .*/other/call.wav \(1 such ids\); give another"
    with pytest.raises(ValueError, match=message):
        run(call, row(audio="other/call.wav"), row("u2"), row("u3"))
    assert [*stored.Stored(call / "fb")] == ["u1", "u2"]
    for home in ("a", "b"):
        (call / home).mkdir()
        soundfile.write(call / home / "x.wav", tone(300, 1), RATE)
    line = ["extract", str(call / "a"), "--out", str(call / "ab")]
    assert cli.main(line) == 0 == cli.main(line)
    assert cli.main(["extract", str(call / "b"), "--out", str(call / "ab")]) == 2
    assert "holds 'x' of" in capsys.readouterr().err


def test_set_and_sounds_may_be_moved_together(call, tmp_path_factory):
    assert run(call, row()) == (1, 0, 0)
    new = tmp_path_factory.mktemp("new") / "home"
    shutil.copytree(call, new)  # keeps the times of change
    assert run(new, row()) == (0, 1, 0)
    (new / "call.wav").unlink()  # nothing says that it was another
    assert run(new, row()) == (0, 1, 0)


def test_what_fails_leaves_nothing_stale(call, capsys):
    line = ["extract", str(manifest(call, row(), row("u2"))), "--out", str(call / "fb"),
            "--manifest", str(call / "t.jsonl")]  # fmt: skip
    assert cli.main(line) == 0
    manifest(call, row(start=9.0), row("u2"))  # past the end
    assert cli.main(line) == 1 and "1 ids stood there of other sound" in capsys.readouterr().out
    rows = [json.loads(text) for text in (call / "t.jsonl").read_text().splitlines()]
    assert "features" not in rows[0] and rows[1]["features"] == "fb#u2"


def test_a_manifest_refers_to_nothing_stale(call):
    run(call, row(), row("u2"))
    path = manifest(call, row(start=1.5, features="fb#u1"), row("u2"))
    assert sources.refer(path, call / "fb", call / "t.jsonl") == 1


def test_an_older_set_is_believed_and_counted(call, capsys):
    run(call, row())
    index = call / "fb" / "00000-00.json"
    about = json.loads(index.read_text())
    del about["of"]
    index.write_text(json.dumps(about))
    path = manifest(call, row(start=2.0))
    line = ["extract", str(path), "--out", str(call / "fb"), "--option", "dither=0.0"]
    assert cli.main(line) == 0
    assert "1 there do not say of which sound (an older set)" in capsys.readouterr().out
    stored.Stored(call / "fb").refuse_moved("u1", 2.0, None)


@pytest.mark.parametrize(
    ("start", "channel", "size", "message"),
    [
        (0.5, None, 0, "made from 0 s on, but the row starts at 0.5 s"),
        (0.0, 1, 0, "made of all channels, but the row wants channel 1"),
        (0.0, None, 5, "made of a file of [0-9]+ bytes, which has 5 now"),
    ],
)
def test_what_differs_is_said(call, start, channel, size, message):
    run(call, row())
    fb = stored.Stored(call / "fb")
    with pytest.raises(ValueError, match=f"fb#u1: {message}; run the same"):
        fb.refuse_moved("u1", start, channel, size)
    fb.refuse_moved("u1", 0.004, None, os.path.getsize(call / "call.wav"))


@pytest.mark.parametrize("folder", ["C#", "a#b#c", "#"])
@pytest.mark.parametrize("id", ["u1", "u#1", "#"])
def test_folders_and_ids_may_hold_the_mark(call, folder, id):
    home = call / folder / "data"
    home.mkdir(parents=True)
    shutil.copy(call / "call.wav", home)
    run(home, row(id))
    assert stored.split(f"{home}/fb#{id}") == (f"{home}/fb", id)
    assert stored.split("nowhere#u#1") == ("nowhere", "u#1")
    assert requests.made(home / "fb", "shards").keys() == {id}
