"""Are words where they are said? Times of words against those that are known, or of a second model.

    python benchmarks/word_times.py exp/mini                       # speech of espeak-ng
    python benchmarks/word_times.py MODEL --manifest dev-clean.jsonl --against openai/whisper-base
    python benchmarks/word_times.py MODEL --by ctc --manifest dev-clean.jsonl --against pocketsphinx

espeak-ng reports when it begins each word. Of real speech there are no true times; there a second
aligner says how far two are apart: another model, or pocketsphinx (pip install pocketsphinx), whose
hidden Markov model of English aligns the reference in frames of 10 ms; rows with words that its
dictionary lacks are left out. Only words that both have, in order, are compared.
"""

import argparse
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np

import features
from speechllm.data.corpora import _grammar
from speechllm.data.corpora._espeak import Espeak
from speechllm.data.manifest import Manifest
from speechllm.decode import align, listeners, long, voice
from speechllm.decode.transcript import Word
from speechllm.decode.wanted import Wanted
from speechllm.media import audio

VOICES = ("en-us+f2", "en-gb-x-rp+m3", "en-us+m7", "en-gb-scotland+f4")
SILENCE_S = 0.4  # before and after


def spoken(n: int, rate: int):
    """Yield (wave, words) of sentences that espeak-ng speaks."""
    espeak, rng = Espeak(0), np.random.default_rng(0)
    for i, text in enumerate(_grammar.sentences(n, rng, taken=set())):
        wave = espeak.say(text, VOICES[i % len(VOICES)], wpm=140 + 10 * (i % 5))
        words = [Word(a + SILENCE_S, b + SILENCE_S, w) for a, b, w in espeak.words]
        wave = features.resample(wave, espeak.sampling_rate, rate)
        yield np.pad(wave, round(SILENCE_S * rate)), words


class Sphinx:
    """Forced alignment of a row's text by pocketsphinx."""

    RATE, FRAME_S = 16000, 0.01

    def __init__(self):
        import pocketsphinx

        self._decoder = pocketsphinx.Decoder(loglevel="FATAL", lm=None)

    def knows(self, text: str) -> bool:
        """Whether its dictionary has all words."""
        return all(self._decoder.lookup_word(word) for word in text.lower().split())

    def words(self, text: str, wave: np.ndarray) -> list[Word]:
        """Time the words of a text; none where it finds no path."""
        self._decoder.set_align_text(text.lower())
        self._decoder.start_utt()
        samples = np.clip(np.round(wave * 32768), -32768, 32767).astype("<i2")
        self._decoder.process_raw(samples.tobytes(), no_search=False, full_utt=True)
        self._decoder.end_utt()
        return [
            Word(s.start_frame * self.FRAME_S, (s.end_frame + 1) * self.FRAME_S, s.word)
            for s in self._decoder.seg() or []
            if s.word[0] not in "<["
        ]


def read(manifest: Path, n: int, rate: int, against: str):
    """Yield (wave, words by the second aligner) of a manifest's rows, evenly chosen."""
    rows = Manifest(manifest)
    chosen = [rows[i] for i in range(0, len(rows), max(len(rows) // n, 1))]
    sphinx = Sphinx() if against == "pocketsphinx" else None
    other = None if sphinx else listeners.load(against, "cpu", Wanted(), {})
    for row in chosen:
        if sphinx is None:
            wave = audio.open(row, rate)
            yield wave, words_of(other, wave)
        elif sphinx.knows(row["text"]):
            yield audio.open(row, rate), sphinx.words(row["text"], audio.open(row, sphinx.RATE))


def words_of(listener, wave: np.ndarray) -> tuple[Word, ...]:
    """Time the words of a wave as `speechllm transcribe` does those of a window."""
    detector = voice.detector("auto", listener.sampling_rate)
    speech = long.speech(wave, listener.sampling_rate, detector)
    return align.inside(listener.timed([wave])[0].words, speech)


def pairs(ours, theirs) -> list[tuple[Word, Word]]:
    """Pair words that both have."""
    a, b = ([_bare(w.text) for w in words] for words in (ours, theirs))
    blocks = SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks()
    return [(ours[i + k], theirs[j + k]) for i, j, size in blocks for k in range(size)]


def _bare(word: str) -> str:
    return "".join(c for c in word.lower() if c.isalnum())


def main() -> None:
    """Print a line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--manifest", type=Path)
    parser.add_argument("--against", help="the second aligner")
    parser.add_argument("--number", type=int, default=40, help="utterances")
    parser.add_argument("--by", default="llm", help="who reads, of a model of ours: llm, ctc")
    args = parser.parse_args()
    options = {} if args.by == "llm" else {"by": args.by}
    listener = listeners.load(args.model, "cpu", Wanted(), options)
    if args.manifest:
        rate = listener.sampling_rate
        sounds = list(read(args.manifest, args.number, rate, args.against))
    else:
        sounds = list(spoken(args.number, listener.sampling_rate))
    found = [pair for wave, words in sounds for pair in pairs(words_of(listener, wave), words)]
    n_words = sum(len(words) for _, words in sounds)
    starts, ends = (
        np.array([1000 * (getattr(a, edge) - getattr(b, edge)) for a, b in found])
        for edge in ("start", "end")
    )
    print(f"{args.model}: {len(sounds)} utterances, {len(found)} of {n_words} words")
    for name, off in (("start", starts), ("end", ends)):
        print(
            f"{name:5}  median error {np.median(np.abs(off)):4.0f} ms, 90 % within "
            f"{np.quantile(np.abs(off), 0.9):4.0f} ms, bias {np.median(off):+4.0f} ms"
        )


if __name__ == "__main__":
    main()
