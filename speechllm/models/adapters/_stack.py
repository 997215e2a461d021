"""Neighbouring encoder steps side by side, and what becomes of the last, incomplete stack.

"drop" leaves it out, "pad" fills it with zeros. An utterance shorter than one stack is always
padded, so that it has a soft token.
"""

import dataclasses

from torch.nn import functional

from speechllm.models.adapters import _norm
from speechllm.models.masks import zero_beyond
from speechllm.ranges import Width

RESTS = ("drop", "pad")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(_norm.Config):
    """Settings that adapters of stacks have besides those of the last norm.

    stack: encoder steps a soft token. rest: what becomes of the last, incomplete stack, "drop" or
    "pad".
    """

    stack: Width = 1
    rest: str = "drop"

    def __post_init__(self):
        """Refuse a stack of nothing."""
        check(self.stack, self.rest)
        super().__post_init__()

    def count(self, n):
        """Give the number of soft tokens K for n encoder steps; n may be a tensor of lengths."""
        return count(n, self.stack, self.rest)


def check(stack: int, rest: str) -> None:
    """Refuse a stack of nothing.

    Raises:
        ValueError: less than one step, an unknown way with the rest.
    """
    if stack < 1:
        raise ValueError(f"a stack, window or stride wants 1 or more steps, got {stack}")
    if rest not in RESTS:
        raise ValueError(f"rest must be 'drop' or 'pad', got {rest!r}")


def count(n, stack: int, rest: str):
    """Give the number of stacks in n steps; n may be a tensor of lengths."""
    if rest == "pad":
        return -(-n // stack)
    return n // stack + (0 < n) * (n < stack)


def stacked(states, lengths, stack: int, rest: str):
    """Stack states (B, L, D) of lengths (B,): (B, K, stack, D), zeros beyond the lengths."""
    # 7 steps by 3: "drop" makes 2 stacks (a negative pad cuts one step off), "pad" 3 (two zeros)
    batch, steps, width = states.shape
    size = count(steps, stack, rest) * stack
    states = functional.pad(zero_beyond(states, lengths), (0, 0, 0, size - steps))
    return states.reshape(batch, -1, stack, width)
