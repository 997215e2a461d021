"""Words of sound that is still coming: partial ones soon, final ones that never change.

    live = Live(listener, sampling_rate=48000)
    for chunk in microphone:                  # (n,) float32, or int16
        update = live(chunk)                  # update.final: new ones; update.partial: may change
    update = live.flush()

The open window is heard over again as it grows. What two hearings in a row begin with is final
(local agreement: Liu et al. 2020; Machacek et al. 2023, Whisper-Streaming), and so is all of it
once nobody speaks for `PAUSE_S`. The window begins anew behind final words, at a pause where there
is one and else where their times say. Memory does not grow.
"""

from dataclasses import dataclass

import numpy as np

from features.resampling import Resampler
from speechllm.decode import align, long, voice
from speechllm.decode.transcript import Segment, Word

PAUSE_S = 0.8  # silence after which an utterance is over
KEPT_S = 8.0  # a window longer than this begins anew behind final words
STEP_S = 2.0  # a chunk that is longer comes in pieces of this length
SPARE_S = 2.0  # before a window is as long as the listener hears, all in it becomes final


@dataclass(frozen=True)
class Update:
    """What is new.

    Attributes:
        final: words that have become final, in order; they follow those of earlier updates.
        partial: words after them that may still change.
        paused: whether an utterance ends with them.
    """

    final: tuple[Word, ...] = ()
    partial: tuple[Word, ...] = ()
    paused: bool = False


class Live:
    """See the module docstring.

    Args:
        listener: of `decode/listeners.py`.
        sampling_rate: of the chunks; 0: the listener's.
        every_s: seconds of new sound after which the window is heard again.
        vad: who finds speech, one of `voice.KINDS`.

    Raises:
        ValueError: a rate or time that is none.
    """

    def __init__(self, listener, sampling_rate: int = 0, every_s: float = 0.5, vad: str = "auto"):
        if every_s <= 0:
            raise ValueError(f"every_s: wanted seconds above 0, got {every_s:g}")
        self._listener, self._rate = listener, listener.sampling_rate
        given = sampling_rate or self._rate
        if given <= 0:
            raise ValueError(f"sampling_rate: wanted one above 0, got {given}")
        self._resampler = Resampler(given, self._rate) if given != self._rate else None
        self._piece = max(int(STEP_S * given), 1)
        voice.detector(vad, self._rate)  # refuses what is none
        self._every, self._vad = every_s, voice.chosen(vad)
        self._wave = np.zeros(0, np.float32)  # the open window
        self._begin = 0  # sample of the whole that it begins with
        self._new = 0  # samples of it that are not heard yet
        self._final: list[Word] = []  # words of it that are final
        self._before: list[Word] = []  # what the hearing before said after them

    def __call__(self, chunk: np.ndarray) -> Update:
        """Take samples (n,) and say what they bring.

        Raises:
            ValueError: samples of another shape or kind.
            FloatingPointError: the model computes no numbers.
        """
        chunk = _floats(chunk)
        updates = [self._take(chunk[at : at + self._piece])
                   for at in range(0, len(chunk), self._piece)]  # fmt: skip
        return self._joined(updates)

    def flush(self) -> Update:
        """Say what is left: all words are final now."""
        rest = self._resampler.flush()[0] if self._resampler else self._wave[:0]
        self._wave = np.concatenate([self._wave, rest])
        update = self._look(over=True)
        self._forget(len(self._wave))
        return update

    def _joined(self, updates: list[Update]) -> Update:
        final = tuple(word for one in updates for word in one.final)
        return Update(final, tuple(self._before), any(one.paused for one in updates))

    def _take(self, piece: np.ndarray) -> Update:
        if self._resampler:
            piece = self._resampler(piece[None])[0]
        self._wave = np.concatenate([self._wave, piece])
        self._new += len(piece)
        return self._look(over=False) if self._new >= self._every * self._rate else Update()

    def _look(self, over: bool) -> Update:
        """Hear the window, where somebody speaks in it."""
        self._new = 0
        spans = self._spans(over)
        if not spans:
            self._forget(len(self._wave) - round(2 * long.MARGIN_S * self._rate))
            return Update()
        # what is silent before its speech is not kept
        cut = self._sample(spans[0][0]) - round(long.MARGIN_S * self._rate)
        if cut > 0 and not self._final:
            self._forget(cut, keep=True)
            spans = [(a - cut / self._rate, b - cut / self._rate) for a, b in spans]
        seconds = len(self._wave) / self._rate
        paused = seconds - spans[-1][1] >= PAUSE_S
        full = seconds >= self._listener.window_s - min(SPARE_S, self._listener.window_s / 4)
        words = self._after(self._heard(spans))
        if over or paused or full:
            end = spans[-1][1] + PAUSE_S / 2 if paused else seconds
            self._forget(self._sample(end))
            return Update(tuple(words), (), over or paused)
        n = _agreed(self._before, words)
        self._before, final = words[n:], words[:n]
        self._final += final
        if seconds > min(KEPT_S, self._listener.window_s / 2):
            self._begin_anew(spans)
        return Update(tuple(final), tuple(self._before))

    def _spans(self, over: bool) -> list[tuple[float, float]]:
        """List the stretches of speech in the window, in seconds from its beginning."""
        detector = voice.detector(self._vad, self._rate)
        return long.speech(self._wave, self._rate, detector, over)

    def _heard(self, spans: list[tuple[float, float]]) -> list[Word]:
        """Hear the window; words without times of their own have a share of its speech."""
        (heard,) = self._listener.timed([self._wave])
        words = align.inside(heard.words, spans)
        own = Segment(tuple(spans), " ".join(heard.text.split()), words=words).timed()
        return [word.later(self._begin / self._rate) for word in own]

    def _after(self, words: list[Word]) -> list[Word]:
        """Leave out what is final already: the beginning that is most like it.

        Times are not enough for that: a word's may differ between two hearings.
        """
        if not self._final:
            return words
        known, heard = [_bare(w) for w in self._final], [_bare(w) for w in words]
        costs = _prefix_distances(known, heard)
        end = self._final[-1].end
        late = [abs(words[n - 1].end - end) if n else end for n in range(len(words) + 1)]
        n = min(range(len(words) + 1), key=lambda n: (costs[n], late[n]))
        return words[n:]

    def _begin_anew(self, spans: list[tuple[float, float]]) -> None:
        """Let the window begin behind final words: at the last pause in them, else at their end."""
        if not self._final:
            return
        offset = self._begin / self._rate
        last = self._final[-1].end - offset
        pauses = [(b + c) / 2 for (_, b), (c, _) in zip(spans, spans[1:], strict=False)]
        cuts = [cut for cut in pauses if cut <= last]
        if not cuts and self._listener.untimed:  # a share of the speech is no place to cut
            return
        cut = cuts[-1] if cuts else last
        self._forget(self._sample(cut), keep=True)

    def _forget(self, n: int, keep: bool = False) -> None:
        """Let the window begin n samples later; `keep` what is known of the rest of it."""
        n = min(max(n, 0), len(self._wave))
        self._wave, self._begin = self._wave[n:], self._begin + n
        cut = self._begin / self._rate
        self._final = [w for w in self._final if keep and (w.start + w.end) / 2 > cut]
        self._before = self._before if keep else []

    def _sample(self, seconds: float) -> int:
        return round(seconds * self._rate)


def _floats(chunk: np.ndarray) -> np.ndarray:
    """Bring samples to float32.

    Raises:
        ValueError: they are not (n,), not numbers, or no 16-bit integers.
    """
    chunk = np.asarray(chunk)
    if chunk.ndim != 1 or chunk.dtype.kind not in "fi":
        raise ValueError(
            f"chunk: wanted samples (n,) of one channel, float or int16, got {chunk.dtype} "
            f"{chunk.shape}"
        )
    if chunk.dtype.kind == "i":
        if chunk.dtype != np.int16:
            raise ValueError(f"chunk: of whole numbers wanted int16, got {chunk.dtype}")
        return chunk.astype(np.float32) / 32768
    if not np.isfinite(chunk).all():
        raise ValueError("chunk: has samples that are no numbers")
    return chunk.astype(np.float32)


def _bare(word: Word) -> str:
    """A word without marks and capitals, which change as more is heard."""
    return "".join(c for c in word.text.lower() if c.isalnum()) or word.text


def _agreed(before: list[Word], now: list[Word]) -> int:
    """Count the words that two hearings begin with."""
    n = 0
    while n < min(len(before), len(now)) and _bare(before[n]) == _bare(now[n]):
        n += 1
    return n


def _prefix_distances(known: list[str], heard: list[str]) -> list[int]:
    """Edits from `known` to each beginning of `heard`, (len(heard) + 1,)."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(known, 1):
        left = row[0]
        row[0] = i
        for j, other in enumerate(heard, 1):
            left, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, left + (word != other))
    return row
