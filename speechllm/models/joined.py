"""Tensors of a checkpoint whose rows, one after another, are one of ours.

Idefics keeps the embeddings of its added tokens apart from the others, so that they can learn while
those do not; here a vocabulary is one matrix.
"""

from collections.abc import Iterable

import torch

from speechllm.models.shards import Shards


class Joined:
    """Shards in which some tensors count as one, by the name of the first.

    Args:
        shards: the tensors as they lie.
        groups: names in the order of their rows; those that are not there are passed over.
    """

    def __init__(self, shards: Shards, groups: Iterable[tuple[str, ...]] = ()):
        self.apart, self.folder = shards, shards.folder
        there = [[name for name in group if name in shards.files] for group in groups]
        self.parts = {group[0]: group for group in there if group}

    def names(self) -> set[str]:
        """Names of all tensors."""
        return self.apart.names() - {n for parts in self.parts.values() for n in parts[1:]}

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, unread."""
        first, *more = (self.apart.shape(part) for part in self._of(name))
        return (first[0] + sum(one[0] for one in more), *first[1:]) if more else first

    def tensor(self, name: str) -> torch.Tensor:
        """Read one tensor."""
        read = [self.apart.tensor(part) for part in self._of(name)]
        return torch.cat(read) if len(read) > 1 else read[0]

    def dtype(self, name: str) -> str:
        """Data type of a tensor as safetensors calls it, unread."""
        return self.apart.dtype(name)

    def part(self, name: str, whole: torch.Tensor) -> torch.Tensor:
        """Give the rows of `whole` that lie in the checkpoint under `name`."""
        for parts in self.parts.values():
            if name in parts:
                counts = [self.apart.shape(part)[0] for part in parts]
                return whole.split(counts)[parts.index(name)]
        return whole

    def _of(self, name: str) -> list[str]:
        return self.parts.get(name, [name])
