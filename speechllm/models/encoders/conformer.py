"""FastConformer encoder, from nothing or published, over transformers' `ParakeetEncoder`.

Strided depthwise-separable convolutions bring the frame rate down, then each layer is half a
feed-forward, self-attention with relative positions, a convolution and the other half. The blocks
are the maintained ones. With `pretrained` (a Parakeet of any kind or its encoder, a Canary or other
FastConformer as NeMo publishes it: `_nemo`) they are used as they are. From nothing, two things
differ from a plain `ParakeetEncoder`: the convolution module has a LayerNorm by default, because
BatchNorm lets the other utterances, their padding and the number of processes change the result;
and weights start from torch's own initialisation, because a standard deviation of 0.02 makes the
small convolutions of the subsampling start near zero.

Shapes: x (B, T, F) features -> (B, L, D) states, L = T / subsampling, rounded up.
Papers: Conformer, arXiv 2005.08100; FastConformer, arXiv 2305.05084.
"""

import dataclasses
import functools

from torch import nn

from speechllm.models.encoders import _layers, _nemo
from speechllm.models.encoders._normalize import NORMALIZE
from speechllm.models.hub import load_weights, read_config
from speechllm.models.masks import valid_mask, zero_beyond
from speechllm.ranges import BelowOne, Layers, Size, Width

# Our sizes and what transformers calls them.
SIZES = {
    "dim": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "ff": "intermediate_size",
    "kernel": "conv_kernel_size",
    "subsampling": "subsampling_factor",
    "subsampling_channels": "subsampling_conv_channels",
}
# A whole Parakeet keeps its encoder under this name, beside heads and decoders.
RENAME = {r"^encoder\.": ""}
LEFT_OVER = (r"(ctc_head|decoder|encoder_projector|joint)\.",)


# Small enough for tests: (width of the front end, settings) of each case.
SMALL = {"dim": 32, "layers": 2, "heads": 2, "subsampling_channels": 8}
TINY = (
    (80, SMALL),
    (24, {**SMALL, "normalize": "level"}),
    (13, {**SMALL, "subsampling": 8, "normalize": "none", "conv_norm": "batch"}),
    (40, {**SMALL, "subsampling": 2, "mix": "weighted", "normalize": "nemo"}),
)


@dataclasses.dataclass(frozen=True)
class Config:
    """Sizes of the encoder, or where it comes from.

    dim is the width D; ff the feed-forward width (0: four times dim); kernel the odd width in
    steps of the convolution module; subsampling one of 2, 4, 8, 16; dropout stands inside the
    feed-forwards and after the subsampling, attention_dropout on attention weights.
    normalize: "utterance" brings each feature to zero mean and unit variance over the valid
    frames of its utterance, "nemo" does so as published checkpoints want it (N - 1 frames, 1e-5
    beside the deviation), "level" brings all features together to that, which keeps the shape of
    a short utterance's spectrum, "none" leaves the features as they come.
    conv_norm: "layer", or "batch" as published (not invariant to the batch while training).
    mix: "last" or "weighted" (learned sum of all layers); elsewhere called layers.
    pretrained: Hub id or folder, such as "nvidia/parakeet-ctc-1.1b", or a folder of NeMo's own;
    sizes and conv_norm are then the checkpoint's and left out. Published ones want normalize
    "none" behind the front ends nemo80 and nemo128, which normalise, or "nemo" behind others.
    """

    dim: Width = 144
    layers: Layers = 8
    heads: Width = 4
    ff: Size = 0
    kernel: Width = 15
    subsampling: int = 4
    subsampling_channels: Width = 32
    dropout: BelowOne = 0.1
    attention_dropout: BelowOne = 0.0
    normalize: str = "utterance"
    conv_norm: str = "layer"
    mix: str = "last"
    pretrained: str = ""

    def __post_init__(self):
        """Refuse sizes that do not fit together; take a checkpoint's."""
        if self.pretrained:
            self._adopt()
        if self.subsampling not in (2, 4, 8, 16):
            raise ValueError(f"subsampling must be 2, 4, 8 or 16, got {self.subsampling}")
        if self.dim % self.heads or self.dim % 2:
            raise ValueError(f"dim must be even and a multiple of heads={self.heads}: {self.dim}")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, got {self.kernel}")
        if self.normalize not in NORMALIZE:
            raise ValueError(
                f"normalize must be one of {', '.join(map(repr, NORMALIZE))}, "
                f"got {self.normalize!r}"
            )
        if self.conv_norm not in ("layer", "batch"):
            raise ValueError(f"conv_norm must be 'layer' or 'batch', got {self.conv_norm!r}")
        _layers.check(self.mix, "mix")

    def _adopt(self) -> None:
        """Set the sizes to those of the checkpoint.

        Raises:
            ValueError: another size was asked for; subsampling in a way that `count` does not know.
        """
        hf = self.published
        sizes = {name: getattr(hf, theirs) for name, theirs in SIZES.items()}
        sizes["conv_norm"] = "batch"
        for field in dataclasses.fields(self):
            setting = getattr(self, field.name)
            if setting not in (field.default, sizes.get(field.name, setting)):
                raise ValueError(
                    f"{field.name} is {sizes[field.name]} in {self.pretrained}, got {setting}: "
                    "leave it out beside pretrained"
                )
        if (hf.subsampling_conv_kernel_size, hf.subsampling_conv_stride) != (3, 2):
            raise ValueError(f"{self.pretrained}: wanted subsampling by kernels of 3, strides of 2")
        for name, value in sizes.items():
            object.__setattr__(self, name, value)

    @functools.cached_property
    def published(self):
        """The checkpoint's configuration as transformers knows it."""
        from transformers import ParakeetEncoderConfig

        changes = _nemo.fields(self.pretrained)
        if changes is not None:
            return read_config(ParakeetEncoderConfig, "", changes)
        return read_config(ParakeetEncoderConfig, self.pretrained, {}, inside="encoder_config")

    def count(self, n):
        """Give the number of steps L for n frames; n may be a tensor of lengths."""
        return -(-n // self.subsampling)

    def build(self, in_dim: int) -> nn.Module:
        """Make the encoder for features of width `in_dim`.

        Raises:
            ValueError: in_dim is too small to be halved by the subsampling (raw waves are 1 wide),
                or not the checkpoint's; keys that do not fit.
        """
        if in_dim < self.subsampling:
            raise ValueError(
                f"the conformer encoder wants features of at least {self.subsampling} dimensions, "
                f"such as the front end kaldi_fbank80, got a front end of dimension {in_dim}"
            )
        if self.pretrained and in_dim != self.published.num_mel_bins:
            raise ValueError(
                f"{self.pretrained} wants {self.published.num_mel_bins} mel bands, got a front end "
                f"of dimension {in_dim}"
            )
        return Conformer(self, in_dim)


class Conformer(nn.Module):
    """See the module docstring."""

    def __init__(self, config: Config, in_dim: int):
        super().__init__()
        self.config = config
        self.extra = -in_dim % config.subsampling  # zeros that make the features halve evenly
        self.model = _load(config) if config.pretrained else _fresh(config, in_dim + self.extra)
        self.mix = _layers.Mix(config.mix, config.layers)

    def forward(self, x, lengths):
        """Map features x (B, T, F), lengths (B,) to states (B, L, D), lengths (B,)."""
        x = zero_beyond(x, lengths)
        x = NORMALIZE[self.config.normalize](x, lengths)
        x = nn.functional.pad(x, (0, self.extra, 0, max(0, 1 - x.shape[1])))
        mask = valid_mask(lengths, x.shape[1])
        out = self.model(
            x,
            attention_mask=mask,
            output_attention_mask=False,
            output_hidden_states=self.mix.needs_all,
        )
        return self.mix(out.last_hidden_state, out.hidden_states), self.config.count(lengths)


def _changes(config: Config) -> dict:
    """Give what is ours to say, of a checkpoint as well."""
    return {
        "dropout": config.dropout,
        "activation_dropout": config.dropout,
        "attention_dropout": config.attention_dropout,
        "layerdrop": 0.0,  # a skipped layer has no gradient, which distributed training refuses
    }


def _load(config: Config) -> nn.Module:
    """Load the encoder of a published Parakeet."""
    from transformers import ParakeetEncoder, ParakeetEncoderConfig

    hf = ParakeetEncoderConfig.from_dict({**config.published.to_dict(), **_changes(config)})
    nemo = _nemo.fields(config.pretrained) is not None
    left, rename = (_nemo.LEFT_OVER, _nemo.RENAME) if nemo else (LEFT_OVER, RENAME)
    return load_weights(ParakeetEncoder, config.pretrained, hf, left, rename)


def _fresh(config: Config, in_dim: int) -> nn.Module:
    """Make an encoder from the seed."""
    from transformers import ParakeetEncoder, ParakeetEncoderConfig

    sizes = {theirs: getattr(config, name) for name, theirs in SIZES.items()}
    sizes["intermediate_size"] = config.ff or 4 * config.dim
    model = ParakeetEncoder(ParakeetEncoderConfig(**sizes, num_mel_bins=in_dim, **_changes(config)))
    if config.conv_norm == "layer":
        for block in model.layers:
            block.conv.norm = ChannelNorm(config.dim)
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    return model


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of (B, C, L), so that no step sees another."""

    def forward(self, x):
        """Normalise each step of x (B, C, L) over C."""
        return super().forward(x.transpose(1, 2)).transpose(1, 2)
