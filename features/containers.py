"""Sound files as containers: which are no sound, what converts them, and whether one is whole.

libsndfile reads what is left of a file that was cut off and says nothing. What the file itself
promised stands in three places: in libsndfile's log (WAV, AIFF, AU, W64, RF64, VOC), in the last
page of an Ogg stream (RFC 3533: flag 4, end of stream), in the text header of a SPHERE file.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

FORMATS = set("WAV WAVEX RF64 W64 FLAC OGG MP3 AIFF AU CAF NIST VOC IRCAM HTK".split())
# Hz; outside, the header is damaged: 1 Hz to 16 kHz would make 16000 samples of each
RATES = (2000, 768_000)
RAW = {".raw", ".pcm"}
FOREIGN = set(
    ".aac .m4a .m4b .mp4 .m4v .mov .webm .mka .mkv .wma .asf .amr .3gp .ac3 .avi .wv .tta .ape "
    ".spx .ts .flv .gsm".split()
)
CONTAINERS = (b"RIFF", b"RIFX", b"RF64", b"riff", b"FORM", b"OggS", b"caff", b".snd", b"NIST_1A",
              b"Creative Voice", b"wvpk", b"TTA1", b"MAC ", b"FLV", b".SoX", b"XoS.")  # fmt: skip
# sizes that stand in a header when it was written before anybody knew: sox, ffmpeg, others
STREAMED = ((0x7F000000, 0x7F000100), (0x7FFFE000, 0x80000100), (0xFFFFE000, 1 << 64))
PROMISE = re.compile(r"\s*(\w[\w ]*?)\s*: (\d+) \(should be (\d+)\)")
SPHERE_FIELD = re.compile(rb"^(\w+) -i (\d+)\s*$", re.MULTILINE)


def advice(path, name: str) -> str:
    """What to do with a file that libsndfile does not open."""
    head, suffix = _head(path), Path(name).suffix.lower()
    wav = Path(name).with_suffix(".converted.wav")
    if head.startswith(b"NIST_1A") and b"shorten" in head:
        return f"convert: sph2pipe -f wav '{name}' '{wav}'"
    if suffix in FOREIGN or _is_foreign(head):
        return f"convert: ffmpeg -i '{name}' -vn '{wav}'"
    return "it is damaged or no sound file: fetch it again, or remove it from the list"


def is_for_ffmpeg(path, name: str) -> bool:
    """Whether ffmpeg may know what libsndfile does not: another container, or another codec."""
    head = _head(path)
    return Path(name).suffix.lower() in FOREIGN or _is_foreign(head) or head.startswith(CONTAINERS)


def refuse_strange(name: str, file) -> None:
    """Raise ValueError for an opened file of a kind or a rate that no recording has."""
    if file.format not in FORMATS:
        raise ValueError(
            f"{name}: libsndfile takes it for {file.format}, which holds no speech; it is damaged, "
            f"or convert: sox '{name}' '{Path(name).with_suffix('.converted.wav')}'"
        )
    if not RATES[0] <= file.samplerate <= RATES[1]:
        raise ValueError(
            f"{name}: its header says {file.samplerate} Hz, wanted {RATES[0]} to {RATES[1]}; "
            f"it is damaged: fetch it again, or remove it from the list"
        )


def missing(path, file) -> str:
    """What an opened file promised and does not hold; "" if it is whole.

    Reads the head or the tail of `path` where libsndfile's log does not tell.
    """
    if file.format == "NIST":
        return _sphere_samples(_head(path, 1024), file)
    return _logged(file.extra_info)


def _logged(log: str) -> str:
    """What libsndfile logged of a header that promises more than there is."""
    for line in log.splitlines():
        words = "should be" in line and PROMISE.fullmatch(line)
        if words and words[1] in ("data", "SSND", "Data Size", "riff", "Riff size"):
            promised, there = int(words[2]), int(words[3])
            if there < promised and not _streamed(promised):
                return f"its header promises {promised} bytes of samples, {there} are there"
        if "Seems to be a truncated file" in line:
            return "it ends before its header says"
    return ""


def _streamed(size: int) -> bool:
    return any(first <= size < end for first, end in STREAMED)


def _sphere_samples(head: bytes, file) -> str:
    said = {key.decode(): int(value) for key, value in SPHERE_FIELD.findall(head)}
    promised = said.get("sample_count", 0)
    if file.frames < promised and not _streamed(promised):
        return f"its header promises {promised} samples, {file.frames} are there"
    return ""


def _is_foreign(head: bytes) -> bool:
    """MP4, Matroska, ADTS, ASF or AMR by the first bytes, whatever the name says."""
    starts = (
        b"\x1a\x45\xdf\xa3",
        b"\xff\xf1",
        b"\xff\xf9",
        b"\x30\x26\xb2\x75",
        b"#!AMR",
        b"\x0b\x77",
    )
    return head[4:8] == b"ftyp" or head.startswith(starts)


def _head(path, size: int = 1024) -> bytes:
    return _bytes(path, lambda length: (0, size))


def _bytes(path, where) -> bytes:
    """Bytes of a file, or of a file object, whose position is kept."""
    if isinstance(path, (str, os.PathLike)):
        with open(path, "rb") as file:
            return _bytes(file, where)
    try:
        before = path.tell()
        start, size = where(path.seek(0, os.SEEK_END))
        path.seek(start)
        data = path.read(size)
        path.seek(before)
    except (OSError, AttributeError, TypeError):
        return b""  # no file: what is asked of it stays unknown
    return data
