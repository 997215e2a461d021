"""Which sounds are computed together: of like lengths, the longest first."""

from collections.abc import Sequence


def groups(lengths: Sequence[float], max_batch_s: float) -> list[list[int]]:
    """Put sounds of like lengths together, the longest first: number times longest is bounded."""
    found: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if found and lengths[found[-1][0]] * (len(found[-1]) + 1) <= max_batch_s:
            found[-1].append(i)
        else:
            found.append([i])
    return found
