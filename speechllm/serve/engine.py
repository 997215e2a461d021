"""One thread computes: what many requests ask at one time is answered in common batches.

    engine = Engine(backend, max_batch_s=200.0)
    piece = Piece(ask, kind, cost, job)
    engine.submit(piece)
    piece.answer.result()            # a `Said`; or what was wrong with this piece alone

Batches are filled in the order in which pieces came, by pieces of one kind; where answers end one
by one (`decode/many.py`), pieces that came meanwhile take their places, until one of another kind
is the oldest. A text does not depend on what else is in its batch, so no request sees another's.
A piece whose job is cancelled leaves the queue, or its batch at the next step.
"""

import contextlib
import logging
import threading
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field

from speechllm.decode.transcript import Word

log = logging.getLogger(__name__)


class AbandonedError(Exception):
    """Nobody waits for this any more."""


class Job:
    """What one request has asked for; cancelled once nobody waits for it."""

    def __init__(self):
        self._event = threading.Event()

    def cancel(self) -> None:
        """Stop working on it."""
        self._event.set()

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for it."""
        return self._event.is_set()

    def check(self) -> None:
        """Raise AbandonedError if nobody waits for it."""
        if self.cancelled:
            raise AbandonedError


@dataclass(frozen=True)
class Said:
    """An answer.

    Attributes:
        text: what was said.
        ids: its tokens, without the close.
        stop: why it ended, "eos", "length" or "loop".
        logprob: mean log-probability of its tokens in nats; None: the model does not tell.
        words: with times from the wave's beginning, where they were wanted and can be told.
        n_prompt: positions of what was asked, soft tokens among them.
        others: what else might have been said, with the mean log-probability of each, best first.
    """

    text: str
    ids: list[int] = field(default_factory=list)
    stop: str = "eos"
    logprob: float | None = None
    words: tuple[Word, ...] = ()
    n_prompt: int = 0
    others: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, eq=False)
class Piece:
    """What is answered by one row of a batch.

    Attributes:
        ask: what the backend is asked.
        kind: pieces of one kind may share a batch.
        cost: seconds that it counts for in a batch; math.inf: it is heard alone.
        job: whose it is.
        told: called in the engine's thread with the text so far, None where nobody looks.
        answer: `Said`, once it is there.
    """

    ask: object
    kind: Hashable
    cost: float
    job: Job
    told: Callable[[str], None] | None = None
    answer: Future = field(default_factory=Future)


class Engine:
    """See the module docstring.

    Args:
        backend: has `steps(pieces, more, room)`: a generator that yields after each step what is
            new, as (piece, its text so far) of those that are told, and (piece, `Said` or what was
            wrong with it). `more(free)` gives it pieces of the same kind that wait and cost no
            more; `room` is `max_batch_s`.
        max_batch_s: pieces of a batch times the longest of them, in seconds.
        seen: called with the number of pieces whose prompts are read together.
    """

    def __init__(self, backend, max_batch_s: float, seen: Callable[[int], None] = lambda n: None):
        self._backend, self._max_batch_s, self._seen = backend, max_batch_s, seen
        self._waiting: list[Piece] = []
        self._ready = threading.Condition()
        self._over = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def __enter__(self) -> "Engine":
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        """Cancel what waits, end the thread."""
        self._close()
        self._thread.join()

    def _close(self) -> None:
        with self._ready:
            self._over = True
            for piece in self._waiting:
                piece.job.cancel()
            self._ready.notify_all()

    @property
    def alive(self) -> bool:
        """Whether it answers."""
        return not self._over

    @property
    def n_waiting(self) -> int:
        """Pieces that wait."""
        return len(self._waiting)

    def submit(self, piece: Piece) -> None:
        """Let a piece wait for its batch."""
        with self._ready:
            if self._over:
                raise AbandonedError
            self._waiting.append(piece)
            self._ready.notify()

    def _run(self) -> None:
        try:
            while (batch := self._take()) is not None:
                if batch:
                    self._seen(len(batch))
                    self._answer(batch)
        finally:  # also where it breaks: nobody may wait for what never comes
            self._close()
            for piece in self._waiting:
                piece.answer.set_exception(AbandonedError())

    def _take(self) -> list[Piece] | None:
        """Take the oldest piece and what may share its batch; None at the end."""
        with self._ready:
            self._ready.wait_for(lambda: self._waiting or self._over)
            self._forget_cancelled()
            if not self._waiting:
                return None if self._over else []
            batch, longest = [], 0.0
            for piece in self._waiting:
                most = max(longest, piece.cost)
                fits = piece.kind == self._waiting[0].kind
                if not batch or (fits and most * (len(batch) + 1) <= self._max_batch_s):
                    batch.append(piece)
                    longest = most
            self._waiting = [one for one in self._waiting if one not in batch]
            return batch

    def _more(self, kind: Hashable, free: float) -> list[Piece]:
        """Take the oldest pieces, as long as they are of a kind and together cost no more."""
        with self._ready:
            self._forget_cancelled()
            n, longest = 0, 0.0
            for piece in self._waiting:
                longest = max(longest, piece.cost)
                if piece.kind != kind or longest * (n + 1) > free:
                    break
                n += 1
            taken, self._waiting = self._waiting[:n], self._waiting[n:]
        if taken:
            self._seen(n)
        return taken

    def _forget_cancelled(self) -> None:
        for piece in [one for one in self._waiting if one.job.cancelled]:
            piece.answer.set_exception(AbandonedError())
            self._waiting.remove(piece)

    def _answer(self, batch: list[Piece], alone: bool = False) -> None:
        """Answer a batch, and unless it is `alone` what comes meanwhile.

        Where it fails, each piece alone, so that one spoils no other.
        """
        on_way = list(batch)

        def more(free: float) -> list[Piece]:
            taken = [] if alone else self._more(batch[0].kind, free)
            on_way.extend(taken)
            return taken

        try:
            self._through(self._backend.steps(batch, more, self._max_batch_s), on_way)
        except Exception as error:  # of any library; the server goes on
            if alone:
                batch[0].answer.set_exception(error)
                return
            log.info("a batch of %d is answered one by one: %r", len(on_way), error)
            for piece in on_way:
                self._answer([piece], alone=True)

    def _through(self, steps: Iterator, on_way: list[Piece]) -> None:
        """Let those on their way have what is new, until there is none left."""
        with contextlib.closing(steps):
            for news in steps:
                gone = [(piece, AbandonedError()) for piece in on_way if piece.job.cancelled]
                for piece, new in [*gone, *news]:
                    if isinstance(new, str):
                        piece.told(new)
                    elif piece in on_way:
                        on_way.remove(piece)
                        is_said = isinstance(new, Said)
                        (piece.answer.set_result if is_said else piece.answer.set_exception)(new)
                if not on_way:
                    return
