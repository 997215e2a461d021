"""The plain path: equal to the fast one, differentiable, compiled, and untouched by autocast."""

import subprocess

import numpy as np
import pytest
import torch

import features
from features import steps

NAMES = features.names()
SMALL = {  # the same chain on short frames: finite differences over 16 kHz frames take minutes
    "sampling_rate": 1000, "frame_length_ms": 24.0, "n_fft": 32, "num_mel_bins": 5,
}  # fmt: skip
CHANGED = [
    ("kaldi_fbank80", {"snip_edges": False, "use_energy": True}),
    ("kaldi_fbank80", {"power": 1.0, "raw_energy": False, "use_energy": True}),
    ("kaldi_fbank80", {"num_mel_bins": 0, "periodogram": True, "spectral_energy": True}),
    ("whisper80", {"pad_to_s": 0.75}),
    ("ast", {"pad_to_frames": 80, "stack": 3}),
    ("torchaudio_mfcc", {"use_energy": True, "stack": 2, "cmvn": "mean"}),
    ("kaldi_plp13", {"deltas": 1, "snip_edges": False}),
    ("wave16k", {"normalize": True}),
]
ALL = [(name, {}) for name in NAMES] + CHANGED


def waves(n=8000):
    rng = np.random.default_rng(0)
    lengths = [n, 1, 0, 4001, 401]
    return torch.from_numpy(0.1 * rng.standard_normal((len(lengths), n))), lengths


@pytest.mark.parametrize(("name", "options"), ALL)
def test_fast_is_plain_in_a_batch(name, options):
    """Every option, every length: the two paths share the tables only."""
    batch, lengths = waves()
    fe = features.get(name, dtype="float64", **options)
    fast, n = fe(batch, lengths)
    plain, m = fe(batch.clone().requires_grad_(), lengths)
    assert plain.requires_grad and not fast.requires_grad
    assert torch.equal(n, m) and plain.shape == fast.shape
    assert (fast - plain).abs().max() < 1e-9
    for i, length in enumerate(lengths):
        alone, frames = fe(batch[i, :length].clone().requires_grad_())
        assert frames == n[i]
        assert torch.allclose(plain[i, : len(alone)], alone, atol=1e-9)


def test_plain_of_nothing():
    for name in NAMES:
        x, n = features.get(name)(torch.zeros(0, requires_grad=True))
        assert n == 0 and len(x) == 0
        x.sum().backward()


@pytest.mark.parametrize("name", [n for n in NAMES if n != "wave16k"])
def test_gradients(name):
    small = dict(SMALL)
    if name.startswith("librosa"):
        small |= {"frame_shift_ms": 12.0}
    if name.endswith(("mfcc", "mfcc13", "mfcc40", "textbook")):
        small |= {"num_ceps": 3}
    if name == "kaldi_plp13":
        small |= {"lpc_order": 3, "num_ceps": 3}
    if name == "kaldi_spectrogram":
        del small["num_mel_bins"]
    if name == "kaldi_mfcc40":
        small |= {"high_freq": -20.0}
    small |= {"empty_filters": True, "high_freq": small.get("high_freq", 0.0)}
    fe = features.get(name, dtype="float64", **small)
    wave = torch.from_numpy(np.random.default_rng(1).standard_normal(60)).requires_grad_()
    assert fe.count(60) >= 1
    assert torch.autograd.gradcheck(lambda w: fe(w)[0], wave)
    batch = torch.stack([wave.detach(), wave.detach().flip(0)]).requires_grad_()
    assert torch.autograd.gradcheck(lambda w: fe(w, [60, 45])[0], batch)


def test_gradients_of_waves_and_streamless_options():
    for options in ({}, {"normalize": True}):
        fe = features.get("wave16k", dtype="float64", **options)
        batch = torch.randn(2, 20, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda w, fe=fe: fe(w, [20, 7])[0], batch)


def test_gradients_stay_finite_in_silence():
    for name in NAMES:
        wave = torch.zeros(3200, requires_grad=True)
        features.get(name)(wave)[0].sum().backward()
        assert torch.isfinite(wave.grad).all(), name


def test_no_gradient_where_none_is_wanted():
    fe, wave = features.get("kaldi_fbank80"), torch.zeros(800, requires_grad=True)
    with torch.no_grad():
        assert not fe(wave)[0].requires_grad
    assert fe(wave)[0].requires_grad and not fe(wave.detach())[0].requires_grad


def test_padding_gets_no_gradient():
    batch = torch.full((2, 2000), 0.1)
    batch[1, 900:] = torch.nan
    batch.requires_grad_()
    for name in ("kaldi_fbank80", "whisper80", "librosa_mfcc", "psf_mfcc", "seamless"):
        batch.grad = None
        features.get(name)(batch, [2000, 900])[0].sum().backward()
        assert torch.isfinite(batch.grad).all() and not batch.grad[1, 900:].any()


@pytest.mark.parametrize("name", ["kaldi_fbank80", "whisper80", "psf_mfcc"])
def test_compiled_in_one_graph(name):
    """`fullgraph` refuses breaks; the checks of values are left out while compiling."""
    torch.compiler.reset()
    fe = features.get(name)
    wave = waves()[0][0].float()
    compiled = torch.compile(lambda w: fe(w)[0] * 2, backend="eager", fullgraph=True)
    assert torch.allclose(compiled(wave), fe(wave)[0] * 2, atol=2e-3)
    if name == "kaldi_fbank80":
        learnt = wave.clone().requires_grad_()
        compiled(learnt).sum().backward()
        assert torch.isfinite(learnt.grad).all() and learnt.grad.any()


def test_compiled_by_inductor(slow):
    """Machine code by the C++ compiler, also under bfloat16 autocast, which changes nothing."""
    try:
        from torch._inductor.cpp_builder import get_cpp_compiler

        subprocess.run([get_cpp_compiler(), "--version"], check=True, capture_output=True)
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        pytest.skip(f"needs a C++ compiler: {error}")
    torch.compiler.reset()
    fe, wave = features.get("kaldi_fbank80"), waves()[0][0].float()
    compiled = torch.compile(lambda w: fe(w)[0], fullgraph=True)
    wanted = fe(wave.clone().requires_grad_())[0]
    assert torch.allclose(compiled(wave), wanted, atol=2e-4)
    with torch.autocast("cpu", torch.bfloat16):
        x = compiled(wave)
    assert x.dtype == torch.float32 and torch.allclose(x, wanted, atol=2e-4)


def test_compiled_on_a_batch():
    torch.compiler.reset()
    batch, lengths = waves()
    fe = features.get("kaldi_fbank80")
    compiled = torch.compile(lambda w: fe(w, lengths), backend="eager")
    x, n = compiled(batch.float())
    wanted, m = fe(batch.float(), lengths)
    assert torch.equal(n, m) and torch.allclose(x, wanted, atol=2e-3)


@pytest.mark.parametrize("name", NAMES)
def test_autocast_changes_nothing(name):
    fe, wave = features.get(name), waves()[0][0].float()
    plain, _ = fe(wave.clone().requires_grad_())
    with torch.autocast("cpu", torch.bfloat16):
        x, _ = fe(wave)
        learnt, _ = fe(wave.clone().requires_grad_())
    assert x.dtype == learnt.dtype == torch.float32
    assert torch.equal(x, fe(wave)[0]) and torch.equal(learnt, plain)
    with torch.autocast("cpu", torch.bfloat16):
        stream = fe.stream() if not fe._options.whole else None
        if stream is not None:
            assert len(stream(wave)) and stream.flush().dtype == torch.float32
    half, _ = fe(wave.bfloat16())
    assert torch.equal(half, fe(wave.bfloat16().float())[0])


def test_slabs_join(monkeypatch):
    """What bounds the memory on a GPU does not change a number."""
    batch, lengths = waves()
    fe = features.get("kaldi_fbank80", dtype="float64")
    whole = fe._pipeline.plain(batch, lengths, 48)
    monkeypatch.setattr(steps, "SLAB", 35)
    assert torch.equal(fe._pipeline.plain(batch, lengths, 48), whole)
