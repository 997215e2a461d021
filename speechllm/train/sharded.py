"""FSDP2: each process holds its part of every weight, gradient and moment (see `parallel.py`)."""

import copy
from collections.abc import Iterable, Iterator

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from speechllm.data.batch import Batch
from speechllm.train.group import Group
from speechllm.train.parallel import Alone, Config, Root, Taken, Work, sum_at_once
from speechllm.train.phases import Learner


class FSDP(Alone):
    """torch's FSDP2: each layer of the LLM and of the fusion a unit, each encoder one, the rest.

    A unit is gathered where it runs, so all processes must run the same units in the same order:
    `passes` sees to it. Gradients are summed in float32 after each pass, each process keeping its
    part. What a unit cannot hold stays whole in each process and is summed at once: numbers without
    a dimension, and of what learns in a unit the smaller part, where two types of numbers do.
    """

    together = True

    def __init__(self, config: Config, group: Group, learner: Learner, learning: dict):
        super().__init__(config, group, learner, learning)
        place = group.accelerator.device
        self.bare = _bare(learner)
        root = Root(learner.to(place), anchor=False)
        every = [*units(learner.model), root]
        self.apart = [name for name, p in learning.items() if id(p) in _apart(every)]
        self._shard(every, place.type)
        self.root, named = root, learner.named()
        self.learning = {name: named[name] for name in learning}

    def _shard(self, every: list[nn.Module], device: str) -> None:
        options = {
            "mesh": init_device_mesh(device, (self.group.size,)),
            "mp_policy": MixedPrecisionPolicy(
                reduce_dtype=torch.float32, cast_forward_inputs=False
            ),
        }
        if self.config.offload and device != "cpu":
            options["offload_policy"] = CPUOffloadPolicy()
        ids = _apart(every)
        options["ignored_params"] = {p for p in every[-1].parameters() if id(p) in ids}
        whole = {id(one.encoder) for one in self.learner.model.branches.values()}
        for unit in every:
            # an encoder may run more than once a pass, and not as often in each process
            kept = {"reshard_after_forward": False} if id(unit) in whole else {}
            fully_shard(unit, **options, **kept)
            unit.set_gradient_divide_factor(1.0)
            unit.set_force_sum_reduction_for_comms(True)
        # gathered once now: what learns is noted then, and a LoRA may be off in the first pass
        for unit in reversed(every):
            unit.unshard()
            unit.reshard()
        self.units = every

    def passes(self, taken: Taken) -> list[tuple[int, Batch | None, bool]]:
        """List a step's passes, alike in all processes: of what others have, with a loss of 0."""
        # process 0 has (sound, text), process 1 (sound): both do a pass of sound, then one of text,
        # process 1 with the batch of process 0, which does not count
        kinds = self._gathered([_kind(batch) for _, batch in taken])
        passes = []
        for place in range(max(map(len, kinds))):
            there = [own[place] if place < len(own) else "" for own in kinds]
            for kind in sorted({*there} - {""}):
                own = taken[place] if there[self.group.rank] == kind else None
                lent = self._lent(own and own[1], there, kind)
                passes.append((*own, True) if own else (-1, lent, False))
        return passes

    def _gathered(self, value) -> list:
        values = [None] * self.group.size
        dist.all_gather_object(values, value)
        return values

    def _lent(self, own: Batch | None, there: list[str], kind: str) -> Batch | None:
        """Give a batch of this kind to the processes that have none, from the first that has."""
        if {*there} == {kind}:
            return own
        box = [own and own.to("cpu")]
        dist.broadcast_object_list(box, src=there.index(kind))
        return box[0].to(self.group.accelerator.device)

    def rounds(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, bool]]:
        """Yield batches of a validation, alike in all processes, until none has any left."""
        source = iter(batches)
        while True:
            batch = next(source, None)
            passes = self.passes([] if batch is None else [(0, batch)])
            if not passes:
                return
            yield from ((one, counts) for _, one, counts in passes)

    def all(self, yes: bool) -> bool:
        """Say whether it is so in all processes."""
        return self.group.total([float(yes)])[0] == self.group.size

    def run(self, work: Work):
        """Return `work(learner)`; all processes call it, with work that runs the same units."""
        result = self.root(work)
        for unit in self.units:
            unit.reshard()
        return result

    def backward(self, work: Work, counts: bool, last: bool):
        """Do a pass and the one back; parts of the gradients are summed on the way."""
        loss, values = self.root(work)
        if loss.requires_grad:  # in all processes or in none: passes are alike
            (loss if counts else 0 * loss).backward()
        return values

    def sum(self, stepped: dict[str, nn.Parameter]) -> None:
        """Sum what is whole in each process."""
        sum_at_once([stepped[name] for name in self.apart])

    def clip(self, parameters: list, largest: float) -> float:
        """Clip gradients to a norm over all of them and all their parts; return what it was."""
        parts = [p for p in parameters if isinstance(p, DTensor)]
        whole = [p for p in parameters if not isinstance(p, DTensor)]
        norms = [nn.utils.get_total_norm([p.grad for p in some]) for some in (parts, whole) if some]
        norms = [one.full_tensor() if isinstance(one, DTensor) else one for one in norms]
        norm = torch.stack(norms).norm()
        for some in (parts, whole):
            nn.utils.clip_grads_with_norm_(some, largest, norm)
        return norm.item()

    def part(self, value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """Return this process's part of a whole value, as it has its part of `like`."""
        value = value.to(like.device, copy=True)
        if not isinstance(like, DTensor):
            return value
        return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)

    def end(self) -> Learner:
        """Return a learner without the engine, with what it has learned, whole in each process."""
        values = {name: _whole(p.detach()) for name, p in self.learner.named_parameters()}
        new = {
            id(p): nn.Parameter(values[name], p.requires_grad)
            for name, p in self.bare.named_parameters()
        }
        for module in self.bare.modules():
            for name, p in module._parameters.items():
                module._parameters[name] = None if p is None else new[id(p)]
        now = dict(self.learner.named_buffers())
        for name, buffer in self.bare.named_buffers():
            buffer.copy_(now[name])
        return self.bare


def _bare(learner: Learner) -> Learner:
    """Copy a learner without its weights: `fully_shard` changes modules for good."""
    weights = {
        id(p): nn.Parameter(p.detach().to("meta"), p.requires_grad) for p in learner.parameters()
    }
    return copy.deepcopy(learner, weights)


def units(model: nn.Module) -> list[nn.Module]:
    """List what is gathered by itself: layers of LLM and fusion, encoders."""
    found = []
    for part in (one for one in (model.llm, model.fusion) if isinstance(one, nn.Module)):
        lists = [name for name, m in part.named_modules() if isinstance(m, nn.ModuleList)]
        outer = [n for n in lists if not any(n.startswith(f"{other}.") for other in lists)]
        found += [layer for name in outer for layer in part.get_submodule(name)]
    found += [branch.encoder for branch in model.branches.values()]
    return [unit for unit in found if next(unit.parameters(), None) is not None]


def _apart(units: list[nn.Module]) -> set[int]:
    """Choose what no unit can hold, by `id`; of nested units the inner ones come first."""
    seen, apart = set(), set()
    for unit in units:
        own = [p for p in unit.parameters() if id(p) not in seen]
        seen |= {id(p) for p in own}
        apart |= {id(p) for p in own if p.ndim == 0}
        sizes: dict[torch.dtype, int] = {}
        for p in own:
            if p.requires_grad:
                sizes[p.dtype] = sizes.get(p.dtype, 0) + p.numel()
        main = max(sizes, key=sizes.get, default=None)
        apart |= {id(p) for p in own if p.requires_grad and p.dtype != main}
    return apart


def _whole(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def _kind(batch: Batch) -> str:
    """Say what a pass over a batch runs: batches of one kind run the same."""
    words = "words" if batch.words is not None else ""
    return f"{sorted(batch.media)} {sorted(batch.encoded)} {batch.n_answers} {words}"
