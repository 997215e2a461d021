"""A program as a recogniser: it is given a file and writes what is said in it, on one line.

    asr --fast {audio}         started for each file; {wav} instead is a 16 kHz mono WAV of it
    asr --server               without either: started once, reads a path a line, answers a line

Words are split as a shell does, but no shell runs. What the program says on its standard error is
shown where it fails.
"""

import contextlib
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import psutil
import soundfile

from speechllm import files
from speechllm.media import audio

AUDIO, WAV = "{audio}", "{wav}"
RATE = 16000
POLL_S = 0.01
SHOWN = 300  # characters of what a failing program said
MADE_OF = ("start", "channel")  # what makes of a row another sound than its file


class Program:
    """A program as a hearer (`decode/recognise.py`); a context manager that ends it.

    Attributes:
        peak_mb: largest resident memory of it and its children, as far as it was seen.

    Raises:
        ValueError: no words, or no such program.
    """

    def __init__(self, command: str):
        self.words = split(command)
        self.peak_mb, self._server = 0.0, None
        whole = [Path(word) for word in self.words if Path(word).is_file()]
        program = Path(shutil.which(self.words[0]))
        self.identity = {
            "weights": [files.digest(path) for path in (program, *whole)],
            "program": self.words,
        }

    def __enter__(self) -> "Program":
        self._folder = tempfile.TemporaryDirectory()
        self._errors = open(Path(self._folder.name) / "stderr", "w+b")  # noqa: SIM115
        return self

    def __exit__(self, *_) -> None:
        if self._server is not None:
            self._watch(self._server)
            self._server.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._server.wait(1)
            self._server.kill()
            self._server.stdout.close()
        self._errors.close()
        self._folder.cleanup()

    def cost_s(self, duration_s: float) -> float:
        """Hear one at a time."""
        return float("inf")

    def hear(self, rows: Sequence[dict]) -> list[str]:
        """Give each row's file to the program.

        Raises:
            ValueError: it fails, or writes more than one line.
        """
        return [self._one(row) for row in rows]

    def _one(self, row: dict) -> str:
        with self._file(row) as path:
            named = [w.replace(AUDIO, path).replace(WAV, path) for w in self.words]
            if named == self.words:
                return self._asked(path, row["id"])
            process = subprocess.Popen(
                named, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._errors
            )
            said, _ = _watched(process, self._watch)
        if process.returncode:
            raise ValueError(self._failed(row["id"], process.returncode))
        return self._line(said.decode("utf-8", "replace").split("\n"), row["id"])

    @contextlib.contextmanager
    def _file(self, row: dict):
        """Give the row's own file, or a WAV of what it means."""
        part = any(row.get(key) for key in MADE_OF)
        if not part and not any(WAV in word for word in self.words):
            yield row["audio"]
            return
        path = Path(self._folder.name) / "heard.wav"
        soundfile.write(path, audio.open(row, RATE), RATE, subtype="PCM_16")
        yield str(path)

    def _asked(self, path: str, name: str) -> str:
        """Ask the running program, which is started here the first time."""
        if self._server is None:
            self._server = subprocess.Popen(
                self.words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors
            )
        try:
            self._server.stdin.write(path.encode() + b"\n")
            self._server.stdin.flush()
            said = self._server.stdout.readline()
        except BrokenPipeError:
            said = b""
        if not said.endswith(b"\n"):
            raise ValueError(self._failed(name, self._server.wait()))
        self._watch(self._server)
        return said.decode("utf-8", "replace").strip()

    def _line(self, lines: list[str], name: str) -> str:
        said = [line.strip() for line in lines if line.strip()]
        if len(said) > 1:
            raise ValueError(
                f"{self.words[0]}: wrote {len(said)} lines for {name}, wanted one: {said[0]:.60}, "
                f"{said[1]:.60}, ..."
            )
        return said[0] if said else ""

    def _failed(self, name: str, status: int) -> str:
        self._errors.seek(0)
        said = self._errors.read().decode("utf-8", "replace").strip().split("\n")[-1][:SHOWN]
        return f"{self.words[0]}: ended with status {status} at {name}" + (said and f": {said}")

    def _watch(self, process: subprocess.Popen) -> None:
        """See how much memory it has taken so far."""
        with contextlib.suppress(psutil.Error, OSError):
            every = [psutil.Process(process.pid)]
            every += every[0].children(recursive=True)
            self.peak_mb = max(self.peak_mb, sum(map(_resident_mb, every)))


def split(command: str) -> list[str]:
    """Split a command into words.

    Raises:
        ValueError: no words, a quote that is not closed, or no such program.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ValueError(f"--command {command!r}: {error}") from None
    if not words:
        raise ValueError("--command wants NAME=PROGRAM WORDS..., got no program")
    if shutil.which(words[0]) is None:
        raise ValueError(f"--command: no program called {words[0]!r} (a path, or a name of $PATH)")
    return words


def _resident_mb(process: psutil.Process) -> float:
    """Most memory that a process had resident, else what it has now."""
    status = Path(f"/proc/{process.pid}/status")
    if status.exists():
        for line in status.read_text("utf-8").split("\n"):
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return process.memory_info().rss / 1e6


def _watched(process: subprocess.Popen, watch) -> tuple[bytes, None]:
    """Wait for the end of a process, looking at its memory meanwhile."""
    while True:
        watch(process)
        try:
            return process.communicate(timeout=POLL_S)
        except subprocess.TimeoutExpired:
            continue
