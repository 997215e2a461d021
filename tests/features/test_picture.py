"""Pictures: every preset, short sound and long, axes in s, Hz and dB."""

import numpy as np
import pytest
import soundfile

import features


@pytest.mark.parametrize("preset", features.names())
def test_draws_every_preset(preset):
    wave = np.random.default_rng(0).standard_normal(4000).astype(np.float32) * 0.1
    figure = features.draw(wave, 8000 if preset.startswith("kaldi_mfcc") else 16000, preset=preset)
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert any("(Hz)" in label for label in labels) and any("dB" in label for label in labels)
    assert "time (s)" in [axes.get_xlabel() for axes in figure.axes]


def test_picture_file(tmp_path):
    soundfile.write(
        tmp_path / "a$b_c.wav", np.random.default_rng(0).standard_normal(44100) * 0.1, 44100
    )
    features.plot(tmp_path / "a$b_c.wav", tmp_path / "a.png", start_s=0.25, duration_s=0.5)
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(ValueError, match="cannot be written"):
        features.plot(tmp_path / "a$b_c.wav", tmp_path / "nowhere" / "a.png")
    with pytest.raises(ValueError, match="got ndarray; .*features.draw"):
        features.plot(np.zeros(1600, np.float32), tmp_path / "a.png")


@pytest.mark.parametrize(("coded", "expected"), [("linear8", 8 * 6.02 - 4.26), ("mulaw", 38.0)])
def test_quantised(coded, expected, tmp_path, monkeypatch):
    """A tone of half of full scale: 6.02 bits - 4.26 dB, or near 38 dB for mu-law's 8."""
    from features import cli, picture

    titles = []
    monkeypatch.setattr(
        picture, "draw", lambda wave, rate, title, **kw: titles.append(title) or _Saved()
    )
    tone = 0.5 * np.sin(0.7123 * np.arange(16000))
    soundfile.write(tmp_path / "a.wav", tone, 16000, subtype="FLOAT")
    words = ["plot", str(tmp_path / "a.wav"), str(tmp_path / "a.png"), "--quantize", coded]
    assert not cli.main(words)
    snr = float(titles[0].split("signal to noise ")[1].split()[0])
    assert abs(snr - expected) < 1.5
    with pytest.raises(ValueError, match="wanted one of linear8"):
        features.plot(tmp_path / "a.wav", tmp_path / "a.png", coded="adpcm")


class _Saved:
    def savefig(self, *_, **__):
        pass


def test_an_hour_does_not_make_a_giant():
    figure = features.draw(np.zeros(8000 * 300, np.float32), 8000, preset="kaldi_fbank40")
    assert all(image.get_size()[1] <= 4000 for axes in figure.axes for image in axes.images)


def test_too_short_and_two_channels():
    with pytest.raises(ValueError, match="less than one frame"):
        features.draw(np.zeros(100, np.float32), 16000)
    with pytest.raises(ValueError, match="one channel"):
        features.draw(np.zeros((2, 1600), np.float32), 16000)


def test_without_matplotlib(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ValueError, match="pip install matplotlib"):
        features.draw(np.zeros(1600, np.float32), 16000)
