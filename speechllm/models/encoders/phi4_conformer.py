"""The conformer of Phi-4-multimodal, over transformers' `Phi4MultimodalAudioModel`.

Features less a stored mean, over a stored deviation; three strided convolutions; layers whose
attention has a learned bias for each distance and whose convolutions look back only. What is longer
than 40 s (500 states) is read in pieces of 40 s, the last one filled up with zero states, which are
attended to as published.

transformers adds its mask of valid states to the scores as 1 or 0, which masks nothing, and its
convolutions see the frames of the padding: there a padded batch differs from the utterance alone.
Here nothing beyond an end is seen, so the layers are called one by one.

Shapes: x (B, T, F) log-mel frames at 100 Hz -> (B, L, D) states at 12.5 Hz, L = T / 8, rounded up.
Paper: Phi-4-Mini, arXiv 2503.01743.
"""

import copy
import dataclasses
import functools

import torch
from torch import nn
from torch.nn import functional

from speechllm.models.encoders import _layers, _pretrained
from speechllm.models.hub import read_config
from speechllm.models.masks import valid_mask, zero_beyond

PIECE = 500  # states read at once, as in transformers and in the repository of the checkpoint
# A whole Phi-4-multimodal keeps its encoder under this name, beside the rest.
RENAME = {r"^model\.embed_tokens_extend\.audio_embed\.encoder\.": ""}
LEFT_OVER = (
    r"model\.(embed_tokens|layers|norm)\.",
    r"model\.embed_tokens_extend\.(image_embed|audio_embed\.(up|down)_proj)",
    r"lm_head\.",
)


# Small enough for tests: (width of the front end, settings) of each case.
CONFIG = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_blocks": 2,
    "num_attention_heads": 4,
    "ext_pw_out_channel": 32,
    "depthwise_separable_out_channel": 32,
    "input_size": 16,
    "nemo_conv_channels": 8,
    "bias_max_distance": 20,
}
TINY = ((16, {"config": CONFIG}), (16, {"config": CONFIG, "layers": "weighted"}))


@dataclasses.dataclass(frozen=True)
class Config(_pretrained.Config):
    """Which Phi-4 conformer, in transformers' own format; settings as in `_pretrained.Config`."""

    @functools.cached_property
    def hf(self):
        """The configuration as transformers knows it."""
        from transformers import Phi4MultimodalAudioConfig

        return read_config(
            Phi4MultimodalAudioConfig, self.pretrained, self.config, inside="audio_config"
        )

    @property
    def dim(self) -> int:
        """Width D of the states."""
        return self.hf.hidden_size

    def count(self, n):
        """Give the number of states L for n frames; n may be a tensor of lengths."""
        return -(-n // self.hf.time_reduction)

    def build(self, in_dim: int) -> nn.Module:
        """Make the encoder for `in_dim` mel bands.

        Raises:
            ValueError: not as many bands as it wants; streaming by chunks; no such checkpoint.
        """
        if in_dim != self.hf.input_size:
            raise ValueError(
                f"this phi4_conformer wants {self.hf.input_size} mel bands, got a front end of "
                f"dimension {in_dim}"
            )
        if self.hf.chunk_size > 0:
            raise ValueError(f"wanted chunk_size -1, no streaming, got {self.hf.chunk_size}")
        return Phi4Conformer(self, copy.deepcopy(self.hf))


class Phi4Conformer(nn.Module):
    """See the module docstring."""

    def __init__(self, config: Config, hf):
        super().__init__()
        from transformers.models.phi4_multimodal.modeling_phi4_multimodal import (
            Phi4MultimodalAudioModel,
        )

        self.config = config
        self.model = config.fetch(Phi4MultimodalAudioModel, hf, LEFT_OVER, RENAME)
        self.mix = _layers.Mix(config.layers, hf.num_blocks)

    def forward(self, x, lengths):
        """Map log-mel x (B, T, F), lengths (B,) to states (B, L, D), lengths (B,)."""
        model = self.model
        state, lengths = subsample(model.embed, model.encoder_embedding(x), lengths)
        rows, size, _ = state.shape
        keep = valid_mask(lengths, size)
        if size > PIECE:
            # what is read in pieces fills its last one, and what is not has an end in its first
            filled = torch.where(lengths > PIECE, -(-lengths // PIECE) * PIECE, lengths)
            extra = (0, 0, 0, -size % PIECE)
            state = functional.pad(zero_beyond(state, lengths), extra)
            keep = valid_mask(filled, state.shape[1]).reshape(-1, PIECE)
            state = state.reshape(len(keep), PIECE, -1)
        bias = model.relative_attention_bias_layer(state).to(state.dtype)
        scores = bias.masked_fill(~keep[:, None, None], torch.finfo(state.dtype).min)
        hidden = [state]
        for layer in model.encoders:
            hidden.append(layer(hidden[-1], scores))
        hidden = [each.reshape(rows, -1, each.shape[-1])[:, :size] for each in hidden]
        return self.mix(hidden[-1], hidden), lengths


def subsample(embed, x, lengths):
    """Bring the frame rate down: x (B, T, F), lengths (B,) to (B, L, D), lengths (B,).

    Args:
        embed: Phi4MultimodalAudioNemoConvSubsampling, for its parameters.
        x: features.
        lengths: before each strided convolution, what lies beyond the end is zero.
    """
    x = functional.pad(x, (0, 0, 0, max(0, 1 - x.shape[1])))[:, None]
    for module in embed.conv:
        strided = getattr(module, "stride", (1,))[0] == 2
        if strided:
            x = zero_beyond(x, lengths, 2)
        x = module(x)
        lengths = -(-lengths // 2) if strided else lengths
    return embed.out(x.transpose(1, 2).flatten(2)), lengths
