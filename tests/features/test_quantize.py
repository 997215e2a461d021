"""Quantisation: the noise that theory predicts, and other people's coders."""

import io

import numpy as np
import pytest
import soundfile
import torch

import features  # noqa: F401  (before torchaudio)
from features import quantize

PAIRS = {
    "mulaw": (quantize.mulaw_encode, quantize.mulaw_decode),
    "alaw": (quantize.alaw_encode, quantize.alaw_decode),
}


def db(power):
    return 10 * np.log10(power)


def snr_db(wave, back):
    return db(np.mean(wave**2.0) / np.mean((wave - back) ** 2.0))


def sine(level=1.0, n=100_000):
    return level * np.sin(np.arange(n) * 0.1234567)


def laplace(rms, n=200_000):
    """Noise with the amplitudes of speech, none above full scale."""
    wave = np.random.default_rng(0).laplace(0, rms / np.sqrt(2), n)
    return wave[np.abs(wave) < 1]


@pytest.mark.parametrize("bits", [8, 16])
def test_linear_has_six_db_a_bit(bits):
    def round_trip(wave):
        codes = quantize.linear_encode(wave, bits)
        assert codes.dtype == {8: np.int8, 16: np.int16}[bits]
        return quantize.linear_decode(codes, bits).astype(np.float64)

    full = sine(1 - 2.0 ** (1 - bits))
    assert abs(snr_db(full, round_trip(full)) - (6.02 * bits + 1.76)) < 0.1
    noise = laplace(0.1)
    step = 2.0 ** (1 - bits)
    assert abs(snr_db(noise, round_trip(noise)) - db(np.mean(noise**2) / (step**2 / 12))) < 0.1
    codes = np.arange(-(2 ** (bits - 1)), 2 ** (bits - 1))
    assert (quantize.linear_encode(quantize.linear_decode(codes, bits), bits) == codes).all()
    assert round_trip(np.array([-3.0, 3.0])).tolist() == [-1.0, 1.0 - step]


def mulaw_slope(x):
    return 255 / (np.log(256) * (1 + 255 * np.abs(x)))


def alaw_slope(x):
    return np.where(np.abs(x) < 1 / 87.6, 87.6, 1 / np.maximum(np.abs(x), 1e-9)) / (
        1 + np.log(87.6)
    )


@pytest.mark.parametrize(("law", "slope"), [("mulaw", mulaw_slope), ("alaw", alaw_slope)])
@pytest.mark.parametrize("rms", [0.2, 0.05, 0.01, 0.002])
def test_companding_has_the_noise_that_its_slope_predicts(law, slope, rms):
    """Bennett: steps of D behind a compressor F have the noise D^2 / 12 E[1 / F'(x)^2]."""
    encode, decode = PAIRS[law]
    wave = laplace(rms)
    noise = (2 / 255) ** 2 / 12 * np.mean(slope(wave) ** -2.0)
    assert abs(snr_db(wave, decode(encode(wave))) - db(np.mean(wave**2) / noise)) < 0.3


@pytest.mark.parametrize("law", PAIRS)
def test_companding_beats_8_bits_where_speech_is_quiet(law):
    encode, decode = PAIRS[law]
    for rms, gain in ((0.2, -9), (0.02, 8), (0.005, 15)):  # it pays for that when it is loud
        wave = laplace(rms)
        linear = quantize.linear_decode(quantize.linear_encode(wave, 8), 8)
        assert snr_db(wave, decode(encode(wave))) > snr_db(wave, linear) + gain
    codes = np.arange(256, dtype=np.uint8)
    assert (encode(decode(codes)) == codes).all()
    assert encode(np.array([-9.0, 9.0])).tolist() == [0, 255]


def test_mulaw_is_torchaudios():
    from torchaudio import functional

    wave = np.random.default_rng(0).uniform(-1, 1, 20000).astype(np.float32)
    theirs = functional.mu_law_encoding(torch.from_numpy(wave), 256)
    assert (quantize.mulaw_encode(wave) == theirs.numpy()).mean() > 0.9999
    back = functional.mu_law_decoding(torch.arange(256), 256).numpy()
    assert np.abs(quantize.mulaw_decode(np.arange(256)) - back).max() < 1e-6


@pytest.mark.parametrize(("law", "subtype"), [("mulaw", "ULAW"), ("alaw", "ALAW")])
def test_g711_is_libsndfiles_and_nearer(law, subtype):
    """All 65536 samples: the same value for each octet; no octet farther off than theirs."""
    pcm = np.arange(-32768, 32768).astype(np.int16)
    file = io.BytesIO()
    soundfile.write(file, pcm, 8000, format="WAV", subtype=subtype)
    octets = np.frombuffer(file.getvalue()[-len(pcm) :], np.uint8)
    file.seek(0)
    theirs = soundfile.read(file, dtype="float32")[0]
    wave = quantize.linear_decode(pcm)
    assert (quantize.g711_decode(octets, law) == theirs).all()
    ours = quantize.g711_encode(wave, law)
    assert (ours == octets).mean() > 0.99  # ties, and 14 bits against 16
    back = quantize.g711_decode(ours, law)
    assert (np.abs(back - wave) <= np.abs(theirs - wave)).all()
    assert (
        snr_db(laplace(0.1), quantize.g711_decode(quantize.g711_encode(laplace(0.1), law), law))
        > 36
    )


def test_what_is_not_there():
    with pytest.raises(ValueError, match="bits=12: wanted 8 or 16"):
        quantize.linear_encode(np.zeros(3), 12)
    with pytest.raises(ValueError, match="law='ulaw': wanted 'mulaw' or 'alaw'"):
        quantize.g711_encode(np.zeros(3), "ulaw")
