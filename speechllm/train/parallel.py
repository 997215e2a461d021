"""Several processes, one training: batches shared out, sums over all, gradients in one message.

A step takes `gradient_accumulation` batches. Where that is a multiple of the number of processes,
each takes whole batches; else each batch is shared out by its rows. Either way the examples of a
step, and its loss over their global count, are those of a single process.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from accelerate.utils import gather_object

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

    def union(self, values: list[str]) -> list[str]:
        """Return what any process holds, each once."""
        return [*dict.fromkeys(gather_object(values))]

    def sum_gradients(self, parameters: list) -> None:
        """Sum gradients over processes, in one message.

        What has one in no process (the encoder, where all batches are text) stays without, so that
        the optimiser passes it by as it does in a single process.
        """
        if self.size == 1:
            return
        # one flat message of all gradients, and behind them, for each parameter, 1 where it has
        # one: two processes with gradients (a, none) and (c, none) send a 0 1 0 and c 0 1 0
        has = torch.tensor([p.grad is not None for p in parameters], device=parameters[0].device)
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([*(grad.flatten() for grad in grads), has.to(grads[0].dtype)])
        *totals, has = self.accelerator.reduce(flat, "sum").split(
            [*(p.numel() for p in parameters), len(parameters)]
        )
        for p, total, n in zip(parameters, totals, has.tolist(), strict=True):
            p.grad = total.view_as(p).to(p.dtype, copy=True) if n else None

    def mean_buffers(self, module: torch.nn.Module) -> None:
        """Give all processes the mean of their running statistics (BatchNorm).

        These are moving averages, so that it does not matter how often, but for rounding.
        """
        if self.size == 1:
            return
        for buffer in module.buffers():
            if buffer.is_floating_point():
                buffer.copy_(self.accelerator.reduce(buffer, "mean"))
