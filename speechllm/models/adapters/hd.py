"""Phi-4-multimodal's projector: tiles put together again, four states one, a mark behind each row.

The states of 2 x 2 patches become their mean. The tiles of a picture (front end `phi4`) are put
together into the picture that they were cut from, what is white around it left out, each row ends
in one learned vector, another stands between it and the thumbnail, whose rows end alike; all of
them pass the perceptron.

(B, L, D) -> (B, K, H), K at most about L / 4. Where nobody says where in a picture states stand,
each four in turn are one. Paper: Phi-4-Mini, arXiv 2503.01743.
"""

import dataclasses

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from speechllm.models.adapters import _mlp, _norm
from speechllm.models.masks import zero_beyond
from speechllm.ranges import Layers, Size, Width

# Settings to try in tests, small enough for them.
TINY = ({"side": 4}, {"side": 5, "layers": 1, "norm": "none"})
UNREACHED = "line|between"  # no marks where nobody says where the states stand


@dataclasses.dataclass(frozen=True)
class Config(_norm.Config):
    """Settings.

    side: states along a side of a tile. layers, hidden, activation: of the perceptron, hidden 0 for
    the LLM's width. norm, norm_scale: `_norm.Config`.
    """

    side: Width = 32
    layers: Layers = 2
    hidden: Size = 0
    activation: str = "gelu"
    placed = True
    drops = True

    def __post_init__(self):
        """Refuse an activation that there is not."""
        _mlp.check(self.activation)
        super().__post_init__()

    def count(self, n):
        """Give the most soft tokens K of n states; n may be a tensor of lengths."""
        # of tiles side by side each row has a mark, of tiles one upon the other half * tiles rows:
        # as many marks as there are rows, at most
        half, tiles = -(-self.side // 2), -(-n // self.side**2)
        thumbnail = half * (half + 1) + 1
        return (0 < n) * (thumbnail + (tiles - 1) * half * (half + 1))

    def build(self, in_dim: int, embedding: nn.Embedding) -> nn.Module:
        """Make the adapter from encoder width D to the LLM's embeddings (V, H)."""
        return HD(self, in_dim, embedding.embedding_dim)


class HD(_norm.Adapter):
    """See the module docstring."""

    def __init__(self, config: Config, in_dim: int, out_dim: int):
        super().__init__(config)
        self.line = nn.Parameter(torch.randn(1, 1, 1, in_dim))
        self.between = nn.Parameter(torch.randn(1, 1, in_dim))
        widths = _mlp.widths(config.layers, in_dim, config.hidden, out_dim)
        self.mlp = _mlp.perceptron(widths, config.activation, True)
        self.norm = config.last(out_dim)

    def forward(self, states, lengths, places=None):
        """Map states (B, L, D), lengths (B,), at places (B, L, 3), to tokens (B, K, H), lengths."""
        states = zero_beyond(states, lengths)
        if places is None:
            counts = [(n + 3) // 4 for n in lengths.tolist()]
            laid = [_fours(x[:n]) for x, n in zip(states, lengths.tolist(), strict=True)]
        else:
            items = zip(states, places, lengths.tolist(), strict=True)
            laid = [self._laid(x[:n], place[:n]) for x, place, n in items]
            counts = [len(x) for x in laid]
        tokens = self.mlp(pad_sequence(laid, batch_first=True))
        return self.norm(tokens), lengths.new_tensor(counts)

    def _laid(self, x, places):
        """Put one picture's states x (n, D) at places (n, 3) into lines: (K, D)."""
        side = self.config.side
        if len(x) % side**2 or not len(x):
            return _fours(x)  # no picture of whole tiles
        small = _pooled(x.unflatten(0, (-1, side, side)))
        is_thumbnail = places[:: side**2, 0] == 0
        whole = [self._lines(tile) for tile in small[is_thumbnail]]
        if is_thumbnail.all():
            return torch.cat(whole)
        # a patch of four that begins in the picture belongs to it
        kept = (places[:, 1] >= 0).unflatten(0, (-1, side, side))[~is_thumbnail, ::2, ::2]
        columns = int(places[~is_thumbnail.repeat_interleave(side**2), 2].max()) // side + 1
        picture = _across(small[~is_thumbnail], columns)
        seen = _across(kept[..., None], columns)[..., 0]
        lines = self._lines(picture[: int(seen[:, 0].sum()), : int(seen[0].sum())])
        return torch.cat([lines, self.between[0].to(x.dtype), *whole])

    def _lines(self, grid):
        """End each row of states (rows, columns, D) in a mark: (rows * (columns + 1), D)."""
        mark = self.line[0].to(grid.dtype).expand(len(grid), 1, -1)
        return torch.cat([grid, mark], 1).flatten(0, 1)


def _across(tiles, columns: int):
    """Put tiles (n, side, side, D), row by row, together: (rows, columns * side, D)."""
    return tiles.unflatten(0, (-1, columns)).transpose(1, 2).flatten(2, 3).flatten(0, 1)


def _pooled(tiles):
    """Make each 2 x 2 states of tiles (n, side, side, D) one; of an odd side the last twice."""
    x = tiles.movedim(-1, 1)
    if x.shape[-1] % 2:
        x = functional.pad(x, (0, 1, 0, 1), mode="reflect" if x.shape[-1] > 1 else "replicate")
    return functional.avg_pool2d(x, 2).movedim(1, -1)


def _fours(x):
    """Make each four states of x (n, D) in turn their mean, those that are left one, too."""
    whole = len(x) // 4 * 4
    means = x[:whole].unflatten(0, (-1, 4)).mean(1)
    return torch.cat([means, x[whole:].mean(0, keepdim=True)]) if whole < len(x) else means
