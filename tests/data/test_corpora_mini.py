"""The embedded corpus: held-out voices and sentences, sound levels, the same bytes for a seed."""

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechllm.data.corpora import _cast, _grammar, _room, mini
from speechllm.data.corpora._cast import VOICES, plan
from speechllm.data.manifest import Manifest

SMALL = {"hours": 0.0012, "n_dev": 2, "n_test": 4, "n_text": 50, "seed": 3}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    out = tmp_path_factory.mktemp("mini")
    return out, mini.Config(out=str(out), workers=2, **SMALL).prepare()


def test_what_is_written(corpus):
    _, paths = corpus
    opened = {name: Manifest(path) for name, path in paths.items()}
    assert list(opened) == ["train", "dev", "test", "text"]
    assert len(opened["dev"]) == 2 and len(opened["test"]) == 4 and len(opened["text"]) == 50
    for row in [*opened["train"], *opened["dev"], *opened["test"]]:
        wave, rate = soundfile.read(row["audio"], dtype="float32")
        assert rate == 16000 and len(wave) == round(row["duration"] * rate)
        assert -33 < 20 * np.log10(_room.rms(wave)) < -17 and np.abs(wave).max() < 0.99
        assert 0.15 < row["duration"] / len(row["text"].split()) < 1.5
    assert "audio" not in opened["text"][0]


def test_complete_corpus_is_left_alone(corpus):
    out, paths = corpus
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert mini.Config(out=str(out), **SMALL).prepare() == paths
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*")}


def test_same_bytes_for_any_number_of_workers(corpus, tmp_path):
    out, _ = corpus
    mini.Config(out=str(tmp_path), workers=1, **SMALL).prepare()
    assert _digests(tmp_path) == _digests(out)


def _digests(folder: Path) -> dict[str, str]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    digest = hashlib.sha256
    return {str(p.relative_to(folder)): digest(p.read_bytes()).hexdigest() for p in paths}


def test_test_voices_and_sentences_are_unheard():
    splits, text = plan(0.5, 50, 100, 2000, np.random.default_rng(0))
    assert len(splits["dev"]) == 50 and len(splits["test"]) == 100 and len(set(text)) == 2000
    texts = {name: {u.text for u in part} for name, part in splits.items()}
    assert not texts["test"] & (texts["train"] | texts["dev"] | set(text))
    assert not texts["dev"] & (texts["train"] | set(text))
    assert len(texts["train"]) == len(splits["train"])
    assert not set(VOICES["test"]) & (set(VOICES["train"]) | set(VOICES["dev"]))
    assert len(VOICES["train"]) >= 40
    assert sum(u.expected_s for u in splits["train"]) == pytest.approx(1800, abs=10)


def test_no_word_of_dev_and_test_is_new():
    """The sentences that dev and test take away leave each of their words often enough."""
    defaults = mini.Config()
    numbers = (defaults.n_dev, defaults.n_test, 0)
    splits, _ = _cast.plan(defaults.hours, *numbers, np.random.default_rng(defaults.seed))
    heard = Counter(word for u in splits["train"] for word in u.text.split())
    held = {word for split in ("dev", "test") for u in splits[split] for word in u.text.split()}
    assert {word: heard[word] for word in held if heard[word] < 10} == {}


def test_grammar():
    words = _grammar.vocabulary()
    assert 180 <= len(words) <= 230
    assert all(word.isalpha() and word.islower() for word in words)
    rng = np.random.default_rng(0)
    lines = _grammar.sentences(500, rng, taken=set())
    assert len(set(lines)) == 500
    assert all(4 <= len(line.split()) <= 14 for line in lines)
    assert {word for line in lines for word in line.split()} <= set(words)
    taken = set(_grammar.sentences(500, np.random.default_rng(0), taken=set()))
    assert taken == set(lines)
    assert taken.isdisjoint(_grammar.sentences(500, np.random.default_rng(0), taken))


def test_noise_has_the_ratio_asked_for():
    rng = np.random.default_rng(0)
    wave = np.sin(np.arange(16000) / 7).astype(np.float32)
    for noise in (
        _room.white(16000, rng),
        _room.pink(16000, rng),
        _room.babble(16000, rng, [rng.standard_normal(9000), rng.standard_normal(30000)]),
    ):
        assert noise.shape == (16000,)
        mixed = _room.add(wave, noise, snr_db=12.0)
        ratio = 20 * np.log10(_room.rms(wave) / _room.rms(mixed - wave))
        assert ratio == pytest.approx(12.0, abs=0.01) and mixed.dtype == np.float32
    reverberant = _room.reverberate(wave, rng, 16000)
    assert reverberant.shape == wave.shape and reverberant.dtype == np.float32
    assert np.abs(_room.level(wave, rms_db=-1.0)).max() == pytest.approx(0.98)


def test_pink_noise_falls_by_3_db_an_octave():
    power = np.abs(np.fft.rfft(_room.pink(1 << 16, np.random.default_rng(0)))) ** 2
    octaves = [power[1 << k : 2 << k].mean() for k in range(9, 14)]
    steps = np.diff(10 * np.log10(octaves))
    assert np.abs(steps + 3.01).max() < 0.7


def test_fft_convolution_is_convolution():
    a, b = np.random.default_rng(0).standard_normal((2, 37))
    np.testing.assert_allclose(_room.convolve(a, b[:11]), np.convolve(a, b[:11]), atol=1e-12)


@pytest.mark.parametrize(
    "options", [{"hours": 0}, {"n_test": 0}, {"noise_share": 2.0}, {"snr_min": 40.0}]
)
def test_options_that_make_no_sense(tmp_path, options):
    with pytest.raises(ValueError, match="wanted"):
        mini.Config(out=str(tmp_path), **options).prepare()
    assert not list(tmp_path.iterdir())
