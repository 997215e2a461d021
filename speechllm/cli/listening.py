"""`speechllm transcribe --live`: samples from a pipe or the microphone, words as they are said."""

import argparse
import json
import queue
import sys
import threading
from collections.abc import Iterator

from speechllm.cli.options import number
from speechllm.ranges import Positive

BLOCK_S = 0.05  # is read at once
AHEAD_S = 60.0  # so much of a pipe that is faster than its sound is read before it is heard
AT_ONCE_S = 2.0  # is heard at once, where hearing has fallen behind
STOPPED = 130


def add(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument(
        "--live",
        action="store_true",
        help="in place of files: 16-bit samples of one channel from a pipe, or the microphone; "
        "words as they are said, final ones; --format json: partial ones too, a line an update",
    )
    parser.add_argument(
        "--rate",
        type=number(Positive),
        default=16000,
        metavar="HZ",
        help="sampling rate of what --live hears",
    )


def source(rate: int) -> Iterator:
    """Give chunks (n,) of int16: of the pipe, or where there is none of the microphone.

    Raises:
        ValueError: neither is there.
    """
    if not sys.stdin.isatty():
        return pipe(sys.stdin.buffer, rate)
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # OSError: its library is missing
        raise ValueError(
            "--live hears a pipe of 16-bit samples, or the microphone where the package "
            f"sounddevice works (pip install sounddevice): {error}"
        ) from None
    return microphone(sounddevice, rate)


def pipe(file, rate: int) -> Iterator:
    """Read raw 16-bit samples, little-endian, of one channel, as they come.

    Raises:
        ValueError: it is a WAV file.
    """
    import numpy as np

    left = b""
    first = True
    while data := file.read1(round(BLOCK_S * rate) * 2):
        data = left + data
        if first and data[:4] in (b"RIFF", b"fLaC", b"OggS"):
            raise ValueError(
                "the pipe holds a sound file; --live wants raw samples (ffmpeg -i - -f s16le -ac 1 "
                f"-ar {rate} -), and files are heard by their names"
            )
        first = False
        left = data[len(data) // 2 * 2 :]
        yield np.frombuffer(data[: len(data) - len(left)], "<i2")
    if left:
        print("the pipe ended within a sample: its last byte is left out", file=sys.stderr)


def microphone(sounddevice, rate: int) -> Iterator:
    """Listen until somebody presses Ctrl-C.

    Raises:
        ValueError: there is no microphone, or not with this rate.
    """
    try:
        stream = sounddevice.InputStream(rate, channels=1, dtype="int16")
        stream.start()
    except sounddevice.PortAudioError as error:
        raise ValueError(f"--live: the microphone cannot be heard at {rate} Hz: {error}") from None
    print("listening; Ctrl-C ends it", file=sys.stderr)
    with stream:
        while True:
            block, lost = stream.read(round(BLOCK_S * rate))
            if lost:
                print("samples were lost: the machine is too slow for this model", file=sys.stderr)
            yield block[:, 0].copy()


def run(live, chunks: Iterator, as_json: bool = False) -> int:
    """Print what is said; what is still open when the sound ends, or at Ctrl-C, becomes final.

    Args:
        live: of `decode/live.py`.
        chunks: the sound; read by a thread of its own, so that nothing is lost while it is heard.
        as_json: every update as a line of JSON; else final words alone, a line an utterance.

    Raises:
        ValueError, FloatingPointError: as of `chunks` and `live`.
    """
    show = _Lines(as_json)
    waiting: queue.Queue = queue.Queue(round(AHEAD_S / BLOCK_S))
    threading.Thread(target=_read, args=(chunks, waiting), daemon=True).start()
    status = 0
    try:
        for chunk in _batches(waiting):
            show(live(chunk))
    except KeyboardInterrupt:
        status = STOPPED
    show(live.flush())
    if status:
        print("stopped; all that was heard is written", file=sys.stderr)
    return status


def _read(chunks: Iterator, waiting: queue.Queue) -> None:
    try:
        for chunk in chunks:
            waiting.put(chunk)
        waiting.put(None)
    except Exception as error:  # raised again by who listens
        waiting.put(error)


def _batches(waiting: queue.Queue) -> Iterator:
    """Yield what has come, together, but no more than is heard at once."""
    import numpy as np

    over = False
    while not over:
        blocks = [waiting.get()]
        while len(blocks) < AT_ONCE_S / BLOCK_S and not waiting.empty():
            blocks.append(waiting.get())
        if isinstance(blocks[-1], Exception):
            error = blocks.pop()
            if blocks:
                yield np.concatenate(blocks)
            raise error
        if over := blocks[-1] is None:
            blocks.pop()
        if blocks:
            yield np.concatenate(blocks)


class _Lines:
    """Writes updates to standard output."""

    def __init__(self, as_json: bool):
        self._json, self._begun, self._told = as_json, False, []

    def __call__(self, update) -> None:
        if self._json:
            self._as_json(update)
            return
        for word in update.final:
            sys.stdout.write(f"{' ' if self._begun else ''}{word.text}")
            self._begun = True
        if update.paused and self._begun:
            sys.stdout.write("\n")
            self._begun = False
        sys.stdout.flush()

    def _as_json(self, update) -> None:
        from speechllm.decode.written import word

        partial = [word(one) for one in update.partial]
        if update.final or partial != self._told:
            values = {"final": [word(one) for one in update.final], "partial": partial}
            print(json.dumps(values, ensure_ascii=False), flush=True)
        self._told = partial
