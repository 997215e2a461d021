"""Analysis windows, float64 numpy (length,).

Symmetric windows end on the value they begin with (Kaldi); periodic ones are the symmetric window
of one more sample without its last (librosa, torch.stft, Whisper). Povey's is Hann to the power of
0.85: it goes to zero at the edges and is close to Hamming in between (Kaldi
feat/feature-window.cc).
"""

import numpy as np

WINDOWS = ("povey", "hann", "hamming", "blackman", "rectangular")


def window(name: str, length: int, periodic: bool = False) -> np.ndarray:
    """The window `name` of `length` samples, float64."""
    assert name in WINDOWS, name
    steps = length if periodic else max(length - 1, 1)
    angle = 2 * np.pi * np.arange(length) / steps
    if name == "rectangular":
        return np.ones(length)
    if name == "hamming":
        return 0.54 - 0.46 * np.cos(angle)
    if name == "blackman":
        return 0.42 - 0.5 * np.cos(angle) + 0.08 * np.cos(2 * angle)
    hann = 0.5 - 0.5 * np.cos(angle)
    return hann**0.85 if name == "povey" else hann
