"""Encoder steps that spell the same become one: compression by a CTC head.

A head over the LLM's vocabulary plus blank says what each step spells. Steps that are blank are
dropped or treated as one more label, neighbours of one label become their mean, and a Linear
brings what is left to the LLM's width: (B, L, D) -> (B, K, H), K at most L, depending on what was
said. The head learns by CTC (objective `ctc` with `on = "posterior"`) and by nothing else, unless
the mean is weighted by its posteriors.
Paper: Gaido et al., arXiv 2102.01578 (blank "average"; there an intermediate layer is compressed).
"""

import dataclasses

from torch import nn

from speechllm.models.adapters import _ctc, _norm
from speechllm.models.masks import zero_beyond

BLANKS, REPEATS = ("drop", "average"), ("average", "weighted", "drop")


# Settings to try in tests, small enough for them.
TINY = (
    {},
    {"blank": "average", "repeats": "weighted"},
    {"repeats": "drop", "norm": "none"},
)
UNREACHED = r"head\."  # of parameters by the LLM's loss: it learns by CTC


@dataclasses.dataclass(frozen=True)
class Config(_norm.Config):
    """Settings of the compression.

    blank: "drop", or "average": a run of blanks becomes one token like any other label's.
    repeats: neighbours of one label become their "average", their average "weighted" by the
    label's posterior, or all but the first "drop".
    norm, norm_scale: of the last norm (`_norm.Config`).
    """

    blank: str = "drop"
    repeats: str = "average"

    drops = True  # tokens depend on the content: `count` is the most there can be

    def __post_init__(self):
        """Refuse settings that mean nothing."""
        for name, known in (("blank", BLANKS), ("repeats", REPEATS)):
            if getattr(self, name) not in known:
                words = ", ".join(known)
                raise ValueError(f"{name} must be one of {words}, got {getattr(self, name)!r}")
        super().__post_init__()

    def count(self, n):
        """Give the most soft tokens that n encoder steps become; n may be a tensor of lengths."""
        return n

    def build(self, in_dim: int, embedding: nn.Embedding) -> nn.Module:
        """Make the adapter from encoder width D to the LLM's embeddings (V, H)."""
        return CTCCompress(self, in_dim, embedding)


class CTCCompress(_norm.Adapter):
    """See the module docstring."""

    def __init__(self, config: Config, in_dim: int, embedding: nn.Embedding):
        super().__init__(config)
        self.head = nn.Linear(in_dim, embedding.num_embeddings + 1)
        self.linear = nn.Linear(in_dim, embedding.embedding_dim)
        self.norm = config.last(embedding.embedding_dim)

    def ctc_logits(self, states, lengths):
        """Logits (B, L, V + 1) of states (B, L, D), the blank last."""
        return self.head(states)

    def forward(self, states, lengths):
        """Map states (B, L, D), lengths (B,) to soft tokens (B, K, H), lengths (B,)."""
        states = zero_beyond(states, lengths)
        posteriors = self.ctc_logits(states, lengths).float().softmax(-1)
        best, path = posteriors.max(-1)
        is_blank = path == posteriors.shape[-1] - 1
        dropped = is_blank & (self.config.blank == "drop")
        kept = _ctc.not_blank(posteriors[..., -1], dropped, lengths)
        index, counts = _ctc.groups(path, kept)
        weights = self._weights(best, index).unsqueeze(-1)
        sums = _ctc.sums(states.float() * weights, index, counts)
        means = sums / _ctc.sums(weights, index, counts).clamp(min=1e-9)
        return self.norm(self.linear(means)), counts

    def _weights(self, best, index):
        """Say how much each step (B, L) counts in the mean of its group."""
        if self.config.repeats == "weighted":
            return best
        weights = best.new_ones(best.shape)
        if self.config.repeats == "drop":
            weights[:, 1:] = (index[:, 1:] != index[:, :-1]).to(weights.dtype)
        return weights
