"""The C kernel against the torch path, bounds and edges of what it does, and life without it."""

import dataclasses
import threading

import numpy as np
import pytest
import torch

import features
from features import fast, kernel, presets
from features.options import Spectral

SPECTRAL = [name for name, row in presets.PRESETS.items() if isinstance(row, Spectral)]
SURE = "kaldi_fbank80 kaldi_fbank40 kaldi_mfcc13 whisper80 whisper128 mfcc_textbook".split()
OPTIONS = [
    {"snip_edges": False},
    {"window": "hamming", "sampling_rate": 8000, "num_mel_bins": 23},
    {"window": "blackman", "preemphasis": 0.0, "power": 1.0},
    {"use_energy": True, "window": "rectangular", "num_ceps": 13},
    {"use_energy": True, "raw_energy": False, "n_fft": 512, "num_ceps": 20},
    {"use_energy": True, "snip_edges": False},
    {"num_mel_bins": 30, "num_ceps": 30, "use_energy": True, "cepstral_lifter": 22.0},
    {"sampling_rate": 11025, "frame_shift_ms": 12.5, "num_mel_bins": 30},
    {"sampling_rate": 22050, "n_fft": 2048, "center": True, "log": "log10"},
    {"vtln_warp": 1.1},
    {"num_mel_bins": 0},
    {"pad_to_s": 0.75, "snip_edges": False},
    {"center": True, "pad_to_s": 1.0, "top_db": 80.0, "offset": 4.0, "divisor": 4.0},
]  # fmt: skip


@pytest.fixture(autouse=True)
def built():
    """Skip, saying why, where the C library is not there."""
    if kernel.load()[0] is None:
        pytest.skip(kernel.status())


def both(extractor, wave):
    """Features by the kernel, which must know the options, and by torch alone."""
    assert fast._plan(extractor._options) is not None
    x, _ = extractor(wave)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast, "_plan", lambda *_: None)
        y, _ = features.get(extractor.name, **extractor.options())(wave)
    return x, y


@pytest.mark.parametrize("name", SPECTRAL)
def test_presets_agree(name, signal, near):
    fe = features.get(name)
    if name not in SURE and fast._plan(presets.options(name)) is None:
        pytest.skip("the torch path serves this preset")
    # the bounds are those of logarithms
    show = (lambda x: x.clamp(min=1e-10).log()) if fe.options()["log"] == "none" else lambda x: x
    near(fe, signal, both(fe, signal)[1], show=show)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_options_agree(options, signals, near):
    fe = features.get("kaldi_fbank80", **options)
    for name in ("speechlike", "noise_on_dc", "silence", "square", "impulses"):
        wave = signals[name][:9000]
        near(fe, wave, both(fe, wave)[1])


@pytest.mark.parametrize("more", [{}, {"snip_edges": False}, {"center": True, "pad_to_s": 0.1}])
@pytest.mark.parametrize("name", ["kaldi_fbank80", "kaldi_mfcc13"])
def test_every_length_to_three_frames(name, more, near):
    fe = features.get(name, **more)
    wave = np.round(np.random.default_rng(0).normal(0, 3000, 800)).astype(np.float32) / 32768
    lengths = [*range(1, 800, 3), 399, 400, 401, 559, 560, 719, 720, 721]
    waves = [wave[:n] for n in lengths]
    near(fe, waves, [both(fe, wave)[1] for wave in waves])


@pytest.mark.parametrize("n_fft", [4, 6, 10, 16, 18, 20, 30, 32, 50, 64, 90, 128, 200, 240, 256,
                                   400, 480, 512, 600, 640, 960, 1024, 1536, 4096])  # fmt: skip
def test_spectrum_is_numpys(n_fft):
    wave = np.random.default_rng(n_fft).standard_normal(3 * n_fft + 40).astype(np.float32)
    fe = features.get(
        "kaldi_fbank80", sampling_rate=1000, frame_length_ms=float(n_fft), n_fft=n_fft, scale=1.0,
        frame_shift_ms=7.0, window="rectangular", preemphasis=0.0, remove_dc_offset=False,
        low_freq=0.0, num_mel_bins=0, log="none",
    )  # fmt: skip
    x, _ = both(fe, wave)
    framed = np.lib.stride_tricks.sliding_window_view(wave.astype(np.float64), n_fft)[::7]
    truth = np.abs(np.fft.rfft(framed)) ** 2
    assert x.shape == truth.shape
    assert np.abs(x.numpy() - truth).max() < 3e-6 * truth.max()


def test_odd_frames(near):
    """One sample, more than a frame, and odd numbers of samples from frame to frame."""
    wave = np.random.default_rng(4).standard_normal(700).astype(np.float32) * 0.1
    for length, shift in ((2, 1), (31, 1), (32, 33), (17, 50), (25, 7), (3, 2)):
        fe = features.get(
            "kaldi_fbank80", sampling_rate=1000, frame_length_ms=float(length), n_fft=64,
            frame_shift_ms=float(shift), num_mel_bins=5, window="hamming",
        )  # fmt: skip
        near(fe, wave, both(fe, wave)[1])


def test_logarithm(signals):
    """Over all sizes a power can have, to the last bits of float32."""
    options = {"num_mel_bins": 0, "scale": 1.0, "floor": 1.2e-38, "window": "rectangular"}
    for size in 10.0 ** np.arange(-17, 15):
        wave = (signals["noise"] * size).astype(np.float32)
        power, _ = features.get("kaldi_fbank80", log="none", **options)(wave)
        power = np.maximum(power.numpy().astype(np.float64), 1.2e-38)
        for log, exact in (("ln", np.log(power)), ("log10", np.log10(power))):
            x, _ = features.get("kaldi_fbank80", log=log, **options)(wave)
            assert np.abs(x.numpy() - exact).max() < 1e-5


def test_frames_do_not_depend_on_their_place(signals):
    """To the last bit, so that streams and batches can be equal to single waves."""
    fe, wave = features.get("kaldi_fbank80"), signals["speechlike"]
    x, _ = fe(wave)
    for k in (1, 3, 15, 16, 17, 50):
        assert torch.equal(fe(wave[160 * k :])[0], x[k:])


def test_writes_its_rows_and_nothing_else(signals):
    wave = torch.from_numpy(signals["speechlike"])
    for name in SURE:
        o = presets.options(name)
        frames = o.count(len(wave))
        field = torch.full((frames + 2, o.dim + 5), 7.0)
        x = field[1:-1, 2 : o.dim + 2]
        assert fast.run(o, wave, len(wave), x)
        assert torch.equal(x, fast_only(o, wave))
        x.fill_(7.0)
        assert (field == 7.0).all()


def fast_only(o, wave):
    """The kernel's output in fresh memory."""
    x = torch.empty(o.count(len(wave)), o.dim)
    assert fast.run(o, wave, len(wave), x)
    return x


def test_threads_do_not_disturb_each_other(signals):
    wave = signals["speechlike"]
    extractors = [features.get(name) for name in SURE]
    truth = [fe(wave)[0] for fe in extractors]
    wrong = []

    def work(i):
        for k in range(30):
            j = (i + k) % len(truth)
            if not torch.equal(extractors[j](wave)[0], truth[j]):
                wrong.append(j)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not wrong


def test_scratch_is_small_and_does_not_grow_with_the_wave():
    for name in SURE:
        assert 4 * fast._plan(presets.options(name))._size < 100_000
    fe = features.get("kaldi_fbank40")
    fe(np.zeros(16000, np.float32))
    before = fast._thread.scratch
    fe(np.zeros(160000, np.float32))
    assert fast._thread.scratch is before


def test_one_call_gives_what_the_steps_give(signals):
    """All in one call of the kernel = its frames with torch's last steps, to the last bit."""
    found = set()
    for name, options in [
        *((n, {}) for n in SPECTRAL),
        ("whisper80", {"pad_to_s": 1.5}),
        ("whisper80", {"pad_to_s": 1.0, "top_db": 0.0, "divisor": 3.0}),
        ("ast", {"pad_to_frames": 120}),
        ("kaldi_fbank80", {"stack": 3, "offset": 1.0}),
        *(("kaldi_fbank80", o) for o in OPTIONS),
    ]:
        for wave in (signals["speechlike"][:9000], signals["noise"][:100]):
            fe = features.get(name, **options)
            if fe._pipeline.shape(len(wave))[0] and (x := fe._pipeline.alone(wave)) is not None:
                y = torch.empty_like(x)
                fe._pipeline(torch.from_numpy(wave), y)
                assert torch.equal(x, y), (name, options)
                found.add((name, *options))
    assert {(n,) for n in SURE} | {("whisper80", "pad_to_s"), ("ast", "pad_to_frames")} <= found
    assert not found & {("seamless",), ("psf_mfcc",), ("librosa_mfcc",)}


@pytest.mark.parametrize("at", [0, 399, 5000, 15999])
def test_what_is_not_finite_is_found(at, signals):
    for value in (float("nan"), float("inf"), -float("inf")):
        wave = signals["speechlike"].copy()
        wave[at] = value
        for fe in (features.get("kaldi_fbank80"), features.get("whisper80", pad_to_s=2.0)):
            assert fe._pipeline.alone(wave) is None
            with pytest.raises(ValueError, match=f"the wave holds .* at sample {at} of 16000"):
                fe(wave)
            with pytest.raises(ValueError, match=f"item 1 of the batch holds .* at sample {at}"):
                fe(np.stack([np.zeros_like(wave), wave]), [16000, 16000])


def test_what_it_leaves_to_torch():
    o = presets.options("kaldi_fbank80")
    wave, x = torch.zeros(800), torch.zeros(3, 80)
    assert fast.run(o, wave, 800, x)
    wanted = torch.zeros(800, requires_grad=True)
    for bad in (wave.double(), torch.zeros(1600)[::2], wanted, wave.to("meta"), wave.half()):
        assert not fast.run(o, bad, 800, x)
    assert not fast.run(o, wave, 800, torch.zeros(80, 3).T)
    assert not fast.run(presets.options("kaldi_fbank80", n_fft=514), wave, 800, x)
    with torch.no_grad():
        assert fast.run(o, wanted, 800, x)
    torch.func.vmap(lambda w: w if fast.run(o, w, 800, x) else w)(torch.zeros(2, 800))


def test_an_option_it_was_not_taught_goes_to_torch():
    @dataclasses.dataclass(frozen=True)
    class Later(Spectral):
        novelty: float = 0.0

    assert fast._plan(Later()) is not None
    assert fast._plan(Later(novelty=0.1)) is None
    assert fast.KNOWN <= {field.name for field in dataclasses.fields(Spectral)}
