"""MP3, frame by frame: what a header that is missing, or speaks of another length, cannot say.

    [ID3v2] [Xing frame: frames, delay, padding] frame frame frame ... [APE] [ID3v1]

A frame's own four bytes say its length in bytes and in samples. libsndfile (mpg123) believes the
Xing frame, and where there is none guesses from the first frame and the size of the file: right for
a constant bitrate of whole bytes, wrong otherwise, and beyond its guess it does not read. Joined
files have the Xing frame of the first. So the frames are counted, and where the count is another, a
Xing frame that says it is put before them. What comes after the frames that the Xing frame of a
joined file counts is decoded as ffmpeg does it: every frame, with its delay and padding.
ISO/IEC 11172-3; Xing and LAME: http://gabriel.mp3-tech.org/mp3infotag.html
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

from features.formats.layout import PLAIN, Layout, Part

KBITS = {  # (MPEG-1?, layer) to kbit/s by index
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
KBITS[False, 3] = KBITS[False, 2]
RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
SAME = 0xFFFE0C00  # version, layer and rate: the same in all frames of a stream
JUNK = 4096  # bytes between frames that are passed over; what is longer is damage
TAGS = (b"ID3", b"TAG", b"APE", b"LYR")  # ID3v2, ID3v1, APE, Lyrics3
SEARCHED = 1 << 16  # bytes in which the first frame must begin
# enough for a Xing frame: 64 kbit/s, by MPEG-1 or 2
ROOMY = {True: 5, False: 8}


@dataclass(frozen=True)
class Frame:
    """What four bytes of header say; `samples` per channel."""

    size: int
    samples: int
    layer: int
    side: int  # bytes before a Xing tag, header included


@functools.lru_cache(1024)
def frame(word: int) -> Frame | None:
    """The frame that begins with these 32 bits; None for what is none, or of free bitrate."""
    version, layer = word >> 19 & 3, 4 - (word >> 17 & 3)
    bits, rate = word >> 12 & 15, word >> 10 & 3
    if word >> 21 != 0x7FF or version == 1 or layer == 4 or bits in (0, 15) or rate == 3:
        return None
    one = version == 3
    kbits, hz, pad = KBITS[one, layer][bits], RATES[version][rate], word >> 9 & 1
    mono = word >> 6 & 3 == 3
    side = 4 + (17 if mono else 32) if one else 4 + (9 if mono else 17)
    if layer == 1:
        return Frame((12000 * kbits // hz + pad) * 4, 384, 1, side)
    samples = 1152 if one or layer == 2 else 576
    return Frame(samples // 8 * 1000 * kbits // hz + pad, samples, layer, side)


@dataclass
class _Walk:
    """Frames of a file: `runs` of bytes without anything between, and how many frames each has."""

    word: int = 0
    runs: list[list[int]] = field(default_factory=list)  # [first, end, frames]
    cut: str = ""

    def add(self, at: int, size: int) -> None:
        if self.runs and self.runs[-1][1] == at:
            self.runs[-1][1:] = at + size, self.runs[-1][2] + 1
        else:
            self.runs.append([at, at + size, 1])


def layout(data) -> Layout:
    """How to read an MP3 (bytes or a map of it); PLAIN where libsndfile is as good."""
    first = _first(data)
    if first is None:
        return PLAIN
    walk, one = _walked(data, first), frame(_word(data, first))
    if walk.cut:
        return Layout(cut=walk.cut)
    if one.layer != 3:  # no Xing frame is known there
        return Layout((Part(n_samples=sum(run[2] for run in walk.runs) * one.samples),))
    tag = _tag(data, first, one)
    runs = _split(data, walk.runs, 1)[1] if tag is not None else walk.runs
    frames = sum(run[2] for run in runs)
    if not tag or tag == frames + 1:  # no count, or one that takes the tag itself for a frame
        return Layout((_counted(walk.word, runs, one),)) if runs else PLAIN
    if tag > frames:
        return Layout(cut=f"its Xing frame counts {tag} frames, {frames} are there")
    if tag == frames:
        return PLAIN
    head, rest = _split(data, walk.runs, tag + 1)
    return Layout((Part(tuple((a, b) for a, b, _ in head)), _counted(walk.word, rest, one)))


def _counted(word: int, runs: list[list[int]], one: Frame) -> Part:
    """Runs of frames behind a Xing frame that says how many they are, and a silent frame.

    Behind a Xing frame mpg123 leaves out its own delay, 529 samples: they are of the silence.
    """
    n = sum(run[2] for run in runs)
    word = word & ~(0xF << 12 | 1 << 9) | ROOMY[word >> 19 & 3 == 3] << 12 | 1 << 16
    size, head = frame(word).size, word.to_bytes(4, "big")
    tag = b"Xing" + (1).to_bytes(4, "big") + (n + 1).to_bytes(4, "big")
    ours = (head.ljust(one.side, b"\0") + tag).ljust(size, b"\0") + head.ljust(size, b"\0")
    return Part((ours, *((a, b) for a, b, _ in runs)), n * one.samples, lead=True)


def _tag(data, at: int, one: Frame) -> int | None:
    """Frames that the tag of the frame at `at` counts, 0 where it does not; None without a tag."""
    if data[at + 36 : at + 40] == b"VBRI":  # Fraunhofer's; its count is not looked at
        return 0
    tag = bytes(data[at + one.side : at + one.side + 12])
    if tag[:4] not in (b"Xing", b"Info"):
        return None
    return int.from_bytes(tag[8:12], "big") if tag[7] & 1 else 0


def _split(data, runs: list[list[int]], n: int) -> tuple[list, list]:
    """Runs of the first `n` frames, and of the rest."""
    head, rest = [], []
    for first, end, frames in runs:
        at, left = first, min(n, frames)
        for _ in range(left):
            at += frame(_word(data, at)).size
        n -= left
        if left:
            head.append([first, at, left])
        if left < frames:
            rest.append([at, end, frames - left])
    return head, rest


def _first(data) -> int | None:
    """Where the first of two frames of one kind begins."""
    begin = after_id3(data, 0)
    for at in range(begin, min(len(data), begin + SEARCHED) - 3):
        if data[at] == 0xFF and (one := frame(_word(data, at))):
            after = at + one.size
            if after >= len(data) or _same(_word(data, after), _word(data, at)):
                return at
    return None


def _walked(data, at: int) -> _Walk:
    walk, size = _Walk(_word(data, at)), len(data)
    word = walk.word
    while at + 4 <= size:
        here = int.from_bytes(data[at : at + 4], "big")
        if _same(here, word):
            length = frame(here).size
            if at + length > size:
                walk.cut = "its last frame is not whole"
                break
            walk.add(at, length)
            at += length
            continue
        nearest = _next(data, at, word)
        junk = (size if nearest is None else nearest) - at
        if junk > JUNK and data[at : at + 3] not in TAGS:
            walk.cut = f"{junk} bytes at {at} are no MP3 frame of its rate and channels"
        if nearest is None or walk.cut:
            break
        at = nearest
    return walk


def _next(data, at: int, word: int) -> int | None:
    """Where the stream goes on behind tags and junk; None at its end."""
    at = after_id3(data, at)
    while 0 <= at < len(data) - 3:
        if _same(here := _word(data, at), word):
            after = at + frame(here).size
            if after >= len(data) or _same(_word(data, after), word):
                return at
            if data[after : after + 3] in TAGS:
                return at
        at = data.find(b"\xff", at + 1)
    return None


def _same(here: int, word: int) -> bool:
    """Whether a frame begins with `here` whose version, layer, rate and channels are those."""
    mono = here >> 6 & 3 == 3, word >> 6 & 3 == 3
    return not (here ^ word) & SAME and mono[0] == mono[1] and frame(here) is not None


def after_id3(data, at: int) -> int:
    """The first byte behind ID3v2 tags, whose size stands in four times seven bits."""
    while data[at : at + 3] == b"ID3" and at + 10 <= len(data):
        a, b, c, d = data[at + 6 : at + 10]
        at += 10 + (a << 21 | b << 14 | c << 7 | d) + (10 if data[at + 5] & 16 else 0)
    return at


def _word(data, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")
