"""Loading held against ffmpeg: every format, rate, width and layout that both read.

    python benchmarks/loading.py                   # the table, by format
    python benchmarks/loading.py --rates 16000 44100 --layouts 1 2 --only flac

Each file is made here, of noise and tones, by libsndfile or by ffmpeg, which writes into a file or,
"piped", into a pipe that cannot go back to fill lengths in. Then `features.info` and
`features.load` are held against the decoding of the ffmpeg command: the same length, the same
samples within 1/32768. Where two decoders of one lossy codec round differently the table says by
how much, and where ffmpeg takes a file for another codec. What ffmpeg cannot read back from a pipe
is held against the same sound in a file. Resampling is soxr's (HQ), which ffmpeg does by its own
filter: all is compared at the file's own rate.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

import features

RATES = (8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000, 96000)
LAYOUTS = (1, 2, 6)
SECONDS = 1.7
STEP = 1 / 32768
FFMPEG = shutil.which("ffmpeg")

# name -> libsndfile's format and subtype, and what is expected: the largest difference, or a reason
SNDFILE = {
    f"{kind} {sub}": (kind, sub, STEP)
    for kind, subs in {
        "WAV": "PCM_U8 PCM_16 PCM_24 PCM_32 FLOAT DOUBLE ULAW ALAW", "WAVEX": "PCM_16 FLOAT",
        "RF64": "PCM_16 PCM_24", "W64": "PCM_16 PCM_24 FLOAT", "AIFF": "PCM_S8 PCM_16 PCM_24 FLOAT",
        "AU": "PCM_16 PCM_24 FLOAT ULAW ALAW", "CAF": "PCM_16 PCM_24 FLOAT ALAC_16 ALAC_24",
        "FLAC": "PCM_S8 PCM_16 PCM_24", "NIST": "PCM_16 ULAW ALAW", "IRCAM": "PCM_16 FLOAT",
        "OGG": "VORBIS", "MP3": "MPEG_LAYER_III",
    }.items() for sub in subs.split()
}  # fmt: skip
SNDFILE |= {
    "WAV IMA_ADPCM": ("WAV", "IMA_ADPCM", 0.01),  # ffmpeg rounds the steps, the standard cuts them
    "WAV MS_ADPCM": ("WAV", "MS_ADPCM", 0.05),  # the same, and the errors add up in a block
    "WAV GSM610": ("WAV", "GSM610", STEP),
    "W64 GSM610": ("W64", "GSM610", STEP),
    "WAV G721_32": ("WAV", "G721_32", "ffmpeg reads its nibbles in the other order"),
    "WAV NMS_ADPCM_32": ("WAV", "NMS_ADPCM_32", "ffmpeg takes it for AMR"),
}
# name -> suffix, options of ffmpeg, container for the piped one ("": not piped), the same
FF = {
    "WAV s16 (ffmpeg)": ("wav", "-c:a pcm_s16le", "wav", STEP),
    "WAV s24 (ffmpeg)": ("wav", "-c:a pcm_s24le", "wav", STEP),
    "RF64 (ffmpeg)": ("wav", "-rf64 always", "wav", STEP),
    "W64 (ffmpeg)": ("w64", "", "", STEP),  # piped, its padding counts as up to 7 bytes of samples
    "AIFF (ffmpeg)": ("aiff", "", "aiff", STEP),
    "AU (ffmpeg)": ("au", "", "au", STEP),
    "CAF (ffmpeg)": ("caf", "", "", STEP),
    "FLAC (ffmpeg)": ("flac", "", "flac", STEP),
    "FLAC s24 (ffmpeg)": ("flac", "-sample_fmt s32", "flac", STEP),
    "FLAC in Ogg (ffmpeg)": ("oga", "-c:a flac", "oga", STEP),
    "Vorbis (ffmpeg)": ("ogg", "-c:a libvorbis", "ogg", STEP),
    "MP3 CBR (ffmpeg)": ("mp3", "-b:a 64k", "mp3", STEP),
    "MP3 VBR (ffmpeg)": ("mp3", "-q:a 4", "mp3", STEP),
    "MP2 (ffmpeg)": ("mp2", "", "mp2", 1.5 * STEP),  # mpg123 and ffmpeg round differently
    "MP3 in WAV (ffmpeg)": ("wav", "-c:a libmp3lame", "wav", STEP),
    "AAC in MP4": ("m4a", "-c:a aac", "", STEP),
    "AAC (ADTS)": ("aac", "-c:a aac", "adts", STEP),
    "ALAC in MP4": ("m4a", "-c:a alac", "", STEP),
    "Opus in WebM": ("webm", "-c:a libopus", "webm", STEP),
    "Vorbis in Matroska": ("mka", "-c:a libvorbis", "matroska", STEP),
    "FLAC in Matroska": ("mka", "-c:a flac", "matroska", STEP),
    "WMA": ("wma", "", "asf", STEP),
    "AC-3": ("ac3", "", "ac3", STEP),
    "WavPack": ("wv", "", "wv", STEP),
    "TTA": ("tta", "", "", STEP),
}


@dataclass
class Row:
    """What was found of one format."""

    allowed: float | str
    files: int = 0
    other_length: int = 0
    unread: int = 0
    most: float = 0.0
    refused: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether it is as expected."""
        if isinstance(self.allowed, str):
            return not self.refused
        return not self.refused and not self.other_length and self.most <= self.allowed


def reference(path: Path) -> tuple[np.ndarray, int]:
    """Samples (C, N) and rate of a file, by the ffmpeg command; none if it cannot read it."""
    words = [FFMPEG, "-v", "quiet", "-nostdin", "-i", f"file:{path}", "-map", "0:a:0"]
    out = subprocess.run([*words, "-f", "au", "-c:a", "pcm_f32be", "-"], capture_output=True)
    if len(out.stdout) <= 24:
        return np.zeros((0, 0)), 0
    head = np.frombuffer(out.stdout[:24], ">u4")
    data = np.frombuffer(out.stdout[int(head[1]) :], ">f4").astype(np.float32)
    return data.reshape(-1, int(head[5])).T, int(head[4])


def wave(rate: int, channels: int) -> np.ndarray:
    """A tone and noise, other ones in each channel, (N, C)."""
    rng, t = np.random.default_rng(channels), np.arange(round(SECONDS * rate)) / rate
    tones = [0.3 * np.sin(2 * np.pi * (200 + 130 * c) * t * (1 + t)) for c in range(channels)]
    return np.stack(tones, 1) + 0.03 * rng.standard_normal((len(t), channels))


def files(
    folder: Path, rate: int, channels: int, only: str
) -> Iterator[tuple[str, object, Path, Path]]:
    """Name, what is expected, path, and that of the same in a file, of all that can be made."""
    x = wave(rate, channels)
    for name, (kind, subtype, allowed) in SNDFILE.items():
        path = folder / f"a.{kind.lower()}"
        if only.lower() in name.lower():
            try:
                soundfile.write(path, x, rate, subtype, format=kind)
            except (soundfile.SoundFileError, ValueError):
                continue  # not at this rate, or with so many channels
            yield name, allowed, path, path
    source = folder / "source.wav"
    soundfile.write(source, x, rate, "FLOAT")
    for name, (suffix, options, piped, allowed) in FF.items():
        if only.lower() not in name.lower():
            continue
        path = folder / f"b.{suffix}"
        words = [FFMPEG, "-v", "quiet", "-nostdin", "-y", "-i", source, *options.split()]
        if subprocess.run([*words, path]).returncode == 0:
            yield name, allowed, path, path
        if not piped:
            continue
        done = subprocess.run([*words, "-f", piped, "pipe:1"], capture_output=True)
        if done.returncode == 0 and done.stdout:
            twin, path = path, folder / f"c.{suffix}"
            path.write_bytes(done.stdout)
            yield f"{name}, piped", allowed, path, twin


def compare(row: Row, path: Path, twin: Path) -> None:
    """Hold one file against ffmpeg."""
    row.files += 1
    try:
        info = features.info(path)
        ours, rate = features.load(path, None, mono=False)
    except ValueError as error:
        row.refused.append(str(error))
        return
    theirs, their_rate = reference(path)
    assert (info.n_samples, info.sampling_rate, info.channels) == (ours.shape[1], rate, len(ours))
    if not theirs.size:
        row.unread += 1
        theirs, their_rate = reference(twin)
    if ours.shape != theirs.shape or rate != their_rate:
        row.other_length += 1
    elif ours.size:
        row.most = max(row.most, float(np.abs(ours - theirs).max()))


def table(rates=RATES, layouts=LAYOUTS, only: str = "") -> dict[str, Row]:
    """Compare all; a row a format."""
    rows: dict[str, Row] = {}
    with tempfile.TemporaryDirectory() as folder:
        for rate in rates:
            for channels in layouts:
                for name, allowed, *paths in files(Path(folder), rate, channels, only):
                    compare(rows.setdefault(name, Row(allowed)), *paths)
    return rows


def main() -> int:
    """Print the table; 1 where something is not as expected."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rates", type=int, nargs="+", default=RATES)
    parser.add_argument("--layouts", type=int, nargs="+", default=LAYOUTS, help="channels")
    parser.add_argument("--only", default="", help="formats whose name holds this")
    args = parser.parse_args()
    if not FFMPEG:
        print("no ffmpeg command here: nothing to hold loading against")
        return 0
    rows = table(args.rates, args.layouts, args.only)
    print(
        "| format | files | not read by ffmpeg | other length | most apart, in 1/32768 | allowed |"
    )
    print("|---|---|---|---|---|---|")
    for name, row in rows.items():
        wanted = row.allowed if isinstance(row.allowed, str) else f"{row.allowed / STEP:g}"
        said = f"{row.unread} | {row.other_length} | {row.most / STEP:.3g} | {wanted}"
        print(f"| {name} | {row.files} | {said}{'' if row.good else ' **no**'} |")
        for error in row.refused[:2]:
            print(f"    {error}", file=sys.stderr)
    return 0 if all(row.good for row in rows.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
