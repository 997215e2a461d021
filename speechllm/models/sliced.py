"""Cross entropy over a large vocabulary, slice by slice, with its gradient at once.

Logits of 200 answer tokens over Gemma's 262,144 pieces are 200 MB in float32, and cross entropy
makes three of that size. Here a slice of tokens has its logits, its loss and its gradient before
the next begins, so that no more than a slice is ever there (arXiv 2410.10989, 2411.09009); the
backward pass only scales. What is computed is what `cross_entropy(logits.float())` computes.

N tokens, H width of the LLM, V vocabulary.
"""

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from speechllm.models import lora
from speechllm.models.llm import beside

SLICE = 2**26  # logits of a slice: 128 MB in 16 bits; products of fewer rows are slower
WIDE = 2**19  # of these in float32 at a time, on a CPU: what its cache holds


def cross_entropy(
    hidden: torch.Tensor, head: nn.Linear, targets: torch.Tensor, smoothing: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum of negative log-likelihoods (nats), and how many targets are the most probable.

    Args:
        hidden: (N, H), what the head reads.
        head: gives logits (N, V).
        targets: (N,).
        smoothing: label smoothing, 0 to 1.
    """
    dtype = head.weight.dtype
    if torch.is_autocast_enabled(hidden.device.type):
        dtype = torch.get_autocast_dtype(hidden.device.type)
    bias = None if head.bias is None else head.bias.to(dtype)
    learns = torch.is_grad_enabled()
    with torch.autocast(hidden.device.type, enabled=False):
        return _CrossEntropy.apply(
            hidden.to(dtype), head.weight.to(dtype), bias, targets, smoothing, learns
        )


class _CrossEntropy(torch.autograd.Function):
    """See `cross_entropy`."""

    @staticmethod
    def forward(ctx, hidden, weight, bias, targets, smoothing, learns):
        learns = [learns and wanted for wanted in ctx.needs_input_grad[:3]]
        kept = (hidden, weight, bias)
        grads = [torch.zeros_like(t) if on else None for t, on in zip(kept, learns, strict=True)]
        loss, right = torch.zeros((), device=hidden.device), targets.new_zeros(())
        rows = max(SLICE // len(weight), 1)
        for begin in range(0, len(targets), rows):
            end = min(begin + rows, len(targets))
            x = hidden[begin:end]
            logits = nn.functional.linear(x, weight, bias)
            lost, hits = _turn(logits, targets[begin:end], smoothing)
            loss, right = loss + lost, right + hits
            if grads[0] is not None:
                torch.mm(logits, weight, out=grads[0][begin:end])
            if grads[1] is not None:
                grads[1].addmm_(logits.T, x)
            if grads[2] is not None:
                grads[2].add_(logits.sum(0))
        ctx.save_for_backward(*grads)
        ctx.mark_non_differentiable(right)
        return loss, right

    @staticmethod
    @once_differentiable
    def backward(ctx, grad, _):
        hidden, weight, bias = (None if g is None else g * grad for g in ctx.saved_tensors)
        return hidden, weight, bias, None, None, None


def _turn(logits, targets, smoothing: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn logits (n, V), in place, into the gradient of their loss; give the loss, and hits."""
    size = logits.shape[1]
    rows = max(WIDE // size, 1) if logits.device.type == "cpu" else len(logits)
    loss = torch.zeros((), device=logits.device)
    hits = targets.new_zeros(())
    for some, wanted in zip(logits.split(rows), targets[:, None].split(rows), strict=True):
        most, best = some.max(1, keepdim=True)
        share = some.softmax(1, dtype=torch.float32)
        # the largest share is at least 1 / V: its logarithm is exact where the target's may be -inf
        whole = most.float() - share.gather(1, best).log()
        loss += (whole - (1 - smoothing) * some.gather(1, wanted).float()).sum()
        if smoothing:
            loss -= smoothing / size * some.sum(dtype=torch.float32)
            share -= smoothing / size
        hits += (best == wanted).sum()
        share.scatter_add_(1, wanted, torch.full_like(whole, smoothing - 1))
        some.copy_(share)
    return loss, hits


def fits(llm: nn.Module) -> bool:
    """Say whether an LLM's logits are what its output layer makes of its last states, no more.

    Some families scale or cap logits afterwards, and LoRA may stand in the output layer. What is
    so is found out once.
    """
    if "sliced" not in llm.__dict__:
        llm.__dict__["sliced"] = type(llm.get_output_embeddings()) is nn.Linear and _bare(llm)
    return llm.__dict__["sliced"]


def _bare(llm: nn.Module) -> bool:
    """Give the output layer's place to large numbers: does the LLM answer with just these?"""
    head, read = llm.get_output_embeddings(), []
    ids = torch.arange(2, device=head.weight.device)[None]
    large = torch.linspace(-1e3, 1e3, head.out_features, device=head.weight.device)

    def instead(_, args, out):
        read.append(args[0])
        return large.to(out.dtype).expand(out.shape)

    handle = head.register_forward_hook(instead)
    try:
        with lora.untouched(llm):
            inputs = {"inputs_embeds": llm.get_input_embeddings()(ids), **beside(llm, ids)}
            logits = llm(**inputs, use_cache=False).logits
            states = getattr(llm.base_model(**inputs, use_cache=False), "last_hidden_state", None)
    finally:
        handle.remove()
    same = states is not None and states.shape == read[0].shape and torch.equal(states, read[0])
    return same and torch.equal(logits, large.to(logits.dtype).expand(logits.shape))
