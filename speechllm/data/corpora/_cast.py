"""Who says what in the mini corpus: voices and sentences, held out for dev and test."""

from dataclasses import dataclass

import numpy as np

from speechllm.data.corpora import _grammar

ACCENTS = (
    "en-us", "en-us", "en", "en", "en-gb-x-rp", "en-gb-scotland", "en-us-nyc", "en-029",
    "en-gb-x-gbclan", "en-gb-x-gbcwmd",
)  # fmt: skip
# Variants of espeak-ng 1.52 of which a template matcher (DTW over MFCC, templates from seven other
# voices) recognised 16 isolated words of 16 with a clear margin; whispers and broken ones are left
# out (kaukovalta: 1 of 16). Near relations (iven, iven2) stand in one split only.
VOICES = {
    "train": (
        "Alex", "Andrea", "Diogo", "Gene", "Gene2", "Henrique", "Mario", "Michael", "Mike", "Reed",
        "RicishayMax3", "Storm", "Tweaky", "adam", "antonio", "aunty", "benjamin", "boris", "croak",
        "ed", "edward", "edward2", "f1", "f2", "fast", "grandma", "iven", "iven2", "iven3", "iven4",
        "john", "klatt", "klatt2", "klatt4", "klatt5", "klatt6", "linda", "m1", "m3", "m5", "m6",
        "max", "michel", "miguel", "mike2", "paul", "pedro", "rob", "robert", "robosoft4",
        "robosoft5", "robosoft7", "sandro", "steph", "steph2", "steph3",
    ),
    "dev": ("Annie", "Hugo", "f4", "m8", "pablo", "quincy"),
    "test": ("Denis", "Nguyen", "belinda", "f3", "f5", "m4", "m7", "victor"),
}  # fmt: skip


@dataclass(frozen=True)
class Utterance:
    """A sentence and how it is spoken: espeak accent + variant, words a minute, pitch 0 to 100."""

    id: str
    text: str
    voice: str
    wpm: int
    pitch: int
    pitch_range: int

    @property
    def expected_s(self) -> float:
        """Seconds it will take; fitted to 300 of them, 0.24 s off (RMS)."""
        return 0.445 + 0.142 * 60 / self.wpm * len(self.text)


def plan(
    hours: float, n_dev: int, n_test: int, n_text: int, rng: np.random.Generator
) -> tuple[dict[str, list[Utterance]], list[str]]:
    """The utterances of each split, and sentences for text alone (not those of dev and test)."""
    held = _grammar.sentences(n_dev + n_test, rng, taken=set())
    splits: dict[str, list[Utterance]] = {"train": []}
    splits["dev"] = cast("dev", held[:n_dev], rng)
    splits["test"] = cast("test", held[n_dev:], rng)
    taken, seconds = set(held), 0.0
    while seconds < hours * 3600:
        (text,) = _grammar.sentences(1, rng, taken)
        splits["train"] += cast("train", [text], rng, first=len(splits["train"]))
        seconds += splits["train"][-1].expected_s
        taken.add(text)
    text_only = _grammar.sentences(n_text, rng, set(held))
    _assert_held_out(splits, text_only)
    return splits, text_only


def cast(
    split: str,
    texts: list[str],
    rng: np.random.Generator,
    first: int = 0,
    accents: tuple[str, ...] = ACCENTS,
) -> list[Utterance]:
    """Give each sentence a speaker: all voices of the split equally often, the rest at random."""
    voices = VOICES[split]
    return [
        Utterance(
            id=f"{split}-{number:05d}",
            text=text,
            voice=f"{accents[rng.integers(len(accents))]}+{voices[number % len(voices)]}",
            wpm=int(rng.integers(140, 201)),
            pitch=int(rng.integers(30, 71)),
            pitch_range=int(rng.integers(30, 71)),
        )
        for number, text in enumerate(texts, start=first)
    ]


def _assert_held_out(splits: dict[str, list[Utterance]], text_only: list[str]) -> None:
    for held in ("dev", "test"):
        texts = {u.text for u in splits[held]}
        voices = {u.voice.split("+")[1] for u in splits[held]}
        assert texts.isdisjoint(text_only)
        for other in splits.keys() - {held}:
            assert texts.isdisjoint(u.text for u in splits[other])
            assert voices.isdisjoint(u.voice.split("+")[1] for u in splits[other])
