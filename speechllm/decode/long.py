"""Sound of any length: windows that a model knows, cut at pauses, of a wave that comes in chunks.

    cutter = Cutter(16000, voice.detector("auto", 16000), window_s=30.0)
    for chunk in wave:
        for window in cutter(chunk): ...       # each as soon as its end is known
    for window in cutter.flush(): ...

A window holds speech from its first to its last word and some of the silence around. It ends where
nobody speaks for two seconds; where it would get longer than `window_s`, at the longest pause
before that; and where there is none, where it is least like speech. Only the open window is kept,
so that memory does not grow with the wave. What holds no speech comes in no window.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from speechllm.decode.transcript import Spoken
from speechllm.decode.voice import FRAME_S

BEGINS, ENDS = 0.5, 0.35  # probabilities of speech where it begins and where it ends
MARGIN_S = 0.3  # of what is around speech, on either side
# frames
BREATH = round(0.1 / FRAME_S)  # a shorter pause is inside a word
LEAST = round(0.13 / FRAME_S)  # shorter speech is a click: of 200 spoken digits 4 % are shorter
MARGIN = round(MARGIN_S / FRAME_S)
PAUSE = round(2.0 / FRAME_S)  # a longer pause ends a window
EARLIEST = 0.4  # share of a window before which it is not cut for its length, if that can be
SHORTEST_S = 1.0  # that a window may be: a word must fit
PIECE_S = 10.0  # a chunk is looked at in pieces of this length


@dataclass(frozen=True)
class Window(Spoken):
    """A stretch of sound that is heard at once.

    Attributes:
        wave: (N,) with some silence around.
        speech: (start, end) of each stretch without a pause, in seconds of the whole sound.
        begin: where the wave begins, in seconds of the whole sound.
    """

    wave: np.ndarray
    speech: tuple[tuple[float, float], ...]
    begin: float = 0.0


def windows(chunks: Iterable[np.ndarray], cutter: "Cutter") -> Iterator[Window]:
    """Cut a wave that comes in chunks (n,)."""
    for chunk in chunks:
        yield from cutter(chunk)
    yield from cutter.flush()


class Cutter:
    """See the module docstring.

    Args:
        rate: samples a second.
        detector: of `voice.detector`, for this rate.
        window_s: longest window.
    """

    def __init__(self, rate: int, detector, window_s: float):
        if not window_s >= SHORTEST_S:
            raise ValueError(too_short(window_s))
        self._detector, self._size = detector, FRAME_S * rate  # samples a frame
        self._piece = int(PIECE_S * rate)
        self._most = int((window_s - 2 * MARGIN_S) / FRAME_S)  # frames of speech in a window
        self._first = 0  # frame that what is kept begins with
        self._wave = np.zeros(0, np.float32)
        self._shares = np.zeros(0, np.float32)
        self._voiced = np.zeros(0, bool)

    def __call__(self, chunk: np.ndarray) -> Iterator[Window]:
        """Give the windows whose end is known now that these samples (n,) have come."""
        for at in range(0, len(chunk), self._piece):
            piece = chunk[at : at + self._piece]
            self._take(piece, self._detector(piece))
            yield from self._ready(over=False)

    def flush(self) -> Iterator[Window]:
        """Give the last windows."""
        self._take(self._wave[:0], self._detector.flush())
        yield from self._ready(over=True)

    def _take(self, piece: np.ndarray, shares: np.ndarray) -> None:
        self._wave = np.concatenate([self._wave, piece])
        self._shares = np.concatenate([self._shares, shares])
        flags = voiced(shares, on=bool(len(self._voiced) and self._voiced[-1]))
        self._voiced = np.concatenate([self._voiced, flags])

    def _ready(self, over: bool) -> Iterator[Window]:
        while spans := self._spans(over):
            end = self._end(spans, over)
            if end is None:
                return self._forget(spans[0][0] - MARGIN)
            inside = [(a, min(b, end)) for a, b in spans if a < end]
            after = next((max(a, end) for a, b in spans if b > end), None)
            space = len(self._shares) - end if after is None else (after - end) // 2
            stop = end + min(space, MARGIN)
            yield self._window(inside, stop)
            self._forget(stop)
        self._forget(len(self._shares) - MARGIN - LEAST - BREATH)

    def _spans(self, over: bool) -> list[tuple[int, int]]:
        """List the stretches of speech [a, b) in what is kept; the last may still grow."""
        return stretches(self._voiced, over)

    def _end(self, spans: list[tuple[int, int]], over: bool) -> int | None:
        """Say where the window that begins with the first span ends; None: not known yet."""
        begin, end = spans[0]
        pauses: list[tuple[int, int]] = []  # (frames, where it begins)
        for a, b in spans[1:]:
            if end - begin > self._most:
                break
            if a - end >= PAUSE:
                return end
            pauses.append((a - end, end))
            end = b
        if end - begin > self._most:
            return self._cut(begin, pauses)
        return end if over or len(self._shares) - end >= PAUSE else None

    def _cut(self, begin: int, pauses: list[tuple[int, int]]) -> int:
        """Choose where a window that is too long ends: at a pause, else where speech is weakest."""
        earliest, latest = begin + int(EARLIEST * self._most), begin + self._most
        if long_enough := [(n, at) for n, at in pauses if earliest <= at <= latest]:
            return max(long_enough)[1]
        frames = [self._wave[self._at(i) : self._at(i + 1)] for i in range(earliest, latest)]
        db = np.array([10 * np.log10(np.square(x).mean() + 1e-12) for x in frames])
        # a tenth of probability weighs as much as 50 dB: among what is alike the quietest
        weak = np.convolve(self._shares[earliest:latest] + db / 500, np.ones(3), "valid")
        return earliest + 1 + int(weak.argmin())

    def _window(self, spans: list[tuple[int, int]], stop: int) -> Window:
        begin = max(spans[0][0] - MARGIN, 0)
        wave = self._wave[self._at(begin) : self._at(stop)].copy()
        speech = [[round((self._first + i) * FRAME_S, 3) for i in span] for span in spans]
        return Window(wave, tuple(map(tuple, speech)), (self._first + begin) * FRAME_S)

    def _at(self, frame: int) -> int:
        """Give the first sample, in what is kept, of a frame of it."""
        return round((self._first + frame) * self._size) - round(self._first * self._size)

    def _forget(self, stop: int) -> None:
        """Keep what stands from this frame on."""
        if stop > 0:
            self._wave = self._wave[self._at(stop) :]
            self._shares, self._voiced = self._shares[stop:], self._voiced[stop:]
            self._first += stop


def voiced(shares: np.ndarray, on: bool = False) -> np.ndarray:
    """Say of each frame whether somebody speaks, (n,), of its probabilities; `on`: before them."""
    flags = np.empty(len(shares), bool)
    for i, share in enumerate(shares.tolist()):
        flags[i] = on = share >= (ENDS if on else BEGINS)
    return flags


def stretches(flags: np.ndarray, over: bool) -> list[tuple[int, int]]:
    """List the stretches of speech [a, b) in frames; unless `over`, the last may still grow."""
    edges = np.flatnonzero(np.diff(np.r_[0, flags, 0].astype(np.int8)))
    spans: list[tuple[int, int]] = []
    for a, b in edges.reshape(-1, 2).tolist():
        if spans and a - spans[-1][1] < BREATH:
            a = spans.pop()[0]
        spans.append((a, b))
    growing = len(flags) if over else len(flags) - BREATH
    return [(a, b) for a, b in spans if b - a >= LEAST or b > growing]


def speech(wave: np.ndarray, rate: int, detector, over: bool = True) -> list[tuple[float, float]]:
    """List the stretches of speech in a wave (N,), in seconds; `over` as of `stretches`."""
    shares = np.concatenate([detector(wave), detector.flush()])
    return [(a * FRAME_S, b * FRAME_S) for a, b in stretches(voiced(shares), over)]


def too_short(seconds: float) -> str:
    """Say what is wrong with a window of this length."""
    return f"window_s: wanted at least {SHORTEST_S:g} s, got {seconds:g}: a word must fit"
