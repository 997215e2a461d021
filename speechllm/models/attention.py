"""Attention in bfloat16 on a processor, as plain matrix products.

torch's fused attention there makes some 80 GFLOP/s of one thread, whose matrix products make 500;
scores of some heads at a time fit the cache. So a row is products and a softmax, and the backward
pass computes the scores again and so keeps none. Everything else (float32, a GPU, long rows,
dropout, a bias in place of a mask) goes to transformers' "sdpa", by whose masks this goes.

B rows, H heads of queries, K of keys (each for G = H / K of queries), S queries, T keys, D width.
"""

from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

NAME = "rows"  # what `_attn_implementation` calls it
ALONE = "alone"  # and what it calls `attend_alone`
MOST = 2**25  # scores of a row, at most; Whisper base has 18 million of 30 s
CACHED = 2**20  # scores at a time: 4 MB in float32


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


@contextmanager
def by_query(model: nn.Module):
    """Let the parts of a model that attend by products do so for each query alone, for a while."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(ALONE, attend_alone)
    AttentionMaskInterface.register(ALONE, sdpa_mask)
    configs = {id(part.config): part.config for part in model.modules() if hasattr(part, "config")}
    chosen = [c for c in configs.values() if getattr(c, "_attn_implementation", "") == NAME]
    try:
        for config in chosen:
            config._attn_implementation = ALONE
        yield
    finally:
        for config in chosen:
            config._attn_implementation = NAME


def attend_alone(module, query, key, value, attention_mask, dropout=0.0, scaling=None, **options):
    """Attend as `attend`; behind a cache one query after another, to the keys that it sees alone.

    So what a query finds depends on nothing beside it: not on other rows, not on queries after it.
    For single queries torch's fused kernel is the fast one, 11 microseconds in place of 67.
    """
    known = attention_mask is not None or query.shape[2] == 1
    if not known or not _fits(query, key, value, attention_mask, options):
        return attend(module, query, key, value, attention_mask, dropout, scaling, **options)
    out = query.new_empty(query.shape).transpose(1, 2)
    groups = query.unflatten(1, (key.shape[1], -1))  # (B, K, G, S, D): of a head of keys together
    for row, spans in enumerate(_seen(attention_mask, len(query), key.shape[2])):
        for place, (begin, end) in enumerate(spans):
            k, v = (x[row, None, :, begin:end] for x in (key, value))
            one = scaled_dot_product_attention(groups[row, None, :, :, place], k, v, scale=scaling)
            out[row, place] = one.flatten(0, 2)
    return out, None


def _seen(mask: torch.Tensor | None, rows: int, keys: int) -> list[list[list[int]]]:
    """List which keys [begin, end) each query of each row sees; they lie side by side."""
    if mask is None:
        return [[[0, keys]]] * rows
    begins = mask[:, 0].int().argmax(-1)
    spans = torch.stack([begins, begins + mask[:, 0].sum(-1)], -1)
    return spans.expand(rows, -1, -1).tolist()


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
    for q_, k_, v_, hidden, out_ in _parts(mask, q, k, v, out):
        torch.bmm(_shares(q_, k_, hidden, scale), v_, out=out_)
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
    for q_, k_, v_, hidden, own, of_q, of_k, of_v in _parts(mask, q, k, v, grad, *grads):
        shares = _shares(q_, k_, hidden, scale)
        torch.bmm(shares.transpose(1, 2), own, out=of_v)
        of_shares = torch.bmm(own, v_.transpose(1, 2))
        scores = torch._softmax_backward_data(of_shares, shares, -1, q.dtype).mul_(scale)
        torch.bmm(scores, k_, out=of_q)
        torch.bmm(scores.transpose(1, 2), q_, out=of_k)
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


def _parts(mask, q, k, v, *others):
    """Yield the tensors of some heads each, with what is not seen after q, k, v.

    Of queries (B, H, S, D) come (n, G * S, D): those of a head of keys stand one behind the other.
    """
    # 8 heads of queries and 2 of keys, 100 positions: heads 0 to 3 read the first keys, so that
    # the scores of the first four heads of a row are one product (400, D) x (D, 100). Rows stand
    # one behind the other as well: several short ones are one batch of products, of a long one
    # come some heads at a time.
    rows, heads, keys = k.shape[:3]
    queries = q.shape[1] // heads * q.shape[2]
    size = max(CACHED // (queries * keys), 1)
    size = size // heads * heads or max(n for n in range(1, size + 1) if heads % n == 0)
    flat = [x.reshape(rows * heads, -1, x.shape[-1]) for x in (q, k, v, *others)]
    hidden = None if mask is None else (~mask).expand(rows, -1, -1, -1)
    for begin in range(0, rows * heads, size):
        some = [x[begin : begin + size] for x in flat]
        unseen = hidden
        if hidden is not None:
            unseen = hidden[begin // heads : max((begin + size) // heads, begin // heads + 1)]
            unseen = unseen if unseen.any() else None
        yield *some[:3], unseen, *some[3:]


def _shares(q, k, hidden, scale: float) -> torch.Tensor:
    """Give the shares (n, G * S, T) of queries (n, G * S, D) in keys (n, T, D).

    hidden (rows, 1, S, T): True where a query does not see a key.
    """
    # A score of 50 is known to 1/8 in bfloat16, too little for a softmax. What its rounding leaves
    # is a product over again, from which the rounded scores are taken before it is rounded itself:
    # 50.07 is 50 and 0.07. The sum of both is as good as float32 is here.
    keys = k.transpose(1, 2)
    rounded = torch.bmm(q, keys)
    rest = torch.baddbmm(rounded, q, keys, beta=-1)
    scores = rounded.float().add_(rest).mul_(scale)
    if hidden is not None:
        rows, _, size, n = hidden.shape
        scores.view(rows, -1, size, n).masked_fill_(hidden, torch.finfo(scores.dtype).min)
    return scores.softmax(-1).to(q.dtype)
