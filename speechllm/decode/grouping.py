"""Which sounds are computed together: of like lengths, the longest first."""

from collections.abc import Callable, Iterable, Iterator, Sequence


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


def tried(
    hear: Callable[[list[int]], list], batches: Iterable[list[int]]
) -> Iterator[tuple[int, object]]:
    """Yield (number, what is heard of it) batch by batch; the ValueError of what is refused."""
    for numbers in batches:
        try:
            yield from zip(numbers, hear(numbers), strict=True)
        except ValueError as error:
            if len(numbers) == 1:
                yield numbers[0], error
            else:
                yield from tried(hear, [[number] for number in numbers])
