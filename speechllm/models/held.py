"""What one pass leaves in the model's modules: taken by the pass, given back when it ends.

A LoRA's gate knows where its media stand in the batch that the LLM reads; cross-attention knows
what there is to see. Each such holder names the attribute (`HELD`) that keeps it, and can go on
with some of its rows (`keep`). Outside of a pass they hold nothing.
"""

import contextlib

from torch import nn

from speechllm.models import lora


def add(llm: nn.Module, holder) -> None:
    """Let an LLM know of something that holds a part of each pass over it."""
    llm.__dict__.setdefault("holders", []).append(holder)


def holders(llm: nn.Module) -> list:
    """List all that hold a part of a pass over an LLM."""
    return [*lora.gates(llm), *llm.__dict__.get("holders", ())]


@contextlib.contextmanager
def given_back(llm: nn.Module):
    """Give back at the end what the holders had at first."""
    before = _state(llm)
    try:
        yield
    finally:
        _put(before)


def keep(llm: nn.Module, rows) -> None:
    """Go on with these rows (n,) of what is held: the others' answers have ended."""
    for holder in holders(llm):
        holder.keep(rows)


def contexts(llm: nn.Module):
    """Give what torch's checkpoint wants as `context_fn`.

    A layer that is computed again in the backward pass finds what was held at first: by then the
    pass has given it back, and others may have come.
    """
    return contextlib.nullcontext(), _again(llm, _state(llm))


@contextlib.contextmanager
def _again(llm: nn.Module, state: list):
    with given_back(llm):
        _put(state)
        yield


def _state(llm: nn.Module) -> list[tuple]:
    return [(holder, getattr(holder, holder.HELD)) for holder in holders(llm)]


def _put(state: list[tuple]) -> None:
    for holder, value in state:
        setattr(holder, holder.HELD, value)
