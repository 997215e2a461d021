"""Which sounds are computed together: of like lengths, the longest first."""

from collections.abc import Iterable, Sequence


def groups(lengths: Sequence[float], max_batch_s: float) -> list[list[int]]:
    """Put sounds of like lengths together, the longest first: number times longest is bounded."""
    return filled(sorted(range(len(lengths)), key=lambda i: -lengths[i]), lengths, max_batch_s)


def filled(order: Iterable[int], costs: Sequence[float], most: float) -> list[list[int]]:
    """Fill batches of an order, longest first: number times the first's cost stays below."""
    batches: list[list[int]] = []
    for i in order:
        if batches and costs[batches[-1][0]] * (len(batches[-1]) + 1) <= most:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches
