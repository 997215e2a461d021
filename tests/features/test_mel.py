"""Mel scales, banks, windows and cepstra against others' and by their own laws."""

import librosa
import numpy as np
import pytest
import scipy.fft
import scipy.signal

from features import cepstra, mel, windows


@pytest.mark.parametrize("scale", mel.SCALES)
def test_scales_invert_and_rise(scale):
    hz = np.linspace(0, 8000, 1001)
    mels = mel.hz_to_mel(hz, scale)
    assert np.allclose(mel.mel_to_hz(mels, scale), hz, atol=1e-9)
    assert (np.diff(mels) > 0).all()


@pytest.mark.parametrize(("scale", "htk"), [("slaney", False), ("htk", True)])
@pytest.mark.parametrize("norm", ["", "slaney"])
def test_bank_is_librosas(scale, htk, norm):
    ours = mel.mel_filters(64, 1024, 16000, 50.0, 7600.0, scale, "hz", norm)
    theirs = librosa.filters.mel(
        sr=16000,
        n_fft=1024,
        n_mels=64,
        fmin=50.0,
        fmax=7600.0,
        htk=htk,
        norm=norm or None,
        dtype=float,
    )
    assert np.allclose(ours, theirs, atol=1e-12)


def test_an_empty_filter_is_named():
    with pytest.raises(ValueError, match=r"num_mel_bins=200 .* filter \d+ \(\d+ to \d+ Hz\)"):
        mel.mel_filters(200, 512, 16000, 20.0, 8000.0)


def test_vtln_warp_keeps_both_ends():
    hz = np.linspace(20, 8000, 500)
    for factor in (0.85, 1.0, 1.15):
        warped = mel.vtln_warp(hz, factor, 20.0, 8000.0)
        assert np.isclose(warped[[0, -1]], [20.0, 8000.0]).all() and (np.diff(warped) > 0).all()
        assert np.isclose(mel.vtln_warp(2000.0, factor, 20.0, 8000.0), 2000.0 / factor)


@pytest.mark.parametrize("name", ["hann", "hamming", "blackman"])
@pytest.mark.parametrize("periodic", [False, True])
def test_windows_are_scipys(name, periodic):
    theirs = scipy.signal.get_window(name, 400, fftbins=periodic)
    assert np.allclose(windows.window(name, 400, periodic), theirs, atol=1e-12)


def test_dct_is_scipys():
    x = np.random.default_rng(0).standard_normal(23)
    theirs = scipy.fft.dct(x, norm="ortho")[:13]
    assert np.allclose(cepstra.dct_matrix(13, 23) @ x, theirs, atol=1e-12)


def test_lifter():
    assert np.allclose(cepstra.lifter(13, 22.0)[[0, 11]], [1.0, 12.0])
    assert (cepstra.lifter(13, 0.0) == 1.0).all()
