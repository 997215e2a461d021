"""Augmentation: what was asked for is what is measured; nothing is changed in place."""

import numpy as np
import pytest
import torch

from features import augment
from features.extractor import get

RATE = 16000


def db(power):
    return 10 * np.log10(power)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def wave(rng):
    return (0.1 * rng.standard_normal(20000)).astype(np.float32)


@pytest.mark.parametrize("snr_db", [-10.0, 0.0, 7.5, 30.0])
@pytest.mark.parametrize("n_noise", [5000, 20000, 50000])
def test_snr_asked_for_is_snr_measured(wave, rng, snr_db, n_noise):
    noise = rng.standard_normal(n_noise).astype(np.float32)
    before = wave.copy()
    noisy = augment.add_noise(wave, noise, snr_db, rng)
    added = noisy.astype(np.float64) - wave
    assert abs(db(np.mean(wave**2.0)) - db(np.mean(added**2)) - snr_db) < 1e-2
    assert noisy.dtype == np.float32 and len(noisy) == len(wave) and (wave == before).all()


def test_noise_that_is_none(wave, rng):
    for noise in (np.zeros(100, np.float32), np.zeros(0, np.float32)):
        with pytest.raises(ValueError, match="silent or empty"):
            augment.add_noise(wave, noise, 10.0, rng)
    silent = np.zeros(100, np.float32)
    assert (augment.add_noise(silent, wave, 10.0, rng) == 0).all()


def test_gain(wave):
    louder = augment.gain(wave, 6.0)
    assert (
        abs(db(np.mean(louder**2) / np.mean(wave**2)) - 6.0) < 1e-3 and louder.dtype == np.float32
    )


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.1, 1.37])
def test_speed(factor):
    for n in (0, 1, 2, 15999, 16000):
        tone = np.sin(2 * np.pi * 500 * np.arange(n) / RATE).astype(np.float32)
        fast = augment.speed_perturb(tone, factor)
        assert len(fast) == augment.speed_length(n, factor) and fast.dtype == np.float32
        assert abs(len(fast) - n / factor) <= 0.5 + 1e-6
    peak_hz = np.abs(np.fft.rfft(fast)).argmax() * RATE / len(fast)
    assert abs(peak_hz - 500 * factor) < 2
    with pytest.raises(ValueError, match=r"between 0.25 and 4.0"):
        augment.speed_perturb(tone, 0.0)


def test_reverberation_keeps_place_power_and_length(wave, rng):
    delayed = np.zeros(800, np.float32)
    delayed[300] = 0.5
    assert np.abs(augment.reverberate(wave, delayed) - wave).max() < 1e-5
    room = (rng.standard_normal(4000) * np.exp(-np.arange(4000) / 500)).astype(np.float32)
    wet = augment.reverberate(wave, room)
    assert wet.shape == wave.shape and wet.dtype == np.float32
    assert abs(db(np.mean(wet**2) / np.mean(wave**2))) < 1e-3 and np.abs(wet - wave).max() > 0.05
    with pytest.raises(ValueError, match="silent or empty"):
        augment.reverberate(wave, np.zeros(10, np.float32))


def test_telephone_passes_its_band_only():
    def level(hz):
        tone = (0.3 * np.sin(2 * np.pi * hz * np.arange(RATE) / RATE)).astype(np.float32)
        heard = augment.telephone(tone)
        assert heard.shape == tone.shape and heard.dtype == np.float32
        return db(np.mean(heard[1000:-1000] ** 2) / np.mean(tone**2))

    assert abs(level(1000)) < 0.2 and abs(level(3000)) < 0.2
    assert level(100) < -25 and level(5000) < -25
    for n in (0, 1, 3, 777):
        assert len(augment.telephone(np.zeros(n, np.float32))) == n


@pytest.mark.parametrize("kind", ["torch", "numpy"])
def test_spec_augment_masks_within_its_limits(rng, kind):
    x = rng.standard_normal((200, 80)).astype(np.float32) + 5.0
    x = torch.from_numpy(x) if kind == "torch" else x
    before = x.clone() if kind == "torch" else x.copy()
    widest = [0, 0]
    for _ in range(50):
        y = augment.spec_augment(x, rng, 1, 27, 1, 100, 0.2, fill="zero")
        assert y.shape == x.shape and y.dtype == x.dtype and type(y) is type(x)
        masked = np.asarray(y) == 0.0
        widest = [max(widest[0], masked.all(0).sum()), max(widest[1], masked.all(1).sum())]
        assert masked.all(0).sum() <= 27 and masked.all(1).sum() <= 40  # 0.2 of 200 frames
    assert widest[0] > 20 and widest[1] > 30
    assert (np.asarray(x) == np.asarray(before)).all()
    assert abs(float(augment.spec_augment(x, rng, fill="mean").mean()) - 5.0) < 0.1


def test_spec_augment_of_little():
    rng = np.random.default_rng(0)
    for shape in ((0, 80), (1, 80), (3, 1)):
        assert augment.spec_augment(torch.ones(shape), rng).shape == shape
    with pytest.raises(ValueError, match="'mean' or 'zero'"):
        augment.spec_augment(torch.ones(3, 3), rng, fill="noise")


def test_the_same_generator_gives_the_same(wave):
    for function in (
        lambda g: augment.add_noise(wave, wave[:500], 5.0, g),
        lambda g: augment.spec_augment(wave.reshape(200, 100), g),
        lambda g: augment.time_warp(wave.reshape(200, 100), g),
    ):
        first, second = (function(np.random.default_rng(7)) for _ in range(2))
        assert (first == second).all()


def test_time_warp_moves_and_keeps_the_ends(rng):
    x = torch.linspace(0, 1, 200)[:, None].repeat(1, 4)
    y = augment.time_warp(x, rng)
    assert y.shape == x.shape and y.dtype == x.dtype and not torch.equal(x, y)
    assert torch.allclose(y[[0, -1]], x[[0, -1]]) and (y.diff(dim=0) >= -1e-6).all()
    assert augment.time_warp(x[:50], rng) is not None


@pytest.mark.parametrize("kind", ["torch", "numpy"])
def test_warp_mel_moves_formants(kind):
    """A tone seen by a longer vocal tract's bins lies lower by that factor, in Hz."""
    hz = 2000.0
    tone = 0.3 * np.sin(2 * np.pi * hz * np.arange(RATE) / RATE)
    lower = 0.3 * np.sin(2 * np.pi * hz / 1.1 * np.arange(RATE) / RATE)
    fe = get("kaldi_fbank80")
    x, there = fe(tone)[0], fe(lower)[0]
    warped = augment.warp_mel(x if kind == "torch" else x.numpy(), 1.1)
    assert warped.shape == x.shape and np.asarray(warped).dtype == np.float32
    assert abs(int(np.asarray(warped).mean(0).argmax()) - int(there.mean(0).argmax())) <= 1
    assert torch.allclose(augment.warp_mel(x, 1.0), x, atol=1e-4)
    with pytest.raises(ValueError, match=r"between 0.5 and 2.0"):
        augment.warp_mel(x, 0.0)


ON_WAVES = {
    "speed": lambda w, g, **k: augment.speed_perturb(w, (0.9, 1.0, 1.1), g, **k),
    "gain": lambda w, g, **k: augment.gain(w, (-6.0, 6.0), g, **k),
    "noise": lambda w, g, **k: augment.add_noise(w, [NOISE, NOISE[:99]], (0.0, 20.0), g, **k),
    "room": lambda w, g, **k: augment.reverberate(w, [ROOM, ROOM[:40]], g, **k),
    "telephone": lambda w, g, **k: augment.telephone(w, law=("mulaw", "alaw"), rng=g, **k),
}
ON_FRAMES = {
    "masks": lambda x, g, **k: augment.spec_augment(x, g, **k),
    "warp": lambda x, g, **k: augment.time_warp(x, g, width=5, **k),
    "vtln": lambda x, g, **k: augment.warp_mel(x, (0.9, 1.1), rng=g, **k),
}
NOISE = np.random.default_rng(1).standard_normal(5000).astype(np.float32)
ROOM = NOISE[:400] * np.exp(-np.arange(400) / 50).astype(np.float32)


@pytest.mark.parametrize("name", [*ON_WAVES, *ON_FRAMES])
@pytest.mark.parametrize("kind", ["torch", "numpy"])
def test_batch_is_its_items_one_by_one(name, kind):
    """And what lies in the padding is never seen."""
    wave = name in ON_WAVES
    function = ON_WAVES[name] if wave else ON_FRAMES[name]
    lengths = np.array([400, 1, 777, 0, 50])
    x = np.random.default_rng(0).standard_normal((5, 800) if wave else (5, 800, 40))
    x = x.astype(np.float32)
    for row, n in zip(x, lengths, strict=True):
        row[n:] = np.nan
    if kind == "torch":
        if wave:
            return  # waves are numpy
        x, lengths = torch.from_numpy(x), torch.from_numpy(lengths)
    y, made = function(x, np.random.default_rng(3), lengths=lengths)
    assert type(y) is type(x) and type(made) is type(lengths) and y.dtype == x.dtype
    assert len(y) == len(made) == 5 and np.isfinite(np.asarray(y)).all()
    for i, own in enumerate(np.random.default_rng(3).spawn(5)):
        alone = function(x[i, : lengths[i]], own)
        assert len(alone) == made[i] and (np.asarray(y[i, : made[i]]) == np.asarray(alone)).all()
        assert (np.asarray(y[i, made[i] :]) == 0).all()
    if name != "speed":
        assert y.shape == x.shape and (np.asarray(made) == np.asarray(lengths)).all()


@pytest.mark.parametrize("name", [*ON_WAVES, *ON_FRAMES])
def test_off_in_evaluation_and_drawn_in_training(name):
    function = {**ON_WAVES, **ON_FRAMES}[name]
    x = NOISE if name in ON_WAVES else NOISE[:4000].reshape(100, 40)
    assert function(x, np.random.default_rng(0), training=False) is x
    same, lengths = function(x[None], None, lengths=[len(x)], training=False)
    assert (same == x).all() and lengths == [len(x)]
    outs = [function(x, np.random.default_rng(seed)) for seed in range(12)]
    again = function(x, np.random.default_rng(0))
    assert (outs[0] == again).all()
    assert any(o.shape != outs[0].shape or (o != outs[0]).any() for o in outs[1:])


def test_what_is_drawn_lies_in_its_range(wave, rng):
    gains = [
        db(np.mean(augment.gain(wave, (-6, 3), rng) ** 2) / np.mean(wave**2)) for _ in range(60)
    ]
    assert -6.01 < min(gains) < -4 and 2 < max(gains) < 3.01
    noises = [(augment.add_noise(wave, [NOISE], (5.0, 15.0), rng) - wave) for _ in range(40)]
    ratios = [db(np.mean(wave**2.0) / np.mean(n**2.0)) for n in noises]
    assert 4.99 < min(ratios) < 7 and 13 < max(ratios) < 15.01
    lengths = {len(augment.speed_perturb(wave, (0.9, 1.0, 1.1), rng)) for _ in range(30)}
    assert lengths == {augment.speed_length(len(wave), f) for f in (0.9, 1.0, 1.1)}


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda w: augment.gain(w, (-6.0, 6.0)), "gain_db is to be drawn; give a generator"),
        (lambda w: augment.speed_perturb(w, (0.9, 1.1)), "factor is to be drawn"),
        (lambda w: augment.reverberate(w, []), "an empty list"),
        (lambda w: augment.gain(w[None], 1.0, lengths=[99999]), r"wanted 1 lengths in 0..20000"),
        (lambda w: augment.gain(w[None], 1.0, lengths=[1, 2]), "wanted 1 lengths"),
    ],
)
def test_bad_wishes(wave, call, said):
    with pytest.raises(ValueError, match=said):
        call(wave)


def test_real_noise_and_rooms(real_data):
    """Recorded noise and rooms: the ratio asked for is measured, direct sound stays in place."""
    import features

    folder = real_data / "misc_audio"
    if not (folder / "rirs").is_dir():
        pytest.skip("needs misc_audio/noise and rirs in the data folder")
    speech, _ = features.load(folder / "cards" / "001.wav")
    for path in sorted((folder / "noise").iterdir()):
        noise, _ = features.load(path)
        noisy = augment.add_noise(speech, noise, 5.0, np.random.default_rng(0))
        added = noisy.astype(np.float64) - speech
        assert abs(db(np.mean(speech**2.0) / np.mean(added**2)) - 5.0) < 0.01, path
    hiss = np.random.default_rng(0).standard_normal(50000).astype(np.float32)
    for path in sorted((folder / "rirs").iterdir()):
        room, _ = features.load(path)
        wet = augment.reverberate(hiss, room)
        both = np.fft.rfft(wet, 1 << 17) * np.fft.rfft(hiss, 1 << 17).conj()
        assert wet.shape == hiss.shape and np.abs(np.fft.irfft(both)).argmax() == 0, path
