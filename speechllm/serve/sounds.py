"""A client's file: known by its first bytes, decoded elsewhere, heard in chunks, or seen.

    with Decoders(memory_mb=512, max_duration_s=3600) as decoders:
        with decoders.open(folder, 16000) as sound:       # folder/sound is the file
            sound.duration_s
            for chunk in sound: ...                       # (n,) float32
        decoders.picture(folder, 10_000_000)              # (height, width, 3) uint8

The name that a client gives its file is never looked at, and neither is what the file names.
"""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from speechllm.serve.decoder import CHUNK, PICTURE, SOUND

HEAD = 4096  # bytes in which a kind is known
PATIENCE_S = 90.0  # without a byte: it hangs
MOST = 4 * CHUNK + 1  # bytes of a message
KINDS = {  # what a file begins with
    "wav": rb"(RIFF|RIFX|RF64)....WAVE",
    "flac": rb"fLaC",
    "ogg": rb"OggS",
    "mp3": rb"ID3[\x02-\x04]|\xff[\xe2-\xe7\xea-\xef\xf2-\xf7\xfa-\xff]",
    "aac": rb"\xff[\xf1\xf9]",
    "mp4": rb"....ftyp",
    "webm": rb"\x1a\x45\xdf\xa3",
    "aiff": rb"FORM....AIF[FC]",
    "au": rb"\.snd",
    "amr": rb"#!AMR",
    "sph": rb"NIST_1A\n",
}
PICTURES = {
    "png": rb"\x89PNG\r\n\x1a\n",
    "jpeg": rb"\xff\xd8\xff",
    "webp": rb"RIFF....WEBP",
    "gif": rb"GIF8[79]a",
    "bmp": rb"BM",
}


class RefusedError(ValueError):
    """A file that is not taken; the message is for the client."""


def kind(head: bytes, kinds: dict[str, bytes], file: str) -> str:
    """Name what a file is, by its first bytes.

    Raises:
        RefusedError: nothing that is taken.
    """
    for name, pattern in kinds.items():
        if re.match(pattern, head, re.DOTALL):
            return name
    raise RefusedError(f"{file}: is none of {', '.join(kinds)} by its first bytes")


class Decoders:
    """What forks a small process for each file; a context manager that ends it.

    Args:
        memory_mb: that such a process may take besides what it begins with.
        max_duration_s: of a file.
    """

    def __init__(self, memory_mb: int, max_duration_s: float):
        self._limits = {"memory_mb": memory_mb, "max_duration_s": max_duration_s}
        self._lock = threading.Lock()
        self._process, self._control = None, None

    def __enter__(self) -> "Decoders":
        self._start()
        return self

    def __exit__(self, *_) -> None:
        with self._lock:
            self._stop()

    def _start(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            words = [sys.executable, "-m", "speechllm.serve.decoder", str(theirs.fileno())]
            single = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
            self._process = subprocess.Popen(
                words,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the server
                env={**os.environ, **single},
            )

    def _stop(self) -> None:
        if self._process:
            self._control.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(2)
            self._process.kill()
            self._process.wait()
            self._process = None

    @contextlib.contextmanager
    def open(self, folder: Path, rate: int) -> Iterator["Sound"]:
        """Open `folder/sound` at a sampling rate.

        Raises:
            RefusedError: it is no sound, too long, damaged; also while its samples are read.
        """
        with self._decoded(folder / SOUND, KINDS, rate=rate) as messages:
            yield Sound(messages)

    def picture(self, folder: Path, max_pixels: int) -> np.ndarray:
        """Read `folder/picture`, (height, width, 3) uint8.

        Raises:
            RefusedError: it is no picture, too large, damaged.
        """
        with self._decoded(folder / PICTURE, PICTURES, max_pixels=max_pixels) as messages:
            shape = json.loads(messages.next(b"i"))["shape"]
            data = b"".join(iter(lambda: messages.next(b"w"), b""))
        return np.frombuffer(data, np.uint8).reshape(shape)

    @contextlib.contextmanager
    def _decoded(self, path: Path, kinds: dict, **wanted) -> Iterator["Messages"]:
        """Let a file be decoded, if it is of one of these kinds."""
        with open(path, "rb") as file:
            kind(file.read(HEAD), kinds, path.name)
        ours, theirs = os.pipe()
        with Connection(ours, writable=False) as pipe:
            try:
                self._ask(
                    json.dumps({"folder": str(path.parent), **wanted, **self._limits}), theirs
                )
            finally:
                os.close(theirs)
            yield Messages(pipe, path.name)

    def _ask(self, request: str, end: int) -> None:
        """Send a request; a process that has died is started anew."""
        with self._lock:
            for last in (False, True):
                try:
                    socket.send_fds(self._control, [request.encode()], [end])
                    return
                except OSError:
                    if last:
                        raise
                    self._stop()
                    self._start()


class Sound:
    """A file on its way out of its process.

    Attributes:
        duration_s: of all of it.
    """

    def __init__(self, messages: "Messages"):
        self._messages = messages
        self.duration_s = float(json.loads(messages.next(b"i"))["duration_s"])

    def __iter__(self) -> Iterator[np.ndarray]:
        while data := self._messages.next(b"w"):
            yield np.frombuffer(data, np.float32)


class Messages:
    """What the process that decodes a file says; `name` is that of the file."""

    def __init__(self, pipe: Connection, name: str):
        self._pipe, self._name = pipe, name

    def next(self, wanted: bytes) -> bytes:
        """Give the next message of this kind, b"" at the end."""
        try:
            if not self._pipe.poll(PATIENCE_S):
                raise RefusedError(f"{self._name}: takes too long to decode")
            data = self._pipe.recv_bytes(MOST)
        except (EOFError, OSError):
            # its process was ended: by a limit, or by what is in the file
            raise RefusedError(
                f"{self._name}: cannot be decoded within the limits of a file"
            ) from None
        if data[:1] == b"e":
            raise RefusedError(data[1:].decode("utf-8", "replace"))
        if data[:1] not in (wanted, b"."):
            raise RefusedError(f"{self._name}: cannot be decoded")
        return data[1:]
