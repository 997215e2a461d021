"""The extractor: lengths known beforehand, batch = single, what it refuses."""

import pickle

import numpy as np
import pytest
import torch

import features
from features import steps

NAMES = features.names()
ALL = [(name, {}) for name in NAMES] + [
    ("kaldi_fbank80", {"snip_edges": False}),
    ("kaldi_fbank80", {"sampling_rate": 8000}),
    ("whisper80", {"sampling_rate": 8000, "n_fft": 256, "frame_length_ms": 32.0}),
]


@pytest.mark.parametrize(("name", "options"), ALL)
def test_count_is_real(name, options):
    fe = features.get(name, **options)
    noise = np.random.default_rng(0).standard_normal(2001).astype(np.float32)
    for n in range(0, 2001, 7 if options else 1):
        x, frames = fe(noise[:n])
        assert frames == fe.count(n) == len(x), n
        assert x.dtype == torch.float32
        assert x.shape == ((frames,) if name == "wave16k" else (frames, fe.dim))


@pytest.mark.parametrize(("name", "options"), [*ALL, ("whisper80", {"pad_to_s": 0.5})])
def test_batch_is_single_to_the_last_bit(name, options):
    fe = features.get(name, **options)
    rng = np.random.default_rng(1)
    lengths = [7999, 1, 400, 0, 3210, 8000, 399]
    waves = rng.standard_normal((len(lengths), 8000)).astype(
        np.float32
    )  # noise beyond the lengths too
    x, n = fe(waves, lengths)
    assert n.dtype == torch.int64 and len(x) == len(n) == len(lengths)
    for row, frames, wave, length in zip(x, n, waves, lengths, strict=True):
        alone, frames_alone = fe(wave[:length])
        assert frames == frames_alone
        assert torch.equal(row[: len(alone)], alone)
        assert not row[len(alone) :].any()


@pytest.mark.parametrize("name", NAMES)
def test_options_and_pickle_give_it_back(name):
    fe = features.get(name)
    wave = np.random.default_rng(2).standard_normal(4000).astype(np.float32)
    again = features.get(fe.name, **fe.options())
    thawed = pickle.loads(pickle.dumps(fe))
    for other in (again, thawed):
        assert torch.equal(other(wave)[0], fe(wave)[0]) and other.options() == fe.options()


def test_input_is_left_alone_and_may_be_read_only_strided_or_double():
    wave = np.random.default_rng(3).standard_normal(8000)
    fe = features.get("kaldi_fbank40")
    x, _ = fe(wave.astype(np.float32))
    frozen = wave.astype(np.float32)
    frozen.flags.writeable = False
    strided = np.repeat(wave, 2)[::2]
    tensor = torch.from_numpy(wave)
    apart = tensor.float().repeat_interleave(2)[::2]
    for same in (wave, frozen, strided, tensor, apart, wave.astype(">f4")):
        assert torch.equal(fe(same)[0], x)
    across = torch.stack([tensor.float()] * 2, dim=1).T  # a batch whose samples do not lie in a row
    assert torch.equal(fe(across, [8000, 8000])[0][1], x)
    assert features.get("wave16k")(frozen)[0].shape == (8000,)


def test_dither_is_noise_of_the_size_asked_for():
    fe = features.get("kaldi_fbank40", dither=1.0)
    torch.manual_seed(0)
    x, _ = fe(np.zeros(16000, dtype=np.float32))
    exact = features.get("kaldi_fbank40")
    noise = torch.randn(16000) / 32768
    assert abs(float(x.mean() - exact(noise)[0].mean())) < 0.05


@pytest.mark.parametrize(
    ("wave", "lengths", "said"),
    [
        (np.zeros((2, 8000), np.float32), None, "channels"),
        (np.zeros(8000, np.int16), None, "divide 16-bit ones by 32768"),
        (np.array([0.0, np.nan, 0.0], np.float32), None, "nan at sample 1 of 3"),
        (
            np.array([[0.0, 0.0], [0.0, np.inf]], np.float32),
            [2, 2],
            "item 1 of the batch holds inf",
        ),
        (np.zeros((2, 80), np.float32), [80], "B lengths"),
        (np.zeros((2, 80), np.float32), [80, 81], "0..80"),
        (np.zeros(80, np.float32), [80], "B lengths"),
        (np.zeros((1, 800), np.float32), None, "channels"),
        (np.zeros(800, np.complex64), None, "wanted float samples"),
        ([[0.0, 1.0], [0.0]], None, "unequal length"),
        ("a.wav", None, "features.load reads files"),
        ((np.zeros(800, np.float32), 16000), None, "take the first"),
        (np.zeros((2, 80), np.float32), [-1, 80], "0..80"),
        (np.zeros((0, 80), np.float32), [], "B lengths"),
        (np.array([np.zeros(3), np.zeros(4)], dtype=object), None, "unequal length"),
    ],
)
def test_bad_waves(wave, lengths, said):
    with pytest.raises(ValueError, match=said) as caught:
        features.get("kaldi_fbank80")(wave, lengths)
    assert "\n" not in str(caught.value)


def test_infinity_after_the_length_does_not_matter():
    waves = np.zeros((1, 800), np.float32)
    waves[0, 700] = np.inf
    assert features.get("kaldi_fbank80")(waves, [700])[1].tolist() == [2]


def test_longer_than_the_window():
    fe = features.get("whisper80", pad_to_s=1.0)
    with pytest.raises(ValueError, match=r"16001 samples \(1.00 s\) .* pad_to_s=1 s"):
        fe(np.zeros(16001, np.float32))
    fe = features.get("ast", pad_to_frames=10)
    assert fe(np.zeros(1840 + 159, np.float32))[0].shape == (10, 128)
    with pytest.raises(ValueError, match="2000 samples give 11 frames, .* pad_to_frames=10"):
        fe(np.zeros(2000, np.float32))


def test_another_rate_is_refused_when_it_is_said():
    fe, wave = features.get("kaldi_fbank80"), np.zeros(800, np.float32)
    assert fe(wave, sampling_rate=16000)[1] == 3
    with pytest.raises(ValueError, match="wants 16000 Hz, the wave has 8000 Hz; .*resample"):
        fe(wave, sampling_rate=8000)


def test_loud_but_finite_samples_are_no_infinity():
    wave = np.full(800, 3e38, np.float32)  # its sum is infinite
    assert features.get("wave16k")(wave)[1] == 800


def test_float64_is_an_option():
    wave = np.random.default_rng(0).standard_normal(800)
    for name in NAMES:
        fe = features.get(name, dtype="float64")
        assert fe(wave)[0].dtype == torch.float64 and fe.options()["dtype"] == "float64"
        assert features.get(name)(wave)[0].dtype == torch.float32


def test_tables_follow_the_wave():
    """Without a GPU: the device without memory stands for it."""
    pipeline = features.get("kaldi_mfcc13")._pipeline
    there = pipeline.on(torch.device("meta"))
    assert all(t.device.type == "meta" for t in (there.window, there.bank, there.cosine))
    assert pipeline.on(torch.device("meta")) is there
    assert pipeline.on(torch.device("cpu")) is pipeline.tables
    frames = torch.zeros(3, 400, device="meta")
    *_, (_, x) = steps.trace(frames, pipeline.o, there)
    assert steps.cepstra(x, pipeline.o, there).shape == (3, 13)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("name", "options"), ALL)
def test_what_lies_on_a_gpu_stays_there(name, options):
    fe = features.get(name, dtype="float64", **options)
    waves, lengths = torch.randn(3, 8000, dtype=torch.float64), [8000, 0, 999]
    here, n = fe(waves, lengths)
    there, m = fe(waves.cuda(), lengths)
    assert there.is_cuda and m.is_cuda and n.tolist() == m.tolist()
    assert (there.cpu() - here).abs().max() < 1e-6
    if not fe._options.whole:
        stream = fe.stream()
        rows = torch.cat([stream(waves[0, :5000].cuda()), stream(waves[0, 5000:].cuda()),
                          stream.flush()])  # fmt: skip
        assert rows.is_cuda and (rows.cpu() - here[0]).abs().max() < 1e-6


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("kaldi_fbank8", {}, "did you mean 'kaldi_fbank80'"),
        ("nonsense", {}, "presets are: kaldi_fbank80"),
        ("kaldi_fbank80", {"num_mel_bin": 40}, "did you mean 'num_mel_bins'"),
        ("kaldi_fbank80", {"n_mels": 40}, "did you mean 'num_mel_bins'"),
        ("wave16k", {"do_normalize": True}, "did you mean 'normalize'"),
        ("wave16k", {"num_mel_bins": 40}, "its options are: sampling_rate, normalize"),
        ("wave16k", {"dtype": "double"}, "one of 'float32'"),
        ("kaldi_fbank80", {"num_mel_bins": 40.0}, "num_mel_bins wants int"),
        ("kaldi_fbank80", {"snip_edges": 1}, "snip_edges wants bool"),
        ("kaldi_fbank80", {"num_mel_bins": 300}, "too many for n_fft=512"),
        ("kaldi_fbank80", {"num_mel_bins": 128}, r"filter 3 \(63 to 93 Hz\) holds no FFT bin"),
        ("kaldi_fbank80", {"low_freq": 9000}, "low_freq=9000.0: it must be .* below high_freq"),
        ("kaldi_fbank80", {"low_freq": 400, "high_freq": 400}, "below high_freq, 400 Hz"),
        ("kaldi_fbank80", {"low_freq": -1}, "low_freq"),
        ("kaldi_fbank80", {"dither": float("nan")}, "dither=nan: it must be finite"),
        ("kaldi_fbank80", {"divisor": float("inf")}, "divisor=inf: it must be finite"),
        ("kaldi_fbank80", {"preemphasis": -0.1}, r"in \[0, 1\]"),
        ("kaldi_fbank80", {"dtype": "float16"}, "one of 'float32', 'float64'"),
        ("kaldi_fbank80", {"vtln_warp": 0.0}, "vtln_warp"),
        ("kaldi_fbank80", {"vtln_warp": 1.1, "vtln_low": 10.0}, "above low_freq"),
        ("kaldi_fbank80", {"vtln_warp": 1.1, "vtln_high": 90.0}, "vtln_high=90.0: .*between"),
        ("whisper80", {"vtln_warp": 1.1}, "mel_triangles"),
        ("whisper80", {"pad_last": True}, "pad_last"),
        ("kaldi_fbank80", {"drop_last": True}, "False without center"),
        ("kaldi_fbank80", {"log": "none", "top_db": 80.0}, "0 without a logarithm"),
        ("kaldi_fbank80", {"log": "dB"}, "one of 'ln', 'log10', 'db', 'none'"),
        ("kaldi_fbank80", {"stack": 0}, "at least 1"),
        ("kaldi_fbank80", {"stride": 2}, "did you mean 'stack'"),
        ("kaldi_spectrogram", {"num_ceps": 13}, r"num_ceps=13: it must be in 0\.\.0"),
        ("ast", {"max_length": 1024}, "did you mean 'pad_to_frames'"),
        ("kaldi_fbank80", {"high_freq": 9000}, "at most 8000 Hz"),
        ("kaldi_fbank80", {"preemphasis": 1.5}, r"in \[0, 1\]"),
        ("kaldi_fbank80", {"window": "povy"}, "one of 'povey'"),
        ("kaldi_fbank80", {"n_fft": 256}, "at least 400"),
        ("kaldi_fbank80", {"n_fft": 513}, "even"),
        ("kaldi_plp13", {"num_ceps": 14}, r"in 1\.\.13 with that lpc_order"),
        ("kaldi_plp13", {"log": "ln"}, "'none' with lpc_order"),
        ("kaldi_plp13", {"lpc_order": 24}, r"lpc_order=24: it must be in 0\.\.23"),
        ("kaldi_mfcc13", {"num_ceps": 24}, r"in 0\.\.23"),
        ("kaldi_fbank80", {"frame_shift_ms": 0.0}, "at least one sample"),
        ("kaldi_fbank80", {"sampling_rate": 0}, "above 0 Hz"),
        ("kaldi_fbank80", {"sampling_rate": 2**63}, "at most 10,000,000"),
        ("kaldi_fbank80", {"num_mel_bins": 2**63}, "at most 16,384"),
        ("kaldi_fbank80", {"num_mel_bins": 2**14, "n_fft": 2**20}, "with n_fft 1048576 less"),
        ("kaldi_fbank80", {"frame_length_ms": 1e308}, "frame_length_ms=1e.308: it must be at most"),
        ("kaldi_fbank80", {"frame_shift_ms": 1e300}, "at most"),
        ("kaldi_fbank80", {"stack": 2**40}, "at most"),
        ("kaldi_fbank80", {"scale": 1e308}, "at most"),
        (["kaldi_fbank80"], {}, "unknown preset"),
    ],
)
def test_bad_options(name, options, said):
    with pytest.raises(ValueError, match=said) as caught:
        features.get(name, **options)
    assert "\n" not in str(caught.value)
