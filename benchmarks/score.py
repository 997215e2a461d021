"""How fast scoring is: reference words a second, ours against others, medians of interleaved runs.

    python benchmarks/score.py [--data DIR] [--runs 7]

Texts are LibriSpeech dev-clean where --data (or SPEECHLLM_DATA) holds it, else made up; hypotheses
are those with words replaced, dropped and added at three rates. Totals must agree. One core.
"""

import argparse
import os
import random
import statistics
import time
from pathlib import Path

import jiwer
import numpy as np

from speechllm.score import counting, edit, intervals
from speechllm.score.text import english, normalise

wer = counting.named("wer")


def main() -> None:
    """Print two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("SPEECHLLM_DATA", ""))
    parser.add_argument("--runs", type=int, default=7)
    args = parser.parse_args()
    refs = transcripts(args.data)
    words = sum(len(text.split()) for text in refs)
    print(f"{len(refs)} utterances, {words} words, median of {args.runs} interleaved runs\n")
    row("task", "WER %", "ours w/s", "other w/s", "times", "other")
    for rate in (0.02, 0.10, 0.40):
        hyps = spoil(refs, rate)
        ours, theirs = ours_total(refs, hyps), jiwer_total(refs, hyps)
        assert sum(ours[1:]) == theirs, (ours, theirs)
        pair = medians(
            lambda h=hyps: ours_total(refs, h), lambda h=hyps: jiwer_total(refs, h), args.runs
        )
        report("WER statistics", f"{wer.score(ours):.1f}", words, pair, f"jiwer {jiwer_version()}")
    hyps = spoil(refs, 0.10)
    pair = medians(lambda: alignments(refs, hyps), lambda: jiwer_text(refs, hyps), args.runs)
    report("alignments", "", words, pair, "jiwer, as text")
    ours, reference = normalise.get("whisper-en"), transformers_normaliser()
    if reference:
        texts = [text.lower() for text in refs]
        pair = medians(
            lambda: list(map(ours, texts)), lambda: list(map(reference, texts)), args.runs
        )
        report("whisper-en", "", words, pair, "transformers")
    stats = np.array([wer.stats(r, h) for r, h in zip(refs, hyps, strict=True)])
    began = time.perf_counter()
    intervals.interval(stats, wer.score)
    print(f"\nbootstrap, {intervals.RESAMPLES} corpora: {time.perf_counter() - began:.2f} s")


def row(*cells: str) -> None:
    """Print one row of the table."""
    print("{:<16}{:>7}{:>14}{:>14}{:>8}  {}".format(*cells))


def report(task: str, rate: str, words: int, pair: tuple[float, float], other: str) -> None:
    """Print a measured row."""
    ours, theirs = pair
    row(task, rate, f"{words / ours:,.0f}", f"{words / theirs:,.0f}", f"{theirs / ours:.1f}", other)


def medians(first, second, runs: int) -> tuple[float, float]:
    """Time two functions in turns; return the median seconds of each."""
    seconds: tuple[list, list] = [], []
    for _ in range(runs):
        for function, kept in zip((first, second), seconds, strict=True):
            began = time.perf_counter()
            function()
            kept.append(time.perf_counter() - began)
    return statistics.median(seconds[0]), statistics.median(seconds[1])


def ours_total(refs: list[str], hyps: list[str]) -> np.ndarray:
    """Sum our statistics, texts to totals."""
    return np.sum([wer.stats(r, h) for r, h in zip(refs, hyps, strict=True)], 0)


def jiwer_total(refs: list[str], hyps: list[str]) -> int:
    """Count all errors with jiwer."""
    found = jiwer.process_words(refs, hyps)
    return found.substitutions + found.deletions + found.insertions


def alignments(refs: list[str], hyps: list[str]) -> list:
    """Align all words."""
    return [edit.align(r.split(), h.split()) for r, h in zip(refs, hyps, strict=True)]


def jiwer_text(refs: list[str], hyps: list[str]) -> str:
    """Align all words with jiwer, and print them as it does."""
    return jiwer.visualize_alignment(jiwer.process_words(refs, hyps))


def jiwer_version() -> str:
    """Version of jiwer."""
    from importlib.metadata import version

    return version("jiwer")


def transformers_normaliser():
    """Return transformers' English normaliser, None where transformers is absent."""
    try:
        from transformers.models.whisper.english_normalizer import EnglishTextNormalizer
    except ImportError:
        return None
    return EnglishTextNormalizer(english.spelling())


def transcripts(data: str) -> list[str]:
    """Read real transcripts, or make some up."""
    files = sorted(Path(data).glob("LibriSpeech/dev-clean/**/*.trans.txt")) if data else []
    lines = [line for file in files for line in file.read_text("utf-8").splitlines()]
    if lines:
        return [line.split(" ", 1)[1] for line in lines]
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghij", k=rng.randint(1, 8))) for _ in range(5000)]
    return [" ".join(rng.choices(words, k=rng.randint(2, 40))) for _ in range(2700)]


def spoil(refs: list[str], rate: float) -> list[str]:
    """Replace, drop and add words."""
    rng = random.Random(1)
    words = [word for text in refs for word in text.split()]
    hyps = []
    for text in refs:
        out = []
        for word in text.split():
            chance = rng.random() / rate
            if chance >= 0.75:
                out.append(word)
            if chance < 0.5 or 0.75 <= chance < 1:
                out.append(rng.choice(words))
        hyps.append(" ".join(out))
    return hyps


if __name__ == "__main__":
    main()
