"""A picture as lines of text: a perceptron over each state, and a mark where a row of patches ends.

- LLaVA-NeXT: of a picture cut to tiles (front end `llava_next`) the tiles' states are put together
  into the picture that they were cut from, those of its black margins left out, and each row ends
  in a mark; the thumbnail stands before them as it is.
- Fuyu: the front end itself ends rows (`newline = true`); the mark takes these places.

(B, L, D) -> (B, K, H), K at most L and a mark for each row of a tile's patches.
Sources: LLaVA-NeXT, llava-vl.github.io/blog/2024-01-30-llava-next; Fuyu, adept.ai/blog/fuyu-8b.
"""

import dataclasses

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from speechllm.models.adapters import _mlp, _norm
from speechllm.ranges import MaybeLayers, Size

# Settings to try in tests, small enough for them.
TINY = ({"side": 4}, {"side": 6, "layers": 1, "hidden": 24, "norm": "none"})
UNREACHED = "newline"  # no marks where nobody says where the states stand


@dataclasses.dataclass(frozen=True)
class Config(_norm.Config):
    """Settings.

    side: states along a side of a tile, 0: pictures are never cut. layers, hidden, activation,
    bias: of the perceptron, hidden 0 for the LLM's width; no layers: states are that wide already.
    mark: a token of the LLM whose embedding is the mark; empty: a learned vector.
    norm, norm_scale: `_norm.Config`.
    """

    side: Size = 0
    layers: MaybeLayers = 2
    hidden: Size = 0
    activation: str = "gelu"
    bias: bool = True
    mark: str = ""
    placed = True
    drops = True

    def __post_init__(self):
        """Refuse an activation that there is not."""
        _mlp.check(self.activation)
        super().__post_init__()

    def count(self, n):
        """Give the most soft tokens K of n states; n may be a tensor of lengths."""
        # a picture that is not cut has the marks that the front end made, which n counts
        tile = self.side**2
        return n + (n > tile) * (-(-n // tile) - 1) * self.side if tile else n

    def build(self, in_dim: int, embedding: nn.Embedding) -> nn.Module:
        """Make the adapter from encoder width D to the LLM's embeddings (V, H).

        Raises:
            ValueError: no layers, and states of another width.
        """
        _mlp.check_width(self.layers, in_dim, embedding.embedding_dim, "rows")
        return Rows(self, in_dim, embedding)


class Rows(_norm.Adapter):
    """See the module docstring."""

    def __init__(self, config: Config, in_dim: int, embedding: nn.Embedding):
        super().__init__(config)
        dim = embedding.embedding_dim
        widths = _mlp.widths(config.layers, in_dim, config.hidden, dim)
        self.mlp = _mlp.perceptron(widths, config.activation, config.bias)
        self.norm = config.last(dim)
        self.newline = None if config.mark else nn.Parameter(torch.randn(dim) * dim**-0.5)
        self._embedding, self._id = (embedding,), 0  # in a tuple: it stays the LLM's own

    def spell(self, tokenizer) -> None:
        """Learn which token the mark is.

        Raises:
            ValueError: the tokenizer has none of that name.
        """
        if self.config.mark:
            vocab = tokenizer.get_vocab()
            if self.config.mark not in vocab:
                raise ValueError(f"[adapter] mark: {self.config.mark!r} is no token of the LLM's")
            self._id = vocab[self.config.mark]

    def forward(self, states, lengths, places=None):
        """Map states (B, L, D), lengths (B,), at places (B, L, 3), to tokens (B, K, H), lengths."""
        tokens = self.norm(self.mlp(states))
        if places is None:
            return tokens, lengths
        mark = self._mark().to(tokens.dtype)
        items = zip(tokens, places, lengths.tolist(), strict=True)
        laid = [self._laid(x[:n], place[:n], mark) for x, place, n in items]
        return pad_sequence(laid, batch_first=True), lengths.new_tensor([len(x) for x in laid])

    def _mark(self):
        """Give the mark, (H,)."""
        if self.newline is not None:
            return self.newline
        (embedding,) = self._embedding
        return embedding(torch.tensor(self._id, device=embedding.weight.device))

    def _laid(self, x, places, mark):
        """Put one picture's tokens x (n, H) into lines: (K, H)."""
        tile, row, column = places.unbind(1)
        x = torch.where((column < 0)[:, None] & (row >= 0)[:, None], mark, x)  # the front end's
        cut = tile > 0
        if not cut.any():
            return x
        # tiles 1, 2 side by side, of 2 x 2 patches, the second column of tile 2 a margin:
        #
        #     row       0 0 1 1 | 0 . 1 .      in order of (row, column), a mark behind each row:
        #     column    0 1 0 1 | 2 . 2 .      (0,0) (0,1) (0,2) mark (1,0) (1,1) (1,2) mark
        kept = cut & (row >= 0)
        rows = row[kept].unique()
        wide = int(column[kept].max()) + 2 if len(rows) else 1
        order = torch.cat([row[kept] * wide + column[kept], rows * wide + wide - 1]).argsort()
        lines = torch.cat([x[kept], mark.expand(len(rows), -1)])[order]
        return torch.cat([x[~cut], lines])
