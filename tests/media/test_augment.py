"""The `[augment]` table: all of it reachable, decided by (seed, epoch, index), checked early."""

import numpy as np
import pytest
import soundfile

import features
from features import presets
from features.augment import warp_mel
from speechllm import config
from speechllm.media import _augment as augment
from speechllm.train import loop

RATE = 16000


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """A folder with noises of several lengths and rates, one with rooms, and a manifest."""
    folder = tmp_path_factory.mktemp("sounds")
    rng = np.random.default_rng(0)
    for name in ("noise/deep", "rooms"):
        (folder / name).mkdir(parents=True)
    for i, (n, rate) in enumerate(((40000, 16000), (900, 16000), (30000, 8000))):
        soundfile.write(folder / f"noise/deep/{i}.wav", 0.1 * rng.standard_normal(n), rate)
    for i, delay in enumerate((0, 40)):
        room = np.zeros((2000, 2))
        room[delay] = 1.0, 0.0
        room[delay + 700, 0] = 0.5
        soundfile.write(folder / f"rooms/{i}.flac", room, RATE)
    (folder / "part.jsonl").write_text(
        '{"id": "a", "audio": "noise/deep/0.wav", "start": 1.0, "duration": 0.5}\n'
    )
    return folder


def wave(n=8000):
    return (0.1 * np.sin(np.arange(n) / 7)).astype(np.float32)


def draws(made, n=8000, seeds=range(12)):
    return [made.wave(wave(n), RATE, np.random.default_rng(seed)) for seed in seeds]


def snr_db(noisy, clean):
    rest = noisy - clean
    return 10 * np.log10(np.mean(clean**2.0) / np.mean(rest**2.0))


@pytest.mark.parametrize("source", ["noise", "noise/deep/1.wav", "part.jsonl"])
def test_noise_from_files_at_the_ratio_that_is_asked_for(sounds, source):
    made = augment.Config(noise=str(sounds / source), noise_share=1.0, noise_snr_db=(5.0, 8.0))
    for n in (8000, 500, 60000):
        found = draws(made, n)
        assert all(len(x) == n and x.dtype == np.float32 for x in found)
        ratios = [snr_db(x, wave(n)) for x in found]
        assert 4.99 < min(ratios) < max(ratios) < 8.01 and np.ptp(ratios) > 0.5
    assert any(not np.array_equal(a, b) for a, b in zip(found, found[1:], strict=False))


def test_only_the_wanted_part_of_a_noise_is_decoded(sounds, monkeypatch):
    asked = []
    load = augment.features.load
    monkeypatch.setattr(augment.features, "load", lambda *a, **k: asked.append(a) or load(*a, **k))
    made = augment.Config(noise=str(sounds / "part.jsonl"), noise_share=1.0)
    draws(made, 1600)
    assert all(1.0 <= start and start + length <= 1.5 + 1e-9 for _, _, start, length in asked)
    assert {length for *_, length in asked} == {0.1} and len(
        {start for _, _, start, _ in asked}
    ) > 9


def test_a_pause_in_a_noise_is_no_noise(tmp_path):
    soundfile.write(tmp_path / "still.wav", np.zeros(9000), RATE)
    made = augment.Config(noise=str(tmp_path), noise_share=1.0)
    assert all(np.array_equal(x, wave()) for x in draws(made))


def test_rooms_echo(sounds, tmp_path):
    """The first channel has an echo after 700 samples, the direct sound stays in its place."""
    click = np.zeros(4000, np.float32)
    click[100] = 1.0
    made = augment.Config(rooms=str(sounds / "rooms"), room_share=1.0)
    for seed in range(4):
        x = made.wave(click, RATE, np.random.default_rng(seed))
        assert len(x) == 4000 and np.abs(x).argmax() == 100
        assert x[800] / x[100] == pytest.approx(0.5, abs=1e-3)
    soundfile.write(tmp_path / "none.wav", np.zeros(100), RATE)
    silent = augment.Config(rooms=str(tmp_path), room_share=1.0)
    with pytest.raises(ValueError, match=r"none\.wav: an impulse response of zeros"):
        silent.wave(click, RATE, np.random.default_rng(0))


def test_a_telephone_has_no_highs(sounds):
    hiss = np.random.default_rng(5).standard_normal(16000).astype(np.float32) * 0.1
    made = augment.Config(telephone_share=0.5, telephone_law=("mulaw", "alaw"))
    heard = [made.wave(hiss, RATE, np.random.default_rng(seed)) for seed in range(20)]
    changed = [x for x in heard if not np.array_equal(x, hiss)]
    assert 4 < len(changed) < 16 and len({x.tobytes() for x in changed}) == 2
    for x in changed:
        power = np.abs(np.fft.rfft(x)) ** 2
        assert len(x) == 16000 and power[4500:].sum() < 0.01 * power.sum()


# bins brought to one mean and deviation have no peaks: NeMo's are looked at before that
PLAIN = {"nemo80": {"cmvn": ""}, "nemo128": {"cmvn": ""}}
MEL = [(name, PLAIN.get(name, {})) for name, row in presets.PRESETS.items() if row.mel_axis]
KALDI = (
    "kaldi_fbank80",
    "kaldi_fbank40",
    "torchaudio_mel",
    "ast",
    "seamless",
    "sensevoice",
)  # its axis is theirs
OTHERS = [
    ("kaldi_fbank80", {"sampling_rate": 8000, "num_mel_bins": 64}),
    ("kaldi_fbank80", {"low_freq": 60.0, "high_freq": -400.0, "stack": 2, "use_energy": True}),
    ("whisper80", {"high_freq": 6000.0, "num_mel_bins": 60}),
]


def sweep(pitch, rate):
    """Rises through the middle of the bank; has its octave above it."""
    phase = 2 * np.pi * pitch * np.cumsum(np.linspace(700, 2400, 24000)) / rate
    return (0.3 * np.sin(phase) + 0.05 * np.sin(2 * phase)).astype(np.float32)


def peaks(x, axis):
    """The strongest bin of each frame, but for those at the ends."""
    return x.reshape(len(x) * axis["stack"], -1)[2:-2, axis["first"] :].argmax(1)


@pytest.mark.parametrize("seed", [4, 3], ids=["longer", "shorter"])
@pytest.mark.parametrize("name, options", [*MEL, *OTHERS], ids=str)
def test_vtln_moves_each_front_ends_peaks_to_where_a_warped_pitch_has_them(name, options, seed):
    factor = np.random.default_rng(seed).uniform(1 / 1.2, 1.2)
    fe = features.get(name, **options)
    x, _ = fe(sweep(1.0, fe.sampling_rate))
    warped = augment.Config(vtln=1.2).frames(x, fe, np.random.default_rng(seed))
    there = peaks(fe(sweep(1 / factor, fe.sampling_rate))[0], fe.mel_axis)
    off = (peaks(warped, fe.mel_axis) - there).double()
    plain = (peaks(x, fe.mel_axis) - there).double()
    assert off.abs().mean() < 0.3 and abs(off.mean()) < 0.15 and plain.abs().mean() > 1.0
    kaldi = warp_mel(x, factor, first=fe.mel_axis["first"], stack=fe.mel_axis["stack"])
    if name in KALDI and not options:
        assert name == "torchaudio_mel" or (warped == kaldi).all()
    else:  # its axis is another, and it shows
        assert abs((peaks(kaldi, fe.mel_axis) - there).double().mean()) > abs(off.mean()) + 0.05


@pytest.mark.parametrize(
    "name, options, said",
    [
        ("wave16k", {}, "wave16k gives no mel bins to warp"),
        ("kaldi_mfcc13", {}, "kaldi_mfcc13 gives no mel bins"),
        ("kaldi_spectrogram", {}, "kaldi_spectrogram gives no mel bins"),
        ("kaldi_fbank80", {"low_freq": 120.0}, "from 110 to 7500 Hz, .* inside 120 to 8000"),
    ],
    ids=str,
)
def test_a_warp_that_the_front_end_has_no_bins_for(name, options, said):
    fe = features.get(name, **options)
    with pytest.raises(ValueError, match=r"\[augment\] vtln = 1.1: .*" + said) as caught:
        augment.Config(vtln=1.1).check(fe)
    assert "\n" not in str(caught.value)
    augment.Config().check(fe)


def test_which_is_said_before_training(make_run, tmp_path):
    run = make_run(tmp_path / "run", "augment={vtln=1.1}", "frontend.low_freq=120.0")
    with pytest.raises(ValueError, match="vtln = 1.1: a warp by"):
        loop.train(run)
    assert not (tmp_path / "run").exists()


def test_all_of_it_is_a_function_of_seed_epoch_and_index(make_run, tmp_path, sounds):
    from speechllm.data.examples import Examples

    table = augment.Config(
        speed=(0.9, 1.1), rooms=str(sounds / "rooms"), room_share=0.7, noise_share=0.7,
        noise=str(sounds / "noise"), gain_db=3.0, telephone_share=0.5, freq_masks=1, freq_width=4,
        mask_fill="zero", time_warp=2, vtln=1.1,
    )  # fmt: skip
    job = make_run(tmp_path)
    manifest = job.manifests["train"]
    one, two = (Examples.of(job.system, manifest, augment=table, seed=3) for _ in range(2))
    there = [one.make(epoch, i).media[0] for epoch in range(2) for i in range(4)]
    again = [two.make(epoch, i).media[0] for epoch in (1, 0) for i in (3, 2, 1, 0)][::-1]
    assert all(a.shape == b.shape and (a == b).all() for a, b in zip(there, again, strict=True))
    assert len({x.numpy().tobytes() for x in there}) == 8


@pytest.mark.parametrize(
    "setting, said",
    [
        ('noise="{0}/nowhere"', r"noise = '.*nowhere': .*no such file"),
        ('noise="{0}/empty"', r"noise = '.*empty': .*no sound in it"),
        ('rooms="{0}/bad"', r"rooms = '.*bad': .*libsndfile cannot read it"),
    ],
)
def test_what_is_missing_is_said_before_training(make_run, tmp_path, setting, said):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.wav").write_bytes(b"no sound at all, only some words")
    run = make_run(
        tmp_path / "run", "augment.room_share=0.0", "augment.noise_share=0.5",
        "augment." + setting.format(tmp_path),
        *(["augment.room_share=0.5"] if "rooms" in setting else []),
    )  # fmt: skip
    with pytest.raises(ValueError, match=said) as caught:
        loop.train(run)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "table, said",
    [
        ({"noise": "x"}, "noise_share: wanted it beside noise"),
        ({"rooms": "x"}, "room_share: wanted it beside rooms"),
        ({"room_share": 0.5}, "room_share: wanted it beside rooms"),
        ({"noise_share": 1.5}, "noise_share: wanted .* at least 0 and at most 1, got 1.5"),
        ({"noise_snr_db": [20, 5]}, "noise_snr_db: wanted .low, high."),
        ({"speed": [0.1]}, "speed: wanted factors"),
        ({"telephone_law": ["ulaw"]}, "telephone_law: wanted some of"),
        ({"mask_fill": "black"}, "mask_fill: wanted one of"),
        ({"vtln": 0.9}, "vtln: wanted 0"),
        ({"noises": "x"}, "no setting called 'noises'; did you mean 'noise'"),
    ],
    ids=str,
)
def test_senseless_settings(table, said):
    with pytest.raises(ValueError, match=said):
        config.fill(augment.Config, table, "[augment]")
