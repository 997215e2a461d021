"""FLAC's true length: every frame says where it stands, so the last one says where the end is.

The header's count of samples may be 0 (unknown: the writer could not go back) or wrong; libsndfile
takes it as it stands and reads no further. Joined files are found by their headers. RFC 9639.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from features.formats.layout import Layout, Part

HEAD = 42  # bytes up to the end of STREAMINFO
STARTS = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")
SYNC = (b"\xff\xf8", b"\xff\xf9")
TAIL = 1 << 16  # bytes in which the last frame begins, where STREAMINFO does not say
LONGEST = 1 << 22  # bytes of a frame at most, whatever STREAMINFO says
TRIES = 8  # frames whose checksum is computed: a false header is one of 65536 places
TOTAL = (1 << 36) - 1


@dataclass(frozen=True)
class _Stream:
    """What STREAMINFO says; sizes in bytes, blocks in samples per channel."""

    block: int
    longest: int
    total: int

    @classmethod
    def of(cls, head: bytes) -> _Stream:
        low, high = (int.from_bytes(head[a : a + 2], "big") for a in (8, 10))
        longest = int.from_bytes(head[15:18], "big")
        return cls(high if low == high else 0, longest, int.from_bytes(head[21:26], "big") & TOTAL)


def with_total(head: bytes, total: int) -> bytes:
    """A header that counts `total` samples."""
    word = int.from_bytes(head[21:26], "big") & ~TOTAL | min(total, TOTAL)
    return head[:21] + word.to_bytes(5, "big") + head[26:]


def layout(data, first: int = 0) -> Layout:
    """How to read a FLAC file (bytes or a map of it) that begins at `first`, behind ID3."""
    end = len(data) - (128 if data[-128:-125] == b"TAG" else 0)
    parts, unsure = [], 1  # the last frame has begun; is it whole? Its checksum, in C, says it
    while first < end:
        part, first, last, total = _part(data, first, end)
        if not last and not total:
            return Layout(cut="its last frame is not whole")
        parts.append(part)
        unsure = unsure if last >= total else total
    return Layout(tuple(parts), unsure=unsure)


def _part(data, first: int, end: int) -> tuple[Part, int, int, int]:
    """The stream at `first`, where it ends, samples up to its last frame (0: not whole), counted.

    Samples below the count: cut off, or followed by something else.
    """
    head = bytes(data[first : first + HEAD])
    stream = _Stream.of(head)
    total, after = stream.total, end
    last = _last(data, first + HEAD, end, stream)
    if not last or last != total or _crowded(data, first, end, stream):
        after = _following(data, first + HEAD, end)
        last = _last(data, first + HEAD, after, stream)
    if not last or last == total or _is_cut(last, stream):
        return Part(((first, after),)) if first or after < end else Part(), after, last, total
    return Part((with_total(head, last), (first + HEAD, after)), last), after, last, last


def _crowded(data, first: int, end: int, stream: _Stream) -> bool:
    """Whether more bytes are there than the frames can be: of a joined file of the same length."""
    n_frames = -(-stream.total // stream.block) if stream.block else 0
    room = end - first - HEAD - _tags(data, first)
    return 0 < n_frames * stream.longest < room


def _is_cut(last: int, stream: _Stream) -> bool:
    """Whether less is there than was counted, and the last block is not the short one of an end."""
    return last < stream.total and (not stream.block or last % stream.block == 0)


def _following(data, begin: int, end: int) -> int:
    """Where the next stream begins, or the end."""
    places = [at for start in STARTS if 0 <= (at := data.find(start, begin)) < end]
    return min(places, default=end)


def _tags(data, first: int) -> int:
    """Bytes of the blocks between STREAMINFO and the first frame."""
    at, last = first + HEAD, data[first + 4] & 0x80
    while not last and at + 4 <= len(data):
        last = data[at] & 0x80
        at += 4 + int.from_bytes(data[at + 1 : at + 4], "big")
    return at - first - HEAD


def _last(data, begin: int, end: int, stream: _Stream) -> int:
    """Samples up to the end of the last frame; 0 where none is whole.

    A frame whose end is the counted one needs no further proof; any other must fit its checksum.
    """
    begin = max(begin, end - max(min(stream.longest, LONGEST), TAIL))
    tail = bytes(data[begin:end])
    at, tries = len(tail), 0
    while tries < TRIES and (at := _before(tail, at)) >= 0:
        samples = _frame_end(tail[at : at + 16], stream)
        if samples and samples == stream.total:
            return samples
        if samples and crc16(tail[at:]) == 0:
            return samples
        tries += samples > 0
    return 0


def _before(data: bytes, end: int) -> int:
    """Where the last thing before `end` stands that looks like the begin of a frame; or -1."""
    fixed, variable = SYNC
    at = data.rfind(fixed, 0, end)
    return max(at, data.rfind(variable, max(at, 0), end))


def _frame_end(head: bytes, stream: _Stream) -> int:
    """Sample behind the frame with this header; 0 where it is none."""
    if len(head) < 6 or head[3] & 1:
        return 0
    size = head[2] >> 4
    number, at = _coded(head)
    if not at or size == 0:
        return 0
    if size in (6, 7):
        width = size - 5
        block, at = int.from_bytes(head[at : at + width], "big") + 1, at + width
    else:
        block = 192 if size == 1 else 576 << size - 2 if size < 6 else 256 << size - 8
    at += {12: 1, 13: 2, 14: 2}.get(head[2] & 15, 0)
    if at >= len(head) or _crc8(head[:at]) != head[at]:
        return 0
    return number + block if head[1] & 1 else number * (stream.block or block) + block


def _coded(head: bytes) -> tuple[int, int]:
    """The number of the frame or sample, coded as UTF-8 codes letters, and where it ends."""
    lead = head[4]
    more = 0 if lead < 0x80 else 8 - (lead ^ 0xFF).bit_length() - 1
    if lead >= 0x80 and not 1 <= more <= 6 or len(head) < 6 + more:
        return 0, 0
    number = lead if not more else lead & (0x3F >> more)
    for byte in head[5 : 5 + more]:
        if byte >> 6 != 2:
            return 0, 0
        number = number << 6 | byte & 0x3F
    return number, 5 + more


def _table(polynomial: int, bits: int) -> list[int]:
    top, mask = 1 << bits - 1, (1 << bits) - 1
    table = []
    for value in range(256):
        value <<= bits - 8
        for _ in range(8):
            value = (value << 1 ^ polynomial if value & top else value << 1) & mask
        table.append(value)
    return table


@functools.cache
def _tables() -> tuple[list[int], list[int]]:
    return _table(0x07, 8), _table(0x8005, 16)


def _crc8(data: bytes) -> int:
    table, value = _tables()[0], 0
    for byte in data:
        value = table[value ^ byte]
    return value


def crc16(data: bytes) -> int:
    """FLAC's checksum; of a frame with its own, 0."""
    table, value = _tables()[1], 0
    for byte in data:
        value = (value << 8 ^ table[value >> 8 ^ byte]) & 0xFFFF
    return value
