"""Sounds that a tiny model says something of."""

import io

import numpy as np
import soundfile

RATE = 16000
TOKEN = "a-token-of-enough-letters"


def talk(*tones: tuple[float, float, float], seconds: float) -> np.ndarray:
    """Make tones (start, end, Hz) in near silence: to "energy" that is speech."""
    wave = 1e-4 * np.random.default_rng(0).standard_normal(round(seconds * RATE))
    for start, end, hz in tones:
        a, b = round(start * RATE), round(end * RATE)
        wave[a:b] = 0.1 * np.sin(2 * np.pi * hz * np.arange(b - a) / RATE)
    return wave.astype(np.float32)


def sound(*tones: tuple[float, float, float], seconds: float, kind: str = "WAV") -> bytes:
    """Make a file of `talk`."""
    file = io.BytesIO()
    soundfile.write(file, talk(*tones, seconds=seconds), RATE, format=kind)
    return file.getvalue()


LONG = [(i * 5 + 1, i * 5 + 3 + i % 2, (300, 900, 2500)[i % 3]) for i in range(8)]
