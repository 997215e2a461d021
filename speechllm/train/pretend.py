"""A pass of a model whose numbers are nowhere: how many bytes it would hold at its highest point.

The real code runs at full size, forward and back, on tensors that have shapes alone (torch's
FakeTensor); what stands in a batch, ids, lengths and slots, keeps its numbers, so that what the
code decides by them it decides as ever. Each tensor made on the way is counted as long as it lives
(`footprint.Live`): scores of attention where a family keeps them, activations, logits, what
autocast and the backward pass make. Kernels' own scratch memory and the allocator's waste are not.
"""

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch._subclasses import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from speechllm.models.footprint import Live

OPS = torch.ops.aten
CPU = torch.device("cpu")


def peak(learner: nn.Module, work: Callable, bf16: bool) -> int | None:
    """Count the bytes that a pass makes, weights and gradients apart; None where nobody can tell.

    Args:
        learner: on any device, the meta device too; given back as it was.
        work: `work()` gives losses, made of the learner on a batch.
        bf16: whether the pass runs under autocast.

    Nobody can tell where the code asks for numbers that are nowhere, such as which steps a CTC head
    finds blank.
    """
    pretend = _Pretend()
    with pretend.weights(learner):
        try:
            with pretend, Live() as live, torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                loss = sum(work())
                if loss.requires_grad:
                    loss.backward()
                return live.peak
        except RuntimeError:  # of many kinds: FakeTensor's own, and what operators say
            return None


class _Pretend(TorchDispatchMode):
    """Runs what has real tensors alone for real, and anything else by shapes."""

    def __init__(self):
        super().__init__()
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Call an operator."""
        kwargs = kwargs or {}
        if not any(isinstance(one, FakeTensor) for one in tree_leaves((args, kwargs))):
            return func(*args, **kwargs)
        if func is OPS._ctc_loss.Tensor:  # its lengths are real: shapes are known
            scores, targets, _, sizes = args[:4]
            steps, rows, _ = scores.shape
            return scores.new_empty(rows), scores.new_empty(rows, steps, 2 * int(sizes.max()) + 1)
        if func is OPS._ctc_loss_backward.Tensor:
            return torch.empty_like(args[1])
        if func.overloadpacket in (OPS.index, OPS.index_put, OPS.index_put_, OPS._index_put_impl_):
            args = (args[0], _counted(args[1]), *args[2:])
        with self.fake:
            return func(*args, **kwargs)

    def of(self, tensor: torch.Tensor) -> FakeTensor:
        """A tensor's shape and type."""
        return FakeTensor(self.fake, tensor.detach().to("meta"), CPU)

    @contextlib.contextmanager
    def weights(self, root: nn.Module) -> Iterator[None]:
        """Have a module without the numbers of its weights; what learns has a gradient already."""
        before = [(m, dict(m._parameters), dict(m._buffers)) for m in root.modules()]
        new: dict[int, nn.Parameter] = {}
        try:
            for module, parameters, buffers in before:
                for name, p in parameters.items():
                    if p is not None:
                        if id(p) not in new:
                            new[id(p)] = nn.Parameter(self.of(p), p.requires_grad)
                            new[id(p)].grad = self.of(p) if p.requires_grad else None
                        module._parameters[name] = new[id(p)]
                for name, b in buffers.items():
                    if b is not None and (b.is_meta or b.is_floating_point()):
                        module._buffers[name] = self.of(b)
            yield
        finally:
            for module, parameters, buffers in before:
                module._parameters.update(parameters)
                module._buffers.update(buffers)


def _counted(places: list) -> list:
    """Indices with masks that are real as the numbers that they mean."""
    counted = []
    for place in places:
        real = isinstance(place, torch.Tensor) and not isinstance(place, FakeTensor)
        mask = real and place.dtype in (torch.bool, torch.uint8)
        counted += place.nonzero().unbind(1) if mask else [place]
    return counted
