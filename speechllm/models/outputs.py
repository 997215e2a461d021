"""An LLM's output layer: what it multiplies, where, and over which of its vocabulary."""

from contextlib import contextmanager

import torch
from torch import nn


def in_one_piece(_, args):
    """Lay what an output layer gets (B, S, H) into one piece of memory.

    The last position of each prompt is a slice with gaps, over which torch's product in bfloat16
    takes 23 s in place of 0.07 (a vocabulary of 262,144, one thread, torch 2.13, AVX-512). That of
    a single prompt counts as contiguous, but its strides (S * H, H, 1) send it to a product that
    first copies the matrix, 1.1 s; a clone has those of its own size.
    """
    return (args[0].clone(memory_format=torch.contiguous_format), *args[1:])


@contextmanager
def at(model: nn.Module, rows, columns):
    """Let the LLM compute logits at (rows[i], columns[i]) alone: its answer is (1, N, V)."""

    def choose(_, args):
        return (args[0][rows, columns][None], *args[1:])

    # before `in_one_piece`, which would copy all positions
    handle = model.get_output_embeddings().register_forward_pre_hook(choose, prepend=True)
    try:
        yield
    finally:
        handle.remove()


class Among:
    """Let an LLM, in a `with`, compute logits of these ids (n,) alone: minus infinity else.

    Of a vocabulary of 262,144 the output layer of a small LLM is most of a step. For LLMs whose
    logits are its answer as it stands (`sliced.fits`). It may be entered again and again.
    """

    def __init__(self, model: nn.Module, ids: torch.Tensor):
        self._head, self._ids = model.get_output_embeddings(), ids
        self._weight = self._head.weight[ids]
        self._bias = None if self._head.bias is None else self._head.bias[ids]

    def _forward(self, x):
        some = nn.functional.linear(x, self._weight, self._bias)
        out = some.new_full((*x.shape[:-1], self._head.out_features), -torch.inf)
        out[..., self._ids] = some
        return out

    def __enter__(self):
        self._head.forward = self._forward

    def __exit__(self, *_):
        del self._head.forward
