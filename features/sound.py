"""A sound file, opened: its true length, and its samples in blocks, whatever kind it is.

    with opened("a.mp3") as sound:
        sound.n_samples, sound.sampling_rate, sound.channels, sound.format
        for block in sound.blocks(start, count): ...     # (n, C) float32

The one place that decides what is in a file (`formats`): `info`, `load` and `blocks` of `audio`
ask it, and so does everything else. libsndfile decodes, ffmpeg what libsndfile does not know.
"""

from __future__ import annotations

import functools
import mmap
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

from features import channels, containers, shards
from features.formats import ffmpeg, flac, mpeg, ogg, riff
from features.formats.layout import PLAIN, Layout, Part
from features.formats.splice import Splice
from features.memory import Memory

# values decoded at a time: a header that lies cannot make us allocate what it claims
BLOCK = 1 << 22
# an MP3 frame may hold its bits in the 511 bytes before it: 24 frames of the smallest kind and more
RESERVOIR = 48 * 1152


class Sound:
    """What libsndfile decodes: one file, or the parts of one, one after another."""

    def __init__(self, name: str, parts: list[tuple[soundfile.SoundFile, int, int]], layout):
        first = parts[0][0]
        self.cut, self.unsure = layout.cut, layout.unsure
        self.name, self._parts = name, parts  # of each, its first sample and number
        self.sampling_rate, self.channels = first.samplerate, first.channels
        self.format = f"{first.format}/{first.subtype}"
        self._order = channels.order(first.subtype, first.channels)
        self.n_samples = sum(size for _, _, size in parts)

    def blocks(self, start: int, count: int) -> Iterator[np.ndarray]:
        """Samples [start, start + count) as (n, C) float32; fewer where the file ends before.

        Raises ValueError (the reason alone) for what cannot be decoded.
        """
        for file, first, size in self._parts:
            here = max(0, min(count, size - start))
            if here:
                try:
                    for block in _decoded(file, first + start, here):
                        yield block if self._order is None else block[:, self._order]
                except (soundfile.SoundFileError, RuntimeError) as error:
                    raise ValueError(_reason(error)) from None
            start, count = max(0, start - size), count - here


def _decoded(file: soundfile.SoundFile, start: int, count: int) -> Iterator[np.ndarray]:
    """Samples of one file; where it cannot seek those before `start` are decoded, too."""
    if file.seekable():
        before = min(start, RESERVOIR) if file.format == "MP3" else 0
        if file.tell() != start - before:  # seeking in FLAC decodes a frame, also to where it is
            file.seek(start - before)
        start = before
    while count > 0:
        want = min(start + count, max(1, BLOCK // file.channels))
        block = file.read(want, dtype="float32", always_2d=True)
        if not len(block):
            return
        kept = block[start:]
        start = max(0, start - len(block))
        count -= len(kept)
        if len(kept):
            yield kept


@contextmanager
def opened(path) -> Iterator[Sound | ffmpeg.Opened]:
    """A sound file, or a binary file object, opened for as long as the `with` lasts.

    Raises ValueError, one line, for what is absent, no sound, or of a kind that nothing here reads.
    """
    if not isinstance(path, (str, os.PathLike)) and not hasattr(path, "read"):
        raise ValueError(
            f"wanted the path of a sound file or an opened one, got {type(path).__name__}; "
            "samples need no loading (features.draw makes a picture of them)"
        )
    path = shards.fetched(path)
    name = name_of(path)
    if isinstance(path, (str, os.PathLike)):
        _refuse_absent(Path(path), name)
    layout = look(path)
    with ExitStack() as stack:
        sound = layout.foreign or _native(path, name, layout, stack)
        if isinstance(sound, str):
            sound = _foreign(path, name, sound, stack)
        yield sound


def look(path) -> Layout:
    """How a file is to be read, by its container; found once as long as it stays the same."""
    if not isinstance(path, (str, os.PathLike)):
        before = path.tell()
        path.seek(0)
        data = path.read()
        path.seek(before)
        return _layout(data)
    status = os.stat(path)
    return _looked(os.path.abspath(path), status.st_size, status.st_mtime_ns)


@functools.lru_cache(1024)
def _looked(path: str, size: int, changed: int) -> Layout:
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _layout(data)


def _layout(data) -> Layout:
    head = bytes(data[:16])
    if head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:12] == b"WAVE":
        return riff.layout(data)
    if head[:4] == b"OggS":
        return ogg.layout(data)
    if head[:4] == b".snd":
        return riff.au(data)
    if head == b"Creative Voice F":
        return riff.voc(data)
    first = mpeg.after_id3(data, 0)
    if data[first : first + 4] == b"fLaC":
        return flac.layout(data, first)
    if data[first : first + 4] in (b"RIFF", b"FORM", b"OggS"):  # libsndfile counts the tag in
        return Layout((Part(((first, len(data)),)),)) if first else PLAIN
    if first or head[:1] == b"\xff":
        return mpeg.layout(data)
    return PLAIN


def _native(path, name: str, layout: Layout, stack: ExitStack) -> Sound | str:
    """What libsndfile opens, or the reason why it does not."""
    parts, whole = [], path
    if isinstance(path, (str, os.PathLike)) and any(part.pieces for part in layout.parts):
        whole = stack.enter_context(open(path, "rb"))  # one descriptor for a thousand parts
    for part in layout.parts:
        try:
            file = _file(path, whole, part, stack)
        except (soundfile.SoundFileError, RuntimeError, TypeError) as error:
            return _reason(error)
        if file.format == "RAW" and containers.is_for_ffmpeg(path, name):
            return "it has no header"
        containers.refuse_strange(name, file)
        size = file.frames if part.n_samples is None else part.n_samples
        if size > file.frames:
            return f"it takes {size} samples for {file.frames}"
        parts.append((file, file.frames - size if part.lead else 0, size))
    kinds = {(file.samplerate, file.channels) for file, _, _ in parts}
    if len(kinds) > 1:
        raise ValueError(
            f"{name}: joined of parts of other rates or channels (Hz, channels: "
            f"{', '.join(map(str, sorted(kinds)))}); cut it into files"
        )
    cut = layout.cut or containers.missing(path, parts[0][0])
    return Sound(name, parts, replace(layout, cut=cut) if cut else layout)


def _file(path, whole, part: Part, stack: ExitStack) -> soundfile.SoundFile:
    """A part, opened; `whole` is the file, opened already where parts of it are wanted."""
    source = path
    if isinstance(path, shards.Bytes) and not part.pieces:
        return stack.enter_context(Memory(path, path.data))
    if part.pieces:
        source = stack.enter_context(Splice(whole, part.pieces))
    elif isinstance(path, (str, os.PathLike)) and os.name != "nt":
        source = os.fsencode(path)  # a name need not be UTF-8
    return stack.enter_context(soundfile.SoundFile(source))


def _foreign(path, name: str, reason: str, stack: ExitStack) -> ffmpeg.Opened:
    """What ffmpeg opens; ValueError says why it does not, or which command converts the file."""
    command = ffmpeg.tool()
    if not (command and containers.is_for_ffmpeg(path, name)):
        raise ValueError(
            f"{name}: libsndfile cannot read it ({reason}); {containers.advice(path, name)}"
        )
    disk = nullcontext(path) if isinstance(path, (str, os.PathLike)) else ffmpeg.on_disk(path)
    try:
        return ffmpeg.Opened(os.path.abspath(stack.enter_context(disk)), name, command)
    except ValueError as error:
        if "matches no streams" in str(error):
            raise ValueError(f"{name}: holds no sound; remove it from the list") from None
        raise ValueError(
            f"{name}: damaged or cut off (ffmpeg: {error}); fetch it again, or remove it from "
            "the list"
        ) from None


def _refuse_absent(path: Path, name: str) -> None:
    if path.is_dir():
        raise ValueError(f"{name}: is a folder; wanted a sound file, give one that is in it")
    if not path.exists():
        raise ValueError(
            f"{name}: no such file; check the path (relative ones start at {Path.cwd()})"
        )
    if not os.access(path, os.R_OK):
        raise ValueError(f"{name}: may not be read; change its permissions")
    if path.stat().st_size == 0:
        raise ValueError(f"{name}: is empty (0 bytes); fetch it again or remove it from the list")
    if path.suffix.lower() in containers.RAW:
        raise ValueError(
            f"{name}: raw samples say neither rate nor width; "
            f"convert: ffmpeg -f s16le -ar 16000 -ac 1 -i '{name}' '{path.with_suffix('.wav')}'"
        )


def name_of(path) -> str:
    """How a file is called in messages."""
    return (
        str(path) if isinstance(path, (str, os.PathLike)) else str(getattr(path, "name", "<bytes>"))
    )


def _reason(error: Exception) -> str:
    return str(error).split(": ", 1)[-1].strip().rstrip(".")
