"""HuBERT: prediction of hidden units on raw speech; over transformers.

Padding, lengths and loading are those of `_waveform`; there stands what the front end must do.
Shapes: x (B, N) samples at 16 kHz -> (B, L, D) states at 50 Hz. Paper: arXiv 2106.07447.
"""

import dataclasses
import typing

from torch import nn

from speechllm.models.encoders import _waveform
from speechllm.models.masks import zero_beyond

# Small enough for tests: (width of the front end, settings) of each case.
TINY = ((1, {"config": _waveform.GROUP}), (1, {"config": _waveform.LAYER}))


@dataclasses.dataclass(frozen=True)
class Config(_waveform.Config):
    """Which HuBERT; settings as in `_waveform.Config`.

    For example pretrained = "facebook/hubert-large-ll60k".
    """

    family: typing.ClassVar[str] = "Hubert"

    def mend(self, model) -> list:
        """Also keep a BatchNorm before the positions from filling the padding with its bias."""
        positions = model.encoder.pos_conv_embed
        if getattr(positions, "batch_norm", None) is None:
            return super().mend(model)
        positions.batch_norm = ValidBatchNorm.like(positions.batch_norm)
        return [*super().mend(model), (positions.batch_norm, len(self.hf.conv_kernel) - 1)]


class ValidBatchNorm(nn.BatchNorm1d):
    """BatchNorm of (B, C, L) that leaves zeros beyond `lengths` (B,), as convolutions pad with."""

    lengths = None

    @classmethod
    def like(cls, norm: nn.BatchNorm1d) -> "ValidBatchNorm":
        """Make one with the very parameters and statistics of `norm`."""
        same = cls(norm.num_features, norm.eps, norm.momentum)
        same._parameters, same._buffers = norm._parameters, norm._buffers
        return same

    def forward(self, x):
        """Normalise x (B, C, L) and set what is no state of the utterance to zero."""
        return zero_beyond(super().forward(x), self.lengths, 2)
