"""Several encoders of one medium, their states one behind another; each stream has its own adapter.

A stream is an encoder's table, or `width` alone: no encoder, the frames themselves, so many values
wide. All read what the one front end gives. The adapter is `streams`, too.

    [branch.pose.encoder]
    name = "streams"
    [[branch.pose.encoder.branch]]
    width = 245                  # places of joints as they are
    [[branch.pose.encoder.branch]]
    name = "pose"                # and through Sign2Vec

Shapes: x (B, T, F) -> (B, L, D), L the sum of the streams' lengths, D the widest stream's width and
one more value, which says of a state which stream it is of; zeros stand between. `dual` is the
other way to have several encoders: side by side in each state.
Source: SignLLaVA, github.com/JSALT2024/Sign_LLaVA (JSALT workshop 2024).
"""

import dataclasses
import functools

import torch
from torch import nn

from speechllm import config as settings
from speechllm.models.masks import valid_mask, zero_beyond
from speechllm.ranges import Width

# Small enough for tests: (width of the front end, settings) of each case.
TINY = ((15, {"branch": [{"name": "patches", "dim": 31, "patch": 2}, {"width": 15}]}),)


@dataclasses.dataclass(frozen=True)
class Plain:
    """A stream without encoder: frames of `width` values."""

    width: Width

    @property
    def dim(self) -> int:
        """Width of the states."""
        return self.width

    def count(self, n):
        """Give as many states as there are frames; n may be a tensor of lengths."""
        return n

    def build(self, in_dim: int) -> nn.Module:
        """Make what passes frames on.

        Raises:
            ValueError: they have another width.
        """
        if in_dim != self.width:
            raise ValueError(f"width = {self.width}, but the front end's frames are {in_dim} wide")
        return Frames()


class Frames(nn.Module):
    """Frames as they are."""

    def forward(self, x, lengths):
        """Give frames x (B, T, F) of lengths (B,) back, zeros beyond their ends."""
        return zero_beyond(x, lengths), lengths


@dataclasses.dataclass(frozen=True)
class Config:
    """branch: the streams' tables, in their order."""

    branch: tuple[dict, ...] = ()

    def __post_init__(self):
        """Refuse no streams."""
        if not self.branch:
            raise ValueError("wanted one or more tables [[encoder.branch]]")
        _ = self.encoders

    @functools.cached_property
    def encoders(self) -> list:
        """The streams' Configs."""
        made = []
        for number, table in enumerate(self.branch, 1):
            where = f"branch {number}"
            named = isinstance(table, dict) and "name" in table
            made.append(
                settings.part("models.encoders", table, where)
                if named
                else settings.fill(Plain, table, where)
            )
        return made

    @property
    def pretrained(self) -> str:
        """Where all weights come from; empty if those of any stream come from nowhere."""
        names = [getattr(one, "pretrained", "") for one in self.encoders]
        return " + ".join(names) if all(names) else ""

    @property
    def dims(self) -> tuple[int, ...]:
        """Width of each stream."""
        return tuple(one.dim for one in self.encoders)

    @property
    def dim(self) -> int:
        """Width D of the states."""
        return max(self.dims) + 1

    def count(self, n):
        """Give the number of states L for n frames; n may be a tensor of lengths."""
        return sum(one.count(n) for one in self.encoders)

    def check(self, front) -> None:
        """Refuse a front end that does not fit a stream.

        Raises:
            ValueError: as the encoders' own.
        """
        for one in self.encoders:
            if hasattr(one, "check"):
                one.check(front)

    def build(self, in_dim: int) -> nn.Module:
        """Make the encoders for a front end of width `in_dim`.

        Raises:
            ValueError: one does not fit it.
        """
        return Streams(self, [one.build(in_dim) for one in self.encoders])


class Streams(nn.Module):
    """See the module docstring."""

    def __init__(self, config: Config, encoders: list[nn.Module]):
        super().__init__()
        self.config = config
        self.encoders = nn.ModuleList(encoders)

    def forward(self, x, lengths):
        """Map frames x (B, T, F), lengths (B,) to states (B, L, D), lengths (B,)."""
        streams = [encoder(x, lengths) for encoder in self.encoders]
        dtype = functools.reduce(torch.promote_types, [states.dtype for states, _ in streams])
        steps = sum(n for _, n in streams)
        out = x.new_zeros(len(x), max(int(steps.max()), 1), self.config.dim, dtype=dtype)
        before = torch.zeros_like(lengths)
        for number, (states, n) in enumerate(streams):
            # stream 1 of lengths 3 and 2 stands behind stream 0 of lengths 2 and 4:
            #
            #     0 0 1 1 1 .      its column c in row r goes to column c + before[r]
            #     0 0 0 0 1 1
            rows, columns = valid_mask(n, states.shape[1]).nonzero(as_tuple=True)
            fill = (0, self.config.dim - 1 - states.shape[2])
            values = nn.functional.pad(states[rows, columns].to(dtype), fill)
            values = nn.functional.pad(values, (0, 1), value=float(number))
            out = out.index_put((rows, columns + before[rows]), values)
            before = before + n
        return out, steps
