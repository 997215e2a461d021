"""Sound that libsndfile does not read (AAC, MP4, WebM, WMA, AMR ...), through the ffmpeg command.

    file = ffmpeg.opened(path)          # None where there is no ffmpeg
    file.n_samples, file.sampling_rate, file.channels, file.format
    for block in file.blocks(start, count): ...     # (n, C) float32, in bounded memory

The length is that of the decoded sound, counted once a file: what such containers say of it counts
the encoder's delay, or is a guess. A part is decoded from the beginning on, which makes it the same
samples as the whole has there; many parts of long files want a conversion to FLAC.
A file name goes to ffmpeg as `file:NAME`, and it may open files by that one protocol and in these
formats only: no play list, no script, no address in a file is followed. Any error that ffmpeg
prints is one here: it would go on with what is left of a file that was cut off.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np

FORMATS = (
    "mov mp4 matroska webm aac asf amr amrnb amrwb 3gp avi flv mpegts mpeg ogg ac3 eac3 wv tta ape "
    "dsf caf wav w64 aiff au voc mp3 sox hcom nistsphere gsm tak mpc mpc8 rm dts dtshd 8svx iff"
).split()
BLOCK = 1 << 20  # bytes read at a time
PATIENCE_S = 60.0  # without a byte: it hangs


class Opened:
    """A file that ffmpeg decodes; `n_samples` per channel."""

    cut, unsure = "", False  # counting has decoded all of it

    def __init__(self, path: str, name: str, tool: str):
        self.path, self.name, self._tool = path, name, tool
        status = os.stat(path)
        counted = _counted(path, status.st_size, status.st_mtime_ns, tool)
        self.n_samples, self.sampling_rate, self.channels = counted
        self.format = "FFMPEG"

    def blocks(self, start: int, count: int) -> Iterator[np.ndarray]:
        """Samples [start, start + count), decoded from the beginning on."""
        at, end = 0, start + count
        with _decoding(self.path, self._tool) as (_, _, stream):
            for block in stream:
                first, last = max(start - at, 0), min(end - at, len(block))
                at += len(block)
                if first < last:
                    yield block[first:last]
                if at >= end:
                    return


def tool() -> str | None:
    """Where the ffmpeg command is."""
    return shutil.which("ffmpeg")


@contextmanager
def on_disk(source) -> Iterator[str]:
    """The path of a file; what is no path is written to one for the time being."""
    if isinstance(source, (str, os.PathLike)):
        yield os.path.abspath(source)
        return
    file, path = tempfile.mkstemp()
    try:
        source.seek(0)
        with os.fdopen(file, "wb") as out:
            shutil.copyfileobj(source, out)
        yield path
    finally:
        with suppress(OSError):
            os.unlink(path)


@functools.lru_cache(4096)
def _counted(path: str, size: int, changed: int, tool: str) -> tuple[int, int, int]:
    """Samples, rate and channels of a file as it was at a time."""
    with _decoding(path, tool) as (rate, channels, stream):
        return sum(map(len, stream)), rate, channels


@contextmanager
def _decoding(path: str, tool: str) -> Iterator[tuple[int, int, Iterator[np.ndarray]]]:
    """Rate, channels and blocks of a file. Raises ValueError when ffmpeg says an error."""
    words = [tool, "-nostdin", "-v", "error", "-threads", "1", "-protocol_whitelist", "file",
             "-format_whitelist", ",".join(FORMATS), "-i", f"file:{path}",
             "-map", "0:a:0", "-f", "au", "-c:a", "pcm_f32be", "pipe:1"]  # fmt: skip
    with tempfile.TemporaryFile() as said:
        flags = {"creationflags": subprocess.CREATE_NO_WINDOW} if sys.platform == "win32" else {}
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said, **flags
        )
        try:
            head = _read(process, 24)
            if len(head) < 24:
                process.wait(PATIENCE_S)
                raise ValueError(_first_line(said) or "it has no sound")
            _, offset, _, _, rate, channels = (int(x) for x in np.frombuffer(head, ">u4"))
            _read(process, offset - 24)
            yield rate, channels, _blocks(process, channels, said)
        finally:
            process.kill()
            process.stdout.close()
            process.wait()


def _blocks(process, channels: int, said) -> Iterator[np.ndarray]:
    width = 4 * channels
    while len(data := _read(process, BLOCK // width * width)) >= width:
        whole = data[: len(data) // width * width]
        yield np.frombuffer(whole, ">f4").astype(np.float32).reshape(-1, channels)
    process.wait(PATIENCE_S)
    if error := _first_line(said) or process.returncode:
        raise ValueError(error if isinstance(error, str) else f"ffmpeg ended with {error}")


def _read(process, size: int) -> bytes:
    """Bytes of its output; a process that gives none for long is ended."""
    watch = threading.Timer(PATIENCE_S, process.kill)
    watch.daemon = True
    watch.start()
    try:
        return process.stdout.read(size)
    finally:
        watch.cancel()


def _first_line(said) -> str:
    """What ffmpeg said first, without the address of its object."""
    said.seek(0)
    line = next((x for x in said.read(4096).decode(errors="replace").splitlines() if x), "")
    return line.partition("] ")[2].strip() if line.startswith("[") else line.strip()
