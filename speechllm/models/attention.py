"""Attention in bfloat16 on a processor, as plain matrix products.

torch's fused attention there makes some 80 GFLOP/s of one thread, whose matrix products make 500;
scores of one row at a time fit the cache. So a row is two products and a softmax, and four products
more in the backward pass, which computes the scores again and so keeps none. Scores are rounded to
bfloat16, as they are in transformers' "eager". Everything else (float32, a GPU, long rows, dropout,
a bias in place of a mask) goes to transformers' "sdpa", by whose masks this goes.

B rows, H heads of queries, K of keys (each for G = H / K of queries), S queries, T keys, D width.
"""

import math

import torch
from torch import nn

NAME = "rows"  # what `_attn_implementation` calls it
MOST = 2**24  # scores of a row: 32 MB


def prefer(model: nn.Module) -> nn.Module:
    """Let the parts of a model that have transformers' "sdpa" attend so; others stay."""
    from transformers import PreTrainedModel

    for part in model.modules():
        if isinstance(part, PreTrainedModel) and part._supports_attention_backend:
            use(part.config)
    return model


def use(config) -> None:
    """Put this in the place of "sdpa" in a configuration of transformers."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    if config._attn_implementation == "sdpa":
        AttentionInterface.register(NAME, attend)
        AttentionMaskInterface.register(NAME, sdpa_mask)
        config._attn_implementation = NAME


def attend(module, query, key, value, attention_mask, dropout=0.0, scaling=None, **options):
    """Attend as transformers' interface has it: (B, H, S, D), (B, K, T, D) twice to (B, S, H, D).

    attention_mask (B or 1, 1, S, T): True where a query sees a key. None: all, or, where the
    module is causal and S is above 1, what lies behind it.
    """
    if dropout or not _fits(query, key, value, attention_mask, options):
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, **options
        )
    causal = options.get("is_causal")
    causal = getattr(module, "is_causal", True) if causal is None else causal
    size, keys = query.shape[2], key.shape[2]
    if attention_mask is None and causal and size > 1:
        ones = torch.ones(size, keys, dtype=torch.bool, device=query.device)
        attention_mask = ones.tril()[None, None]
    scale = query.shape[-1] ** -0.5 if scaling is None else float(scaling)
    return _attend(query, key, value, attention_mask, scale).transpose(1, 2), None


def _fits(query, key, value, mask, options: dict) -> bool:
    same = query.dtype == key.dtype == value.dtype == torch.bfloat16
    plain = options.get("softcap") is None and options.get("position_bias") is None
    plain = plain and options.get("cache") is None and not options.get("output_attentions")
    known = mask is None or (mask.dtype == torch.bool and mask.shape[1] == 1)
    short = query.shape[1] * query.shape[2] * key.shape[2] <= MOST
    return same and plain and known and short and query.device.type == "cpu"


# Two operators, so that torch.compile takes them as they are, loop over the rows and all.


@torch.library.custom_op("speechllm::attend", mutates_args=(), device_types="cpu")
def _attend(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None, scale: float
) -> torch.Tensor:
    """Attend; (B, H, S, D)."""
    out = q.new_empty(q.shape)
    hidden = _hidden(mask)
    for row in range(len(q)):
        shares = _shares(q[row], k[row], hidden, row, scale)
        torch.bmm(shares, v[row], out=out[row].view(len(v[row]), -1, v.shape[-1]))
    return out


@_attend.register_fake
def _(q, k, v, mask, scale):
    return q.new_empty(q.shape)


@torch.library.custom_op("speechllm::attend_backward", mutates_args=(), device_types="cpu")
def _attend_backward(
    grad: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: torch.Tensor | None,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Give the gradients of q, k, v."""
    grads = tuple(torch.empty_like(x, memory_format=torch.contiguous_format) for x in (q, k, v))
    hidden = _hidden(mask)
    for row in range(len(q)):
        shares = _shares(q[row], k[row], hidden, row, scale)
        queries, own = (_by_key(x[row], len(k[row])) for x in (q, grad))
        torch.bmm(shares.transpose(1, 2), own, out=grads[2][row])
        of_shares = torch.bmm(own, v[row].transpose(1, 2))
        scores = torch._softmax_backward_data(of_shares, shares, -1, q.dtype).mul_(scale)
        torch.bmm(scores, k[row], out=grads[0][row].view(queries.shape))
        torch.bmm(scores.transpose(1, 2), queries, out=grads[1][row])
    return grads


@_attend_backward.register_fake
def _(grad, q, k, v, mask, scale):
    return tuple(torch.empty_like(x, memory_format=torch.contiguous_format) for x in (q, k, v))


def _keep(ctx, inputs, output):
    q, k, v, mask, ctx.scale = inputs
    ctx.save_for_backward(q, k, v, mask)


def _backward(ctx, grad):
    q, k, v, mask = ctx.saved_tensors
    return *_attend_backward(grad, q, k, v, mask, ctx.scale), None, None


_attend.register_autograd(_backward, setup_context=_keep)


def _hidden(mask: torch.Tensor | None) -> torch.Tensor | None:
    """Give what is not seen, (B or 1, 1, S, T)."""
    return None if mask is None else ~mask


def _by_key(x: torch.Tensor, heads: int) -> torch.Tensor:
    """Stand the queries (H, S, D) of a head of keys one behind the other: (K, G * S, D)."""
    return x.reshape(heads, -1, x.shape[-1])


def _shares(q, k, hidden, row: int, scale: float) -> torch.Tensor:
    """Give the shares (K, G * S, T) of one row's queries (H, S, D) in its keys (K, T, D)."""
    queries = _by_key(q, len(k))
    exact = math.frexp(scale)[0] == 0.5  # a power of two: rounding is the same before and after
    scores = torch.bmm(queries * scale if exact else queries, k.transpose(1, 2))
    if not exact:
        scores.mul_(scale)
    if hidden is not None:
        own = hidden[row if len(hidden) > 1 else 0]
        size, keys = own.shape[-2:]
        scores.view(len(k), -1, size, keys).masked_fill_(own, torch.finfo(q.dtype).min)
    return scores.softmax(-1)
