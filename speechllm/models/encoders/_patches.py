"""Encoders that read a spectrogram in patches: which states stand for a column of time.

A column is P frames wide and has R patches, one above the other. `patches = "all"` gives R states a
column, the lowest frequencies first; "mean" gives one, their mean.
"""

KINDS = ("all", "mean")
FRONT = "Kaldi's fbank, normalised; see the front ends"  # what such encoders read


def check(kind: str) -> None:
    """Refuse a word that means nothing.

    Raises:
        ValueError: neither "all" nor "mean".
    """
    if kind not in KINDS:
        raise ValueError(f"patches must be 'all' or 'mean', got {kind!r}")


def columns(n, patch: int, stride: int):
    """Give the number of columns that lie within n frames; n may be a tensor of lengths."""
    return ((n - patch) // stride + 1) * (n >= patch)


def states(x, kind: str):
    """Turn x (B, columns, R, D) into states (B, L, D)."""
    return x.mean(2) if kind == "mean" else x.flatten(1, 2)
