"""Mutated sound files, loaded one after another in this process, which its parent watches.

    python fuzzing.py FOLDER FIRST COUNT [FILE ...]

Of each kind that libsndfile writes, of joined ones and some as they leave a pipe, or of the FILEs.
What is read has the length that `info` says, in one piece and in blocks. Prints the number of files
that were read and refused, by how many MB the peak of memory grew, and the slowest in seconds. A
seed makes the same file again.
"""

import io
import random
import resource
import sys
import time
from pathlib import Path

import numpy as np
import soundfile

import features
import features.resampling
from features.formats import flac, mpeg

KINDS = [
    ("WAV", "PCM_U8"), ("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("WAV", "DOUBLE"),
    ("WAV", "ULAW"), ("WAV", "IMA_ADPCM"), ("WAV", "MS_ADPCM"), ("WAV", "GSM610"),
    ("WAVEX", "PCM_16"), ("RF64", "PCM_16"), ("W64", "PCM_16"), ("FLAC", "PCM_16"),
    ("FLAC", "PCM_24"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"),
    ("AIFF", "PCM_16"), ("AIFF", "FLOAT"), ("NIST", "PCM_16"), ("NIST", "ULAW"), ("AU", "PCM_16"),
    ("CAF", "PCM_16"), ("CAF", "ALAC_16"), ("VOC", "PCM_16"), ("IRCAM", "PCM_16"),
    ("MAT4", "PCM_16"), ("MAT5", "PCM_16"), ("PAF", "PCM_16"), ("SVX", "PCM_16"),
]  # fmt: skip


def seeds() -> list[bytes]:
    """A quarter of a second of noise in each kind."""
    wave, files = 0.1 * np.random.default_rng(0).standard_normal(4000), []
    for kind, subtype in KINDS:
        file = io.BytesIO()
        soundfile.write(file, wave, 16000, format=kind, subtype=subtype)
        files.append(file.getvalue())
    return files + [strange for kind, data in zip(KINDS, files, strict=True) for strange in
                    _strange(kind[0], data)]  # fmt: skip


def _strange(kind: str, data: bytes) -> list[bytes]:
    """Whole files whose header says another length, or none."""
    if kind == "MP3":
        piped = data[mpeg.frame(int.from_bytes(data[:4], "big")).size :]
        return [piped, data + data, piped + b"ID3\4\0\0\0\0\0\5tags." + data]
    if kind == "FLAC":
        return [flac.with_total(data, 0), flac.with_total(data, 77), data + data]
    if kind == "OGG":
        return [data + data]
    if kind in ("WAV", "RF64"):
        at = data.find(b"data") + 4
        return [data[:at] + bytes([value]) * 4 + data[at + 4 :] for value in (0, 255)]
    return []


def mutated(seed: int, files: list[bytes]) -> bytes:
    """One of the files with bytes changed, lost, added, or with the tail of another."""
    chance = random.Random(seed)
    data = bytearray(chance.choice(files))
    place, header = chance.randrange(len(data)), chance.randrange(120)
    kind = chance.randrange(7)
    if kind == 0:
        for _ in range(chance.randrange(1, 8)):
            data[chance.randrange(120)] = chance.randrange(256)
    elif kind == 1:
        for _ in range(chance.randrange(1, 40)):
            data[chance.randrange(len(data))] = chance.randrange(256)
    elif kind == 2:  # lengths, rates and counts that lie
        width = chance.choice([2, 4, 8])
        data[header : header + width] = bytes([chance.choice([0, 1, 127, 128, 255])]) * width
    elif kind == 3:
        del data[place:]
    elif kind == 4:
        del data[place : place + chance.randrange(1, 300)]
    elif kind == 5:
        other = chance.choice(files)
        data[place:] = other[chance.randrange(len(other)) :]
    else:
        data[header:] = chance.randbytes(chance.randrange(1, 6000))
    return bytes(data)


def peak_mb() -> float:
    """Highest memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(folder: str, first: int, count: int, given: list[bytes]) -> None:
    """Load `count` mutated files and report."""
    path, files, read, slowest = Path(folder, "mutated"), given or seeds(), 0, 0.0
    before = peak_mb()
    for seed in range(first, first + count):
        path.write_bytes(mutated(seed, files))
        started = time.process_time()
        try:
            wave, rate = features.load(path)
            read += 1
            assert len(wave) and rate == 16000 and np.isfinite(wave).all(), f"seed {seed}"
            said = features.info(path)
            with features.blocks(path) as blocks:
                n = sum(map(len, blocks))
            wanted = features.resampling.resampled_length(said.n_samples, said.sampling_rate, rate)
            assert n == blocks.n_samples == len(wave) == wanted, f"seed {seed}: another length"
        except ValueError as error:
            assert "\n" not in str(error) and str(path) in str(error), f"seed {seed}: {error}"
        slowest = max(slowest, time.process_time() - started)
    print(f"RESULT {read} {count - read} {peak_mb() - before:.0f} {slowest:.2f}")


if __name__ == "__main__":
    given = [Path(name).read_bytes() for name in sys.argv[4:]]
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), given)
