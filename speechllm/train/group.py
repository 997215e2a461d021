"""Several processes, one training: batches shared out, sums over all, one set of statistics.

A step takes `gradient_accumulation` batches. Where that is a multiple of the number of processes,
each takes whole batches; else each batch is shared out by its rows. Either way the examples of a
step, and its loss over their global count, are those of a single process. How gradients meet is
the matter of `parallel.py`.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from accelerate.utils import gather_object
from torch import nn

from speechllm.data.sampler import Order


@dataclass(frozen=True)
class Group:
    """The processes of a training, through `accelerate`.

    Args:
        accelerator: of this process (accelerate.Accelerator).
    """

    accelerator: object

    @property
    def size(self) -> int:
        """Number of processes."""
        return self.accelerator.num_processes

    @property
    def rank(self) -> int:
        """Number of this process, from 0."""
        return self.accelerator.process_index

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.accelerator.is_main_process

    def splits(self, accumulation: int) -> bool:
        """Say whether each batch is shared out by its rows."""
        return accumulation % self.size != 0

    def share(self, accumulation: int) -> int:
        """Number of batches, or parts of batches, that this process does in a step."""
        return accumulation if self.splits(accumulation) else accumulation // self.size

    def seeds(self, accumulation: int) -> tuple[int, ...]:
        """What a batch's seed has besides its number: parts of one batch draw each their own."""
        return (self.rank,) if self.splits(accumulation) else ()

    def keys(self, order: Order, step: int, accumulation: int) -> Iterator[tuple]:
        """Yield this process's batches (number, epoch, indices) from optimiser step `step` on.

        Example: two processes and an accumulation of 2 do batches 0, 2, 4, ... and 1, 3, 5, ...;
        with an accumulation of 1, both do batch 0: one its rows 0, 2, 4, ..., one 1, 3, 5, ...
        """
        first = step * accumulation
        if not self.splits(accumulation):
            yield from order.batches(first + self.rank, self.size)
            return
        for number, epoch, indices in order.batches(first, 1):
            yield number, epoch, indices[self.rank :: self.size]

    def total(self, values: list[float]) -> list[float]:
        """Sum numbers over all processes."""
        if self.size == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64, device=self.accelerator.device)
        return self.accelerator.reduce(tensor, "sum").tolist()

    def agree(self, facts: dict[str, str]) -> None:
        """Refuse to train with processes that have something else.

        Args:
            facts: digests by what they are of.

        Raises:
            ValueError: names the first process that differs from the first, and in what.
        """
        everyone = gather_object([facts]) if self.size > 1 else [facts]
        first = everyone[0]
        for rank, own in enumerate(everyone):
            other = sorted(k for k in first.keys() | own.keys() if first.get(k) != own.get(k))
            if other:
                raise ValueError(
                    f"process {rank} has another {', '.join(other)} than process 0: all want the "
                    "same files and versions"
                )

    def union(self, values: list[str]) -> list[str]:
        """Return what any process holds, each once."""
        return [*dict.fromkeys(gather_object(values))]


class Statistics:
    """Running statistics of BatchNorm, those of a single process whichever process saw a batch.

    A training BatchNorm moves its mean and variance by each batch: r -> (1 - m) r + m s. What a
    batch adds does not depend on r, so each process notes what its own batches add to zero, and
    after the step all replay everyone's, in the order of the batches. Where a batch is shared out
    by its rows each part has statistics of its own; their mean is taken.

    Args:
        group: the processes.
        module: whose layers in training mode are meant.
    """

    KEPT = ("running_mean", "running_var")

    def __init__(self, group: Group, module: nn.Module):
        kind = nn.modules.batchnorm._BatchNorm
        norms = [m for m in module.modules() if isinstance(m, kind) and m.training]
        several = group.size > 1
        self.norms = [m for m in norms if several and m.running_mean is not None]
        self.added: dict[int, list] = {}  # by the number of a batch: (mean, var, updates) a layer
        self.before = [self._held(norm) for norm in self.norms]

    def _held(self, norm: nn.Module) -> tuple[torch.Tensor, torch.Tensor, int]:
        mean, var = (getattr(norm, name).clone() for name in self.KEPT)
        return mean, var, int(norm.num_batches_tracked)

    @contextlib.contextmanager
    def of(self, number: int) -> Iterator[None]:
        """Note what a pass over the batch of this number adds."""
        for norm in self.norms:
            for name in self.KEPT:
                getattr(norm, name).zero_()
            norm.num_batches_tracked.zero_()
        yield
        self.added[number] = [self._held(norm) for norm in self.norms]

    @torch.no_grad()
    def replay(self) -> None:
        """Give all processes the statistics after the step."""
        if not self.norms:
            return
        by_batch: dict[int, list] = {}
        for own in gather_object([self.added]):
            for number, added in own.items():
                by_batch.setdefault(number, []).append(added)
        for place, (norm, (mean, var, n)) in enumerate(zip(self.norms, self.before, strict=True)):
            for number in sorted(by_batch):
                parts = [added[place] for added in by_batch[number] if added[place][2]]
                if parts:
                    decay = (1 - norm.momentum) ** parts[0][2]
                    mean, var = (
                        decay * r + torch.stack([part[i].to(r) for part in parts]).mean(0)
                        for i, r in enumerate((mean, var))
                    )
                    n += parts[0][2]
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(var)
            norm.num_batches_tracked.fill_(n)
