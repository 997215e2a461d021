"""Who speaks when, and windows: the same whatever the chunks, complete, flat."""

import importlib.util

import numpy as np
import pytest

from speechllm.decode import voice
from speechllm.decode.long import Cutter, windows

RATE = 16000


def bursts(*spans: tuple[float, float], seconds: float, rate: int = RATE) -> np.ndarray:
    """Make soft noise with louder noise in these spans."""
    rng = np.random.default_rng(0)
    wave = 1e-4 * rng.standard_normal(round(seconds * rate))
    for a, b in spans:
        loud = slice(round(a * rate), round(b * rate))
        wave[loud] = 0.1 * rng.standard_normal(loud.stop - loud.start)
    return wave.astype(np.float32)


def cut(wave, window_s=30.0, kind="energy", size=RATE * 60, rate=RATE):
    chunks = [wave[i : i + size] for i in range(0, len(wave), size)]
    return list(windows(chunks, Cutter(rate, voice.detector(kind, rate), window_s)))


@pytest.mark.parametrize("kind", voice.KINDS[1:])
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_chunks_of_any_size_give_the_same(kind, rate):
    if kind == "silero":
        pytest.importorskip("silero_vad")
    wave = bursts((1, 4), (4.5, 9), (12, 12.5), (14, 30), seconds=40, rate=rate)
    whole = cut(wave, 8.0, kind, rate=rate)
    for size in (997, 70_001):
        other = cut(wave, 8.0, kind, size, rate)
        assert [one.speech for one in other] == [one.speech for one in whole]
        for a, b in zip(whole, other, strict=True):
            assert len(a.wave) == len(b.wave) and np.allclose(a.wave, b.wave, atol=1e-6)
    for one in whole:
        first = max(one.start - len(wave) / rate, 0)
        assert 0 <= first <= one.start < one.end <= 40.1
        assert len(one.wave) <= 8.0 * rate


def test_windows_hold_all_speech_once():
    spans = [(1, 4), (4.5, 9), (9.4, 12), (15, 15.5), (18, 24)]
    found = cut(bursts(*spans, seconds=30), 10.0)
    speech = np.zeros(30 * 1000, bool)
    for one in found:
        for a, b in one.speech:
            assert not speech[round(a * 1000) : round(b * 1000)].any()
            speech[round(a * 1000) : round(b * 1000)] = True
    wanted = np.zeros(30 * 1000, bool)
    for a, b in spans:
        wanted[round(a * 1000) : round(b * 1000)] = True
    assert (speech != wanted).sum() < 64 * 2 * len(spans)  # ms: two frames an edge
    assert found[0].end == pytest.approx(9, abs=0.07)  # the longest pause of the last part
    assert max(len(one.wave) for one in found) <= 10 * RATE
    assert all(len(one.wave) > (one.end - one.start) * RATE - 1 for one in found)


def test_samples_of_a_window_are_those_of_its_times():
    wave = bursts((3, 5), (9, 9.5), seconds=12)
    for one in cut(wave):
        at = round((one.start - 9 * voice.FRAME_S) * RATE)  # its margin
        assert np.array_equal(one.wave, wave[at : at + len(one.wave)])


def test_without_a_pause_the_cut_is_where_it_is_quiet():
    wave = bursts((0, 60), seconds=60)
    wave[17 * RATE : 17 * RATE + 1600] *= 0.3
    found = cut(wave, 20.0, "none")
    assert found[0].end == pytest.approx(17.05, abs=0.1)
    assert sum(len(one.wave) for one in found) == pytest.approx(len(wave), abs=600)
    assert len(found) in (3, 4, 5, 6)


@pytest.mark.parametrize("kind", voice.KINDS[1:3])
def test_nobody_speaks(kind):
    if kind == "silero":
        pytest.importorskip("silero_vad")
    rng = np.random.default_rng(0)
    hum = 0.2 * np.sin(2 * np.pi * 100 * np.arange(20 * RATE) / RATE)
    for wave in (np.zeros(30 * RATE), 0.1 * rng.standard_normal(30 * RATE), hum, np.zeros(800)):
        assert cut(wave.astype(np.float32), kind=kind) == []


def test_only_the_open_window_is_kept():
    cutter = Cutter(RATE, voice.detector("energy", RATE), 10.0)
    for i in range(30):
        wave = bursts((2, 19), seconds=20) if i % 3 else np.zeros(20 * RATE, np.float32)
        for _ in cutter(wave):
            pass
        assert len(cutter._wave) < 30 * RATE and len(cutter._shares) < 30 / voice.FRAME_S


def test_what_means_nothing_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="window_s: wanted at least 1 s, got 0.2"):
        Cutter(RATE, voice.detector("none", RATE), 0.2)
    with pytest.raises(ValueError, match="vad: wanted one of auto, silero, energy, none, got 'x'"):
        voice.detector("x", RATE)
    monkeypatch.setattr(voice, "weights", lambda: None)
    assert voice.chosen("auto") == "energy"
    with pytest.raises(ValueError, match="silero-vad is not installed; pip install silero-vad"):
        voice.detector("silero", RATE)


def test_the_network_is_that_of_the_package():
    """With the weights of its TorchScript, frame by frame, as the package runs it."""
    import torch

    pytest.importorskip("silero_vad")
    data = voice.weights().parent
    script = torch.jit.load(str(data / "silero_vad.jit")).eval()
    theirs = {k.removeprefix("_model."): v for k, v in script.state_dict().items()}
    ours = {"stft_conv.weight": theirs["stft.forward_basis_buffer"]}
    for i in range(4):
        for part in ("weight", "bias"):
            ours[f"conv{i + 1}.{part}"] = theirs[f"encoder.{i}.reparam_conv.{part}"]
    for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        ours[f"lstm_cell.{part}"] = theirs[f"decoder.rnn.{part}"]
    for part in ("weight", "bias"):
        ours[f"final_conv.{part}"] = theirs[f"decoder.decoder.2.{part}"]
    wave = bursts((0.5, 1), (1.2, 2), seconds=3)
    network = voice.Silero(ours, voice.recurrent(ours))
    frames = wave[: len(wave) // 512 * 512].reshape(-1, 512)
    got = np.concatenate([network(frames[:40]), network(frames[40:])])
    script.reset_states()
    with torch.no_grad():
        wanted = [float(script(torch.from_numpy(frame), RATE)) for frame in frames]
    assert np.abs(got - wanted).max() < 1e-4


def test_who_listens_has_its_own_state_and_shares_the_network():
    """A server makes a detector for each file: it reads no weights again."""
    pytest.importorskip("silero_vad")
    one, two = voice.detector("silero", RATE), voice.detector("silero", RATE)
    assert one._heard._lstm is two._heard._lstm
    wave = bursts((0.5, 1), (1.2, 2), seconds=3)
    before = one(wave)
    one(wave[::-1].copy())
    assert np.array_equal(two(wave), before)


def test_importing_leaves_threads_alone():
    """The package itself would set them; only its weights are read."""
    source = importlib.util.find_spec("speechllm.decode.voice").origin
    assert "import silero" not in open(source).read()


def test_real_speech_is_found(real_data):
    import csv

    import features

    pytest.importorskip("silero_vad")
    folder = real_data / "misc_audio" / "long_form"
    wave, _ = features.load(folder / "librispeech_422-122949.flac", duration_s=120.0)
    found = cut(wave, 30.0, "silero")
    with open(folder / "librispeech_422-122949.segments.tsv") as file:
        ends = [float(row["end"]) for row in csv.DictReader(file, delimiter="\t")]
    assert all(len(one.wave) <= 30 * RATE for one in found)
    assert sum(b - a for one in found for a, b in one.speech) > 95
    for one in found[:-1]:  # no cut inside a word: each near a pause of the recording
        rms = np.sqrt(np.square(wave[round(one.end * RATE) :][:1600]).mean())
        assert rms < 0.02 and ends
    for path in sorted((real_data / "misc_audio" / "noise").glob("*.wav")):
        assert cut(features.load(path)[0], kind="silero") == [], path
