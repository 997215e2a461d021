"""What each source of a mixture brought to a step: examples, seconds, loss; and what it did not."""

import torch

from speechllm.data.batch import Batch

Pair = tuple[torch.Tensor, torch.Tensor]


class SourceSums:
    """Sums by source: [examples, seconds, then (loss, targets) of each objective].

    Args:
        sources: their names.
        weights: each objective's weight, by its name.
    """

    def __init__(self, sources: list[str], weights: dict[str, float]):
        self.sources, self.weights = sources, weights
        self.sums = [[0.0] * (2 + 2 * len(weights)) for _ in sources]

    def add(self, source: int, batch: Batch, pairs: dict[str, Pair]) -> None:
        """Count one batch and its losses (sum, count)."""
        pairs_flat = [float(value.detach()) for name in self.weights for value in pairs[name]]
        values = [len(batch.names), batch.seconds, *pairs_flat]
        self.sums[source] = [a + b for a, b in zip(self.sums[source], values, strict=True)]

    def report(self, total) -> dict[str, dict[str, float]]:
        """Return {source: {"examples", "seconds", "loss"}}; `total` sums over processes."""
        width = len(self.sums[0])
        flat = total([value for sums in self.sums for value in sums])
        rows = [flat[i : i + width] for i in range(0, len(flat), width)]
        sources = {}
        for name, (examples, seconds, *pairs) in zip(self.sources, rows, strict=True):
            sources[name] = {"examples": int(examples), "seconds": round(seconds, 2)}
            if examples:
                means = zip(pairs[::2], pairs[1::2], self.weights.values(), strict=True)
                sources[name]["loss"] = sum(w * s / max(n, 1) for s, n, w in means)
        return sources


def count_left_out(batches: list[Batch], objectives, counts: dict[str, int], total, say) -> None:
    """Add to `counts` how many targets each objective leaves out; name the first there is.

    Args:
        batches: of this process, of one step.
        objectives: by name; one that may leave something out has `left_out(batch) -> names`.
        counts: by objective, of the phase so far.
        total: sums numbers over all processes.
        say: prints a line.
    """
    for name, objective in objectives.items():
        if not hasattr(objective, "left_out"):
            continue
        own = [one for batch in batches for one in objective.left_out(batch)]
        if own and name not in counts:
            say(
                f"  {name}: {own[0]} has more target tokens than steps (so have {len(own) - 1} "
                "more of this step): left out of loss and count"
            )
        if number := int(total([len(own)])[0]):
            counts[name] = counts.get(name, 0) + number
