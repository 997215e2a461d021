"""What the data want of a system, as `models.system.System` has it: words, media, lengths."""

from collections.abc import Mapping
from typing import Protocol

from speechllm.config import Preset


class Branch(Protocol):
    """The way of one medium: its front end, from `media.of(kind).front`, and of which encoder
    stored states must be, as `media.of(kind).states` has it."""

    @property
    def front(self): ...

    @property
    def origin(self) -> dict: ...


class System(Protocol):
    """A preset with its tokenizer and its branches, by medium."""

    @property
    def preset(self) -> Preset: ...

    @property
    def tokenizer(self): ...

    @property
    def branches(self) -> Mapping[str, Branch]: ...

    def soft_tokens(self, n: int, kind: str) -> int:
        """Most text positions that `n` frames of a medium can take."""

    def states(self, n: int, kind: str) -> int:
        """Encoder states that `n` frames of a medium become."""
