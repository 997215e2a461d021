"""Training logs: JSON lines, TensorBoard, and a progress bar or plain lines."""

import json
import sys
from pathlib import Path

from tqdm import tqdm

from speechllm import files


class Log:
    """Writes `log.jsonl` and `tb/` of an experiment; silent in all processes but the first.

    Args:
        folder: the experiment.
        main: whether this is the process that writes.
    """

    def __init__(self, folder: Path, main: bool = True):
        self.path = folder / "log.jsonl"
        self.main = main
        self.bar = None
        self.board = None
        if main:
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(str(folder / "tb"))

    def rewind(self, phase: str, step: int) -> None:
        """Drop the lines of `phase` after `step`: a resumed run writes them again.

        So go damaged lines, which is said; a last line without an end is what a kill leaves.
        """
        if not self.main or not self.path.exists():
            return
        kept, damaged = [], 0
        for line in self.path.read_bytes().splitlines(keepends=True):
            if (place := _place(line)) is None:
                damaged += line.endswith(b"\n")
            elif place[0] != phase or place[1] <= step > 0:
                kept.append(line)
        if damaged:
            self.say(f"{self.path}: {damaged} damaged lines are left out")
        with files.writing(self.path, binary=True) as file:
            file.writelines(kept)

    def begin(self, phase: str, steps: int, step: int) -> None:
        """Start a phase's progress bar (on a terminal only)."""
        self.end()
        if self.main and sys.stderr.isatty():
            self.bar = tqdm(total=steps, initial=step, desc=phase, unit="step")

    def step(self, phase: str, step: int, values: dict, show: bool) -> None:
        """Log one step's numbers (or a validation's, nested); print them where `show` is set."""
        if not self.main:
            return
        with files.naming(self.path), open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"phase": phase, "step": step, **values}) + "\n")
        with files.naming(self.path.parent / "tb"):
            for key, value in _flat(values):
                self.board.add_scalar(f"{phase}/{key}", value, step)
        if show:
            numbers = "  ".join(f"{key} {value:.4g}" for key, value in _flat(values))
            self.say(f"{phase} {step:6d}  {numbers}")

    def advance(self, step: int) -> None:
        """Move the progress bar."""
        if self.bar is not None:
            self.bar.update(step - self.bar.n)

    def say(self, text: str) -> None:
        """Print a line without breaking the bar."""
        if self.main:
            tqdm.write(text, file=sys.stdout)
            sys.stdout.flush()

    def end(self) -> None:
        """Close the bar and write out the board."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
        if self.board is not None:
            with files.naming(self.path.parent / "tb"):
                self.board.flush()


def _place(line: bytes) -> tuple[str, int] | None:
    """Return phase and step of a line, None where it is damaged or cut short."""
    try:
        values = files.expect(files.parse(line), dict, "")
        key = "phase" if "phase" in values else "stage"  # as logs of before have it
        return files.entry(values, key, str, ""), files.entry(values, "step", int, "")
    except ValueError:
        return None


def _flat(values: dict, prefix: str = ""):
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}/")
        elif isinstance(value, int | float):
            yield prefix + key, value
