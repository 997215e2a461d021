"""FastConformer encoder for training from nothing, over transformers' `ParakeetEncoder`.

Strided depthwise-separable convolutions bring the frame rate down, then each layer is half a
feed-forward, self-attention with relative positions, a convolution and the other half. The blocks
are the maintained ones. Two things differ from a plain `ParakeetEncoder`: the convolution module
has a LayerNorm by default, because BatchNorm lets the other utterances, their padding and the
number of processes change the result; and weights start from torch's own initialisation, because
a standard deviation of 0.02 makes the small convolutions of the subsampling start near zero.

Shapes: x (B, T, F) features -> (B, L, D) states, L = T / subsampling, rounded up.
Papers: Conformer, arXiv 2005.08100; FastConformer, arXiv 2305.05084.
"""

import dataclasses

import torch
from torch import nn

from speechllm.models.masks import valid_mask, zero_beyond


@dataclasses.dataclass(frozen=True)
class Config:
    """Sizes of the encoder.

    dim is the width D; ff the feed-forward width (0: four times dim); kernel the odd width in
    steps of the convolution module; subsampling one of 2, 4, 8, 16; dropout stands inside the
    feed-forwards and after the subsampling, attention_dropout on attention weights.
    normalize: "utterance" brings each feature to zero mean and unit variance over the valid
    frames of its utterance, "none" leaves the features as they come.
    conv_norm: "layer", or "batch" as published (not invariant to the batch while training).
    """

    dim: int = 144
    layers: int = 8
    heads: int = 4
    ff: int = 0
    kernel: int = 15
    subsampling: int = 4
    subsampling_channels: int = 32
    dropout: float = 0.1
    attention_dropout: float = 0.0
    normalize: str = "utterance"
    conv_norm: str = "layer"

    def __post_init__(self):
        """Refuse sizes that do not fit together."""
        if self.subsampling not in (2, 4, 8, 16):
            raise ValueError(f"subsampling must be 2, 4, 8 or 16, got {self.subsampling}")
        if self.dim % self.heads or self.dim % 2:
            raise ValueError(f"dim must be even and a multiple of heads={self.heads}: {self.dim}")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, got {self.kernel}")
        if self.normalize not in ("utterance", "none"):
            raise ValueError(f"normalize must be 'utterance' or 'none', got {self.normalize!r}")
        if self.conv_norm not in ("layer", "batch"):
            raise ValueError(f"conv_norm must be 'layer' or 'batch', got {self.conv_norm!r}")

    def count(self, n):
        """Give the number of steps L for n frames; n may be a tensor of lengths."""
        return -(-n // self.subsampling)

    def build(self, in_dim: int) -> nn.Module:
        """Make the encoder for features of width `in_dim`.

        Raises:
            ValueError: in_dim is too small to be halved by the subsampling (raw waves are 1 wide).
        """
        if in_dim < self.subsampling:
            raise ValueError(
                f"the conformer encoder wants features of at least {self.subsampling} dimensions, "
                f"such as the front end kaldi_fbank80, got a front end of dimension {in_dim}"
            )
        return Conformer(self, in_dim)


class Conformer(nn.Module):
    """See the module docstring."""

    def __init__(self, config: Config, in_dim: int):
        super().__init__()
        from transformers import ParakeetEncoder, ParakeetEncoderConfig

        self.config = config
        self.extra = -in_dim % config.subsampling  # zeros that make the features halve evenly
        hf = ParakeetEncoderConfig(
            hidden_size=config.dim,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            intermediate_size=config.ff or 4 * config.dim,
            conv_kernel_size=config.kernel,
            subsampling_factor=config.subsampling,
            subsampling_conv_channels=config.subsampling_channels,
            num_mel_bins=in_dim + self.extra,
            dropout=config.dropout,
            activation_dropout=config.dropout,
            attention_dropout=config.attention_dropout,
            layerdrop=0.0,  # a skipped layer has no gradient, which distributed training refuses
        )
        self.model = ParakeetEncoder(hf)
        if config.conv_norm == "layer":
            for block in self.model.layers:
                block.conv.norm = ChannelNorm(config.dim)
        for module in self.model.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()

    def forward(self, x, lengths):
        """Map features x (B, T, F), lengths (B,) to states (B, L, D), lengths (B,)."""
        x = zero_beyond(x, lengths)
        if self.config.normalize == "utterance":
            x = normalize_utterance(x, lengths)
        x = nn.functional.pad(x, (0, self.extra, 0, max(0, 1 - x.shape[1])))
        mask = valid_mask(lengths, x.shape[1])
        states = self.model(x, attention_mask=mask, output_attention_mask=False).last_hidden_state
        return states, self.config.count(lengths)


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of (B, C, L), so that no step sees another."""

    def forward(self, x):
        """Normalise each step of x (B, C, L) over C."""
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


def normalize_utterance(x, lengths, eps: float = 1e-5):
    """Bring each feature of x (B, T, F), zero beyond `lengths`, to mean 0 and variance 1.

    Statistics are over the valid frames of each utterance; padding stays zero.
    """
    n = lengths.clamp(min=1)[:, None, None]
    centred = zero_beyond(x - x.sum(1, keepdim=True) / n, lengths)
    variance = centred.square().sum(1, keepdim=True) / n
    return centred * torch.rsqrt(variance + eps)
