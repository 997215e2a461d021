"""The embedded default: a small corpus spoken by espeak-ng, made in half a minute, without network.

Sentences of a small grammar (some 200 words) by many voices in eight accents of English at many
rates and pitches, in small rooms and mild noise; 16 kHz FLAC. What is in test and dev (voices,
that is espeak variants, and sentences) is never in train: `prepare` asserts it. Written are
`train.jsonl`, `dev.jsonl`, `test.jsonl` and `text.jsonl`: sentences alone, for the LLM's text
phase, none of them in dev or test. The same options give the same bytes.

    speechllm data prepare mini --out data/mini --hours 1.6
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speechllm.data import manifest
from speechllm.data.corpora import _grammar, _speech
from speechllm.data.corpora._cast import Utterance, cast, plan

SPLITS = ("train", "dev", "test", "text")
VERSION = 2  # of what is made; raise it with any change of sentences, voices or sound
SHARDS = {"train": 6, "dev": 1, "test": 1}  # a fresh process each; more would give other bytes


@dataclass(frozen=True, kw_only=True)
class Config(_speech.Settings):
    """Options of the corpus; `hours` of train are met within a few percent."""

    out: str = "data/mini"
    hours: float = 1.6
    n_dev: int = 100
    n_test: int = 200
    n_text: int = 20000

    def prepare(self) -> dict[str, Path]:
        """Make the corpus under `out`, or return at once where it is; manifests by name.

        Raises ValueError for options that make no sense and where espeak-ng is missing.
        """
        _check(self)
        out = Path(self.out).absolute()
        manifests = {name: out / f"{name}.jsonl" for name in SPLITS}
        mark = _speech.Mark(out, VERSION, self)
        if mark.is_there() and all(path.exists() for path in manifests.values()):
            return manifests
        mark.remove()
        rng = np.random.default_rng(self.seed)
        splits, text = plan(self.hours, self.n_dev, self.n_test, self.n_text, rng)
        for split, rows in _speech.speak(self, splits, SHARDS, out, _crowd).items():
            manifest.write(manifests[split], rows)
        text_rows = ({"id": f"text-{i:06d}", "text": line} for i, line in enumerate(text))
        manifest.write(manifests["text"], text_rows)
        mark.write()
        return manifests


def _crowd(split: str, _: list[Utterance], rng: np.random.Generator) -> list[Utterance]:
    """Sentences of others, for babble."""
    return cast(split, _grammar.sentences(12, rng, taken=set()), rng)


def _check(config: Config) -> None:
    if config.hours <= 0 or min(config.n_dev, config.n_test) < 1 or config.n_text < 0:
        raise ValueError(f"wanted hours, n_dev and n_test above 0, got {config}")
    _speech.check(config)
