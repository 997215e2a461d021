"""Streams: the same frames as offline in chunks of any size, soon, in bounded memory."""

import numpy as np
import pytest
import torch

import features
from features import fast

STREAMING = [n for n in features.names() if not features.get(n)._options.whole]
REFUSING = [n for n in features.names() if n not in STREAMING]
MORE = [
    ("kaldi_fbank80", {"snip_edges": False}),
    ("kaldi_fbank80", {"snip_edges": False, "frame_shift_ms": 40.0}),  # gaps between the frames
    ("kaldi_fbank80", {"snip_edges": True, "frame_shift_ms": 40.0}),
    ("kaldi_mfcc13", {"sampling_rate": 8000, "use_energy": True}),
    ("whisper80", {"top_db": 0.0}),
    ("librosa_mel", {"top_db": 0.0}),
    ("librosa_mfcc", {"top_db": 0.0, "frame_shift_ms": 100.0, "drop_last": True}),
    ("seamless", {"cmvn": "", "stack": 3}),
    ("psf_mfcc", {"frame_shift_ms": 30.0}),
]
ALL = [(name, {}) for name in STREAMING] + MORE


def in_chunks(fe, wave, sizes):
    """The rows of a stream over `wave`, cut into chunks of `sizes` and a rest."""
    stream, parts, start = fe.stream(), [], 0
    for size in sizes:
        parts.append(stream(wave[start : start + size]))
        start += size
    parts += [stream(wave[start:]), stream.flush()]
    return torch.cat(parts)


def test_some_stream_and_some_do_not():
    assert {"kaldi_fbank80", "torchaudio_mel", "psf_mfcc", "wave16k"} <= set(STREAMING)
    assert {"whisper80", "librosa_mel", "torchaudio_mfcc", "seamless"} <= set(REFUSING)


@pytest.mark.parametrize(("name", "options"), ALL)
def test_streaming_is_offline(name, options, close):
    rng = np.random.default_rng(0)
    fe = features.get(name, dtype="float64", **options)
    wave = rng.standard_normal(12000) * 0.1
    for n in (12000, 11999, 5000, 2049, 1025, 1024, 700, 401, 400, 399, 200, 2, 1, 0):
        whole, _ = fe(wave[:n])
        for scale in (100, 1000, 6000) if n > 3000 else (3, 200):
            sizes = rng.integers(0, scale, max(1, n // scale))
            close(in_chunks(fe, wave[:n], sizes), whole, mean=1e-9, p999=1e-9, most=1e-9)


@pytest.mark.parametrize(("name", "options"), ALL)
def test_streaming_in_float32(name, options, close):
    rng = np.random.default_rng(1)
    fe = features.get(name, **options)
    wave = (rng.standard_normal(30000) * 0.1).astype(np.float32)
    wide = 10 if "mfcc" in name else 1
    got = in_chunks(fe, wave, rng.integers(1, 4000, 10))
    assert got.dtype == torch.float32
    whole, _ = fe(wave)
    close(got, whole, mean=1e-5 * wide, p999=5e-4 * wide)
    assert torch.equal(got, whole) or fast._plan(fe._options) is None  # the kernel: to the last bit


def test_frames_come_as_soon_as_their_samples_do():
    stream = features.get("kaldi_fbank80").stream()
    assert len(stream(np.zeros(399, np.float32))) == 0
    assert len(stream(np.zeros(1, np.float32))) == 1
    assert len(stream(np.zeros(319, np.float32))) == 1
    assert len(stream(np.zeros(1, np.float32))) == 1 and len(stream.flush()) == 0
    stream = features.get("torchaudio_mel").stream()  # centred: 200 samples ahead, reflected
    assert len(stream(np.zeros(200, np.float32))) == 0
    assert len(stream(np.zeros(1, np.float32))) == 1


def test_memory_does_not_grow():
    for options in ({}, {"snip_edges": False}, {"frame_shift_ms": 40.0}):
        stream = features.get("kaldi_fbank40", **options).stream()
        for _ in range(200):
            stream(np.zeros(1600, np.float32))
        assert stream._high - stream._low < 1600 and len(stream._wave) < 8 * 1600


def test_dither_is_new_in_every_chunk():
    stream = features.get("kaldi_fbank40", dither=1.0).stream()
    x = torch.cat([stream(np.zeros(1600, np.float32)) for _ in range(10)])
    assert len(x.unique(dim=0)) == len(x) and 5 < float(x.mean()) < 12


@pytest.mark.parametrize("name", REFUSING)
def test_refused_with_the_reason(name):
    with pytest.raises(ValueError, match=f"{name} cannot stream: .*( over it|its last frame)"):
        features.get(name).stream()
    with pytest.raises(ValueError, match="cannot stream: normalize=True"):
        features.get("wave16k", normalize=True).stream()
    with pytest.raises(ValueError, match="cannot stream: padding"):
        features.get("ast", pad_to_frames=1024).stream()


def test_misuse():
    stream = features.get("kaldi_fbank40").stream()
    with pytest.raises(ValueError, match="wanted one wave"):
        stream(np.zeros((2, 10), np.float32))
    with pytest.raises(ValueError, match="the chunk holds nan at sample 1"):
        stream(np.array([0.0, np.nan], np.float32))
    with pytest.raises(ValueError, match="PCM"):
        stream(np.zeros(10, np.int16))
    assert stream.flush().shape == (0, 40)
    for call in (stream.flush, lambda: stream(np.zeros(10, np.float32))):
        with pytest.raises(ValueError, match="fresh one"):
            call()


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_chunks_at_another_rate_are_those_of_the_resampled_wave(rate):
    """The resampler keeps its state: soxr in pieces gives what it gives of the whole."""
    rng = np.random.default_rng(rate)
    fe = features.get("kaldi_fbank80")
    for n in (rate, rate + 17, 3 * rate // 7, 50, 0):
        wave = (rng.standard_normal(n) * 0.1).astype(np.float32)
        resampled = features.resample(wave, rate, 16000)
        whole, _ = fe(resampled)
        stream, parts, start = fe.stream(sampling_rate=rate), [], 0
        for size in rng.integers(0, rate // 5, 20):
            parts.append(stream(wave[start : start + size]))
            start += size
        got = torch.cat([*parts, stream(wave[start:]), stream.flush()])
        assert got.shape == whole.shape
        if len(whole):
            assert (got - whole).abs().mean() < 1e-4
    with pytest.raises(ValueError, match="wanted Hz above 0"):
        fe.stream(sampling_rate=0)
