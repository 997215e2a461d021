"""Stopping in order: a signal is noted, and the training saves and ends after its step.

SIGINT (Ctrl-C), SIGTERM (what Slurm, Docker and `kill` send) and SIGUSR1 (with `--signal=USR1@60`
Slurm sends it so many seconds before its end) all mean the same. A second SIGINT ends at once,
without a checkpoint.
"""

import os
import signal
from collections.abc import Iterable, Iterator

NAMES = ("SIGINT", "SIGTERM", "SIGUSR1")  # the last one only where the system has it


class Stopped(Exception):  # noqa: N818  # no error
    """A training that a signal has ended; what it had done is saved.

    Attributes:
        code: the exit status that a shell expects, 128 and the signal's number.
    """

    def __init__(self, number: int, saved: str):
        super().__init__(f"{signal.Signals(number).name}: {saved}; the same command goes on")
        self.code = 128 + number


class Interrupted(Exception):  # noqa: N818  # no error
    """A signal came in the middle of a validation, which can be done again."""


class Stop:
    """Notes signals inside its `with`; elsewhere they do what they did before.

    Args:
        tells: whether this process says that it has heard.

    Attributes:
        number: of the first signal that came, 0: none.
    """

    def __init__(self, tells: bool = True):
        self.tells = tells
        self.number = 0
        self._before: dict[int, object] = {}

    def __enter__(self):
        for number in (getattr(signal, name, None) for name in NAMES):
            # what is ignored stays so: `nohup` and `&` of a script ask for it
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                try:
                    self._before[number] = signal.signal(number, self._note)
                except ValueError:  # not the main thread, a notebook's server say: no signals here
                    break
        return self

    def __exit__(self, *_):
        while self._before:
            signal.signal(*self._before.popitem())

    def _note(self, number: int, _frame) -> None:
        if self.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        if self.tells and not self.number:
            # not print: it may be what the signal has interrupted
            text = f"{signal.Signals(number).name}: saving a checkpoint after this step\n"
            os.write(2, text.encode())
        self.number = self.number or number

    def guard(self, items: Iterable) -> Iterator:
        """Yield items until a signal has come. Raises Interrupted then."""
        for item in items:
            if self.number:
                raise Interrupted
            yield item
