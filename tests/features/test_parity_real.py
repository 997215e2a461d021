"""Speech with near-silent bands: within the limits, or nearer to float64 than the reference."""

import importlib
import warnings
from pathlib import Path

import pytest

import features


@pytest.fixture
def parity(monkeypatch):
    """The module `parity.py` beside this file."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return importlib.import_module("parity")


def test_all_presets_on_jfk(real_data, parity):
    path = real_data / "misc_audio/formats/jfk_16k.wav"
    if not path.is_file():
        pytest.skip("needs misc_audio in the data folder")
    wave, _ = features.load(path)
    verdicts = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for preset, name, reference in parity.pairs():
            verdicts[preset, name] = parity.judge(
                preset, *parity.measure(preset, reference, [wave])
            )
    assert set(verdicts.values()) <= {"within", "nearer"}, verdicts


def test_what_is_beyond_is_said(parity):
    limits, worse = parity.others.within("kaldi_fbank80"), {"mean": 1.0, "p999": 1.0, "most": 1.0}
    assert parity.judge("kaldi_fbank80", limits, worse, limits) == "within"
    assert parity.judge("kaldi_fbank80", worse, limits, worse) == "nearer"
    assert parity.judge("kaldi_fbank80", worse, worse, limits) == "BEYOND"
