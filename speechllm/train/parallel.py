"""How the processes of a training hold the model and let gradients meet: alone, DDP or FSDP2.

    alone   one process
    ddp     each has all weights; gradients are summed in buckets while the backward pass goes on
            (arXiv 2006.15704), in the last pass of a step alone
    fsdp    each has its part of every weight, gradient and moment; a layer's weights are gathered
            while it runs (arXiv 2304.11277; torch's `fully_shard`, one unit a layer)

No other file knows, but for `sharded.py`, which holds the third. A loss comes divided by its global
count, so gradients are summed, never averaged. They are those of one process, also of what only
some processes use; what none uses gets none, so that the optimiser passes it by.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn

from speechllm.data.batch import Batch
from speechllm.ranges import Positive
from speechllm.train.group import Group
from speechllm.train.phases import Learner

KINDS = ("ddp", "fsdp")
Taken = list[tuple[int, Batch]]  # batches of a step, with their numbers
Work = Callable  # learner -> (loss, values that are kept)


@dataclass(frozen=True)
class Config:
    """A preset's [parallel]: how several processes train; none of it changes what is learned.

    kind: "ddp" or "fsdp". offload: weights wait in the CPU's memory (fsdp). bucket_mb: of gradients
    that are sent at once (ddp).
    """

    kind: str = "ddp"
    offload: bool = False
    bucket_mb: Positive = 25

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"kind: wanted 'ddp' or 'fsdp', got {self.kind!r}")

    def begin(self, group: Group, learner: Learner, learning: dict) -> "Alone":
        """Bring a learner that has begun its phase, and what learns, under the engine."""
        from speechllm.train.sharded import FSDP

        engines = {"ddp": DDP, "fsdp": FSDP}
        engine = Alone if group.size == 1 else engines[self.kind]
        return engine(self, group, learner, learning)


class Alone:
    """One process: what an engine does where there is nothing to share.

    Attributes:
        learner: the model and its objectives.
        learning: what learns, by name.
        together: whether all processes must run the same, in validation too.
    """

    together = False

    def __init__(self, config: Config, group: Group, learner: Learner, learning: dict):
        self.config, self.group = config, group
        self.learner, self.learning = learner, learning

    def passes(self, taken: Taken) -> list[tuple[int, Batch | None, bool]]:
        """List a step's passes: (number, batch, whether it counts); the last one may be empty."""
        return [(number, batch, True) for number, batch in taken]

    def rounds(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, bool]]:
        """Yield batches of a validation, and whether they count."""
        for batch in batches:
            yield batch, True

    def all(self, yes: bool) -> bool:
        """Say whether it is so in all processes that must do the same."""
        return yes

    def run(self, work: Work):
        """Return `work(learner)`, the weights being there to be read."""
        return work(self.learner)

    def backward(self, work: Work, counts: bool, last: bool):
        """Do a pass, `work(learner)` -> (loss, values), and the one back; return the values."""
        loss, values = work(self.learner)
        if loss.requires_grad:  # not where no objective is for such a batch: CTC and text
            loss.backward()
        return values

    def sum(self, stepped: dict[str, nn.Parameter]) -> None:
        """Sum what gradients have not met yet, after the passes of a step."""

    def clip(self, parameters: list, largest: float) -> float:
        """Clip gradients to a norm over all of them; return what it was."""
        return nn.utils.clip_grad_norm_(parameters, largest).item()

    def part(self, value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """Return this process's part of a whole value, as it has its part of `like`."""
        return value.to(like.device, copy=True)

    def end(self) -> Learner:
        """Return the learner as it was before the engine had it, with what it has learned."""
        return self.learner


class Root(nn.Module):
    """What the engines wrap: a pass through it is whatever work the learner is given.

    anchor: takes part in each pass, so that a process without a batch has one to send. With it
    comes one that never does: DDP warns where it looks for such and finds none.
    """

    def __init__(self, learner: Learner, anchor: bool):
        super().__init__()
        self.learner = learner
        self.anchor = nn.Parameter(torch.zeros(1)) if anchor else None
        self.idle = nn.Parameter(torch.zeros(1)) if anchor else None

    def forward(self, work: Work):
        """Return what the work returns."""
        if self.anchor is None:
            return work(self.learner)
        loss, values = work(self.learner)
        return loss + 0 * self.anchor.sum(), values


class DDP(Alone):
    """torch's DistributedDataParallel, its buckets summed and not averaged.

    `find_unused_parameters`, for a batch of text in one process and of sound in another. It also
    keeps the buckets as they are first cut, so that a resumed run sums in the same order as one
    that was not interrupted: to the bit. Weights of 16 bits learn by masters whose gradients are
    summed in float32, after the last pass and in one message: the buckets would be of 16 bits.
    """

    def __init__(self, config: Config, group: Group, learner: Learner, learning: dict):
        super().__init__(config, group, learner, learning)
        place = group.accelerator.device
        root = Root(learner, anchor=True).to(place)
        mastered = {id(p) for p in learning.values() if p.element_size() < 4}
        apart = [name for name, p in root.named_parameters() if id(p) in mastered]
        kind = nn.parallel.DistributedDataParallel
        buffers = [name for name, _ in root.named_buffers()]  # `Statistics` has those that move
        kind._set_params_and_buffers_to_ignore_for_model(root, apart + buffers)
        self.root = kind(
            root,
            device_ids=None if place.type == "cpu" else [place],
            bucket_cap_mb=config.bucket_mb,
            find_unused_parameters=True,
            gradient_as_bucket_view=True,
            init_sync=False,  # all have made or read the same
        )
        self.root.register_comm_hook(None, _summed)
        self.apart = apart

    def passes(self, taken: Taken) -> list[tuple[int, Batch | None, bool]]:
        """List a step's passes; a process without a batch has an empty one, to meet the others."""
        return super().passes(taken) or [(-1, None, True)]

    def backward(self, work: Work, counts: bool, last: bool):
        """Do a pass and the one back; gradients meet in the last of a step."""
        with contextlib.nullcontext() if last else self.root.no_sync():
            loss, values = self.root(work)
            loss.backward()
        return values

    def sum(self, stepped: dict[str, nn.Parameter]) -> None:
        """Sum the gradients of masters."""
        self.root.module.anchor.grad = None
        names = (name.removeprefix("learner.").removeprefix("model.") for name in self.apart)
        sum_at_once([stepped[name] for name in names])


def _summed(_, bucket) -> torch.futures.Future[torch.Tensor]:
    """Sum a bucket over processes."""
    work = dist.all_reduce(bucket.buffer(), async_op=True)
    return work.get_future().then(lambda done: done.value()[0])


def sum_at_once(parameters: list[nn.Parameter]) -> None:
    """Sum gradients over processes in one message; what has one in no process stays without."""
    if not parameters:
        return
    # behind all gradients, for each parameter, 1 where it has one: two processes with gradients
    # (a, none) and (c, none) send a 0 1 0 and c 0 1 0
    has = torch.tensor([p.grad is not None for p in parameters], device=parameters[0].device)
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flat = torch.cat([*(grad.flatten() for grad in grads), has.to(grads[0].dtype)])
    dist.all_reduce(flat)
    *totals, has = flat.split([*(p.numel() for p in parameters), len(parameters)])
    for p, total, n in zip(parameters, totals, has.tolist(), strict=True):
        p.grad = total.view_as(p).to(p.dtype, copy=True) if n else None
