"""Sound that ffmpeg decodes: its length, its parts, and what ffmpeg is not allowed to do."""

import io
import shutil
import subprocess

import numpy as np
import pytest
import soundfile

import features

FFMPEG = shutil.which("ffmpeg")


def sound(seconds) -> bytes:
    """A WAV file of noise."""
    file = io.BytesIO()
    noise = 0.1 * np.random.default_rng(0).standard_normal(round(seconds * 16000))
    soundfile.write(file, noise, 16000, format="WAV")
    return file.getvalue()


FOREIGN = ["m4a", "mp4", "aac", "webm", "mka", "wma", "wv", "tta", "ac3"]


@pytest.mark.skipif(not FFMPEG, reason="needs the ffmpeg command")
@pytest.mark.parametrize("suffix", FOREIGN)
def test_what_ffmpeg_reads(tmp_path, suffix):
    source, path = tmp_path / "a.wav", tmp_path / f"--i 'x'.{suffix}"
    source.write_bytes(sound(3.0))
    subprocess.run([FFMPEG, "-v", "error", "-i", source, f"file:{path}"], check=True)
    n, rate = features.info(path).n_samples, features.info(path).sampling_rate
    assert 2.95 <= n / rate < 3.2  # WMA loses the last block
    wave, _ = features.load(path, None)
    assert len(wave) == n == features.info(io.BytesIO(path.read_bytes())).n_samples
    part, _ = features.load(path, None, 1.25, 0.5)
    assert (part == wave[round(1.25 * rate) : round(1.25 * rate) + rate // 2]).all()
    with features.blocks(path, None) as blocks:
        assert (np.concatenate(list(blocks)) == wave).all()
    with pytest.raises(ValueError, match="wanted at most 1 s"):
        features.load(path, max_duration_s=1)
    assert len(features.load(path, 16000)[0]) == round(n * 16000 / rate)
    assert 0.08 < wave.std() < 0.12
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.7)])
    with pytest.raises(ValueError, match="damaged or cut off"):
        features.info(path)


@pytest.mark.skipif(not FFMPEG, reason="needs the ffmpeg command")
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "avi"])
def test_the_sound_of_a_film(tmp_path, suffix):
    source, path = tmp_path / "a.wav", tmp_path / f"film.{suffix}"
    source.write_bytes(sound(2.0))
    picture = ["-f", "lavfi", "-i", "testsrc=size=64x64:rate=10:duration=2"]
    subprocess.run([FFMPEG, "-v", "error", *picture, "-i", source, path], check=True)
    assert 2.0 <= features.info(path).duration_s < 2.2
    assert features.load(path)[0].std() > 0.05


@pytest.mark.skipif(not FFMPEG, reason="needs the ffmpeg command")
def test_a_film_without_sound(tmp_path):
    path = tmp_path / "film.mp4"
    picture = ["-f", "lavfi", "-i", "testsrc=size=64x64:rate=10:duration=1"]
    subprocess.run([FFMPEG, "-v", "error", *picture, path], check=True)
    with pytest.raises(ValueError, match="film.mp4: holds no sound; remove it"):
        features.load(path)


@pytest.mark.skipif(not FFMPEG, reason="needs the ffmpeg command")
def test_ffmpeg_follows_no_list_of_other_files(tmp_path):
    (tmp_path / "secret.wav").write_bytes(sound(1.0))
    lists = {
        "list.m4a": b"ffconcat version 1.0\nfile secret.wav\n",
        "play.aac": b"#EXTM3U\n#EXTINF:1,\nsecret.wav\n#EXT-X-ENDLIST\n",
        "sub.webm": f"file:{tmp_path}/secret.wav".encode(),
    }
    for name, text in lists.items():
        (tmp_path / name).write_bytes(text)
        with pytest.raises(ValueError, match=name):
            features.load(tmp_path / name)
    with pytest.raises(ValueError, match="no such file"):
        features.load(f"concat:{tmp_path}/secret.wav|{tmp_path}/secret.wav.m4a")
