"""Channels of decoded blocks: mixed, one of them, or all; and blocks put together."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# Where the channels of WAV's order (left, right, centre, LFE, back, side) stand in these codecs,
# which libsndfile leaves as they are: Vorbis I 4.3.9 (Opus: RFC 7845 5.1.1.2), and Apple's ALAC.
VORBIS = {3: (0, 2, 1), 5: (0, 2, 1, 3, 4), 6: (0, 2, 1, 5, 3, 4), 7: (0, 2, 1, 6, 5, 3, 4),
          8: (0, 2, 1, 7, 5, 6, 3, 4)}  # fmt: skip
ALAC = {3: (1, 2, 0), 4: (1, 2, 0, 3), 5: (1, 2, 0, 3, 4), 6: (1, 2, 0, 5, 3, 4),
        7: (1, 2, 0, 6, 3, 4, 5), 8: (3, 4, 0, 7, 5, 6, 1, 2)}  # fmt: skip


def order(subtype: str, channels: int) -> list[int] | None:
    """Columns of a decoded block in WAV's order of channels; None where they stand so."""
    table = ALAC if subtype.startswith("ALAC") else VORBIS if subtype in ("VORBIS", "OPUS") else {}
    return list(table[channels]) if channels in table else None


def chooser(sound, mono: bool, channel: int | None) -> Callable[[np.ndarray], np.ndarray]:
    """What makes (1 or C, N) of a decoded block (N, C)."""
    if channel is None:
        return _mix if mono else np.transpose
    if not 0 <= channel < sound.channels:
        raise ValueError(
            f"{sound.name}: wanted channel {channel}, it has {sound.channels} (the first is 0); "
            "give one that it has"
        )
    return lambda block: block[:, channel].reshape(1, -1).copy()


def joined(pieces: list[np.ndarray]) -> np.ndarray:
    """Blocks (C, n) as one (C, N), each freed once it is copied."""
    if len(pieces) == 1:
        return pieces[0]
    wave = np.empty((len(pieces[0]), sum(piece.shape[1] for piece in pieces)), np.float32)
    at, pieces = 0, pieces[::-1]
    while pieces:
        piece = pieces.pop()
        wave[:, at : at + piece.shape[1]] = piece
        at += piece.shape[1]
    return wave


def _mix(block: np.ndarray) -> np.ndarray:
    """(N, C) to its mean (1, N); adding columns is ten times faster than mean(axis=1)."""
    channels = block.shape[1]
    if channels == 1:
        return block.reshape(1, -1)
    total = block[:, 0].copy()
    for c in range(1, channels):
        total += block[:, c]
    return (total / np.float32(channels)).reshape(1, -1)
