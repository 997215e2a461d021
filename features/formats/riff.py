"""Headers (WAV, RF64, AU, VOC) that libsndfile takes at their word, and should not.

    "RIFF" size "WAVE" ("fmt " size ...) ... ("data" size samples...)

A program that writes to a pipe leaves the size at 0, or those of RF64: the samples go on to the
end of the file then. A GSM block is 65 bytes and 320 samples: the byte that makes their number even
is no block. MP3 in a WAV file is counted as MP3.
The blocks of a VOC file lie between headers, which libsndfile would play.
"""

from __future__ import annotations

from dataclasses import replace

from features.formats import mpeg
from features.formats.layout import PLAIN, Layout, Part

GSM, MP3 = 0x31, 0x55  # format tags
HEAD = 1 << 16  # bytes in which the samples must begin
UNKNOWN = 0xFFFFFFFF


def layout(data) -> Layout:
    """How to read a WAV or RF64 file (bytes or a map of it)."""
    order = "big" if data[:4] == b"RIFX" else "little"
    fmt = ds64 = None
    at = 12
    while at + 8 <= min(len(data), HEAD):
        id, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], order)
        if id == b"data":
            return _samples(data, at, size, order, fmt, ds64)
        fmt = int.from_bytes(data[at + 8 : at + 10], order) if id == b"fmt " else fmt
        ds64 = at + 8 if id == b"ds64" else ds64
        at += 8 + size + (size & 1)
    return PLAIN


def _samples(data, at: int, size: int, order: str, fmt: int | None, ds64: int | None) -> Layout:
    """How to read samples whose chunk begins at `at`."""
    there = len(data) - at - 8
    if size == UNKNOWN and ds64 is not None:
        size = int.from_bytes(data[ds64 + 8 : ds64 + 16], order)
    begin, true = at + 8, size
    if size == UNKNOWN or size == 0 and not _is_chunk(data, begin, order):
        true = there
    if not there:
        return PLAIN
    if fmt == MP3:
        return _mp3(data, begin, begin + min(true, there))
    if fmt == GSM and there >= true:
        return Layout((Part(n_samples=true // 65 * 320),))
    if size == UNKNOWN or true == size or true > UNKNOWN - begin:
        return PLAIN
    kind = b"RIFX" if order == "big" else b"RIFF"
    sizes = (begin + true - 8).to_bytes(4, order), true.to_bytes(4, order)
    head = kind + sizes[0] + bytes(data[8:at]).replace(b"ds64", b"JUNK", 1) + b"data" + sizes[1]
    return Layout((Part((head, (begin, begin + true))),))


def _mp3(data, begin: int, end: int) -> Layout:
    """MP3 without the WAV around it."""
    inside = mpeg.layout(bytes(data[begin:end]))
    moved = [
        replace(part, pieces=tuple(
            piece if isinstance(piece, bytes) else (piece[0] + begin, piece[1] + begin)
            for piece in part.pieces or ((0, end - begin),)
        ))
        for part in inside.parts
    ]  # fmt: skip
    return replace(inside, parts=tuple(moved))


def _is_chunk(data, at: int, order: str) -> bool:
    """Whether another chunk stands at `at`, and ends where the file or a further one does."""
    while at + 8 <= len(data) and bytes(data[at : at + 4]).strip().isalnum():
        size = int.from_bytes(data[at + 4 : at + 8], order)
        at += 8 + size + (size & 1)
    return at in (len(data), len(data) + 1)


def au(data) -> Layout:
    """How to read an AU file: one of 0 bytes was written to a pipe, where bytes follow."""
    begin, size = (int.from_bytes(data[at : at + 4], "big") for at in (4, 8))
    if size or not 24 <= begin < len(data):
        return PLAIN
    return Layout((Part((bytes(data[:8]) + b"\xff" * 4, (12, len(data)))),))


def voc(data) -> Layout:
    """How to read a VOC file: by libsndfile only if all samples lie in one block."""
    at, blocks = int.from_bytes(data[20:22], "little"), 0
    while 0 < at < len(data) - 3 and data[at]:
        blocks += data[at] in (1, 2, 9)
        at += 4 + int.from_bytes(data[at + 1 : at + 4], "little")
    return Layout(foreign=f"its sound lies in {blocks} blocks") if blocks > 1 else PLAIN
