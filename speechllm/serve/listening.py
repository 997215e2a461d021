"""One file of a client's, transcribed: decoded elsewhere, cut, its windows among those of others.

    transcript = Listening(service, job, wanted, temperature, told).hear(folder)

runs in a thread of its own and waits most of the time. A few windows are on their way at once, so
that a long file neither fills the memory nor keeps others from the batches.
"""

import zlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speechllm.decode import long, voice
from speechllm.decode.listeners import Wanted
from speechllm.decode.long import Cutter, Window
from speechllm.decode.transcript import Segment, Transcript
from speechllm.serve.engine import Job, Piece, Said

AHEAD = 4  # windows of one file that are on their way


@dataclass(frozen=True)
class Part:
    """A window that was heard, and what was said in it."""

    window: Window
    said: Said
    text: str

    @property
    def segment(self) -> Segment:
        """Its text with its times."""
        words = tuple(word.later(self.window.begin) for word in self.said.words)
        return Segment(self.window.speech, self.text, words=words)

    @property
    def silence(self) -> float:
        """Share of its time in which nobody speaks, by the detector of speech."""
        spoken = sum(end - start for start, end in self.window.speech)
        return 1 - spoken / max(self.window.end - self.window.start, 1e-6)

    @property
    def compression(self) -> float:
        """Bytes of its text by those that zlib makes of them: high where it repeats itself."""
        data = self.text.encode()
        return len(data) / len(zlib.compress(data))


@dataclass(frozen=True)
class Heard:
    """What was said in a file; parts in which nothing was said are left out."""

    duration_s: float
    parts: tuple[Part, ...]

    @property
    def transcript(self) -> Transcript:
        """It as `decode/written.py` writes it."""
        segments = tuple(part.segment for part in self.parts)
        return Transcript("sound", "sound", round(self.duration_s, 3), segments)


class Elsewhere:
    """A detector of speech that computes in the few threads of `pool`.

    A thread keeps what a library once took for it, which of one a request would be a lot of memory.
    """

    def __init__(self, detector, pool: Executor):
        self._detector, self._pool = detector, pool

    def __call__(self, chunk: np.ndarray) -> np.ndarray:
        """Give what the detector says of a chunk (N,)."""
        return self._pool.submit(self._detector, chunk).result()

    def flush(self) -> np.ndarray:
        """Give what it says of what is left."""
        return self._pool.submit(self._detector.flush).result()


class Listening:
    """Hears one file.

    Args:
        service: `app.Service`: backend, engine, decoders, settings.
        job: whose it is.
        wanted: what is to be written down.
        temperature: of the search.
        told: called from several threads with the beginning of the transcript that is known, again
            and again; None where nobody looks.
        words: whether words are to have times of their own.
        n_best: how many answers of each window are looked for.
    """

    def __init__(
        self,
        service,
        job: Job,
        wanted: Wanted,
        temperature: float = 0.0,
        told: Callable[[str], None] | None = None,
        words: bool = False,
        n_best: int = 1,
    ):
        self._service, self._job, self._told, self._words = service, job, told, words
        self._listener = service.backend.listener(wanted, temperature, n_best)
        self._parts: list[Part] = []
        self._on_way: deque[tuple[Window, Piece]] = deque()

    def hear(self, folder: Path) -> Heard:
        """Hear `folder/sound`.

        Raises:
            ValueError: it cannot be decoded (`sounds.RefusedError`), or the model refuses it.
            AbandonedError: nobody waits any more.
        """
        service, listener = self._service, self._listener
        rate = listener.sampling_rate
        detector = Elsewhere(voice.detector(service.settings.vad, rate), service.ears)
        cutter = Cutter(rate, detector, listener.window_s)
        with service.decoders.open(folder, rate) as sound:
            for window in long.windows(sound, cutter):
                self._job.check()
                self._ask(window)
                while len(self._on_way) > AHEAD:
                    self._take()
            while self._on_way:
                self._take()
        return Heard(sound.duration_s, tuple(part for part in self._parts if part.text))

    def _ask(self, window: Window) -> None:
        number = len(self._parts) + len(self._on_way)
        told = self._partial(number) if self._told else None
        backend, listener = self._service.backend, self._listener
        piece = backend.window(listener, window.wave, self._job, told, self._words)
        self._on_way.append((window, piece))
        self._service.engine.submit(piece)

    def _partial(self, number: int) -> Callable[[str], None]:
        """Tell of the text so far of a window, once all before it are known."""

        def told(text: str) -> None:
            if number == len(self._parts):
                self._told(self._joined(text))

        return told

    def _take(self) -> None:
        """Wait for the oldest window on its way."""
        window, piece = self._on_way.popleft()
        said = piece.answer.result()
        self._parts.append(Part(window, said, " ".join(said.text.split())))
        if self._told:
            self._told(self._joined())

    def _joined(self, more: str = "") -> str:
        return " ".join([*(part.text for part in self._parts if part.text), *more.split()])
