"""The conformer of Granite speech, over transformers' `GraniteSpeechCTCEncoder`.

Attention stays within blocks of 200 steps and has Shaw's relative positions; half-way up, the
posteriors of a CTC head are added to the states. transformers has no mask for it: there a padded
batch differs from the utterance alone. Here attention and convolutions see nothing beyond an end,
so the layers are called one by one. The convolution modules have a BatchNorm, as published: while
they are trained, the batch matters.

Two frames of the front end are stacked into one step (`stack`); an odd last one is left out.

Shapes: x (B, T, F) log-mel frames at 100 Hz -> (B, L, D) states at 50 Hz, L = T // 2.
Papers: Granite speech, arXiv 2505.08699; relative positions, arXiv 1803.02155.
"""

import copy
import dataclasses
import functools

import torch
from torch import nn
from torch.nn import functional

from speechllm.models.encoders import _layers, _pretrained
from speechllm.models.encoders._ends import UtteranceConv
from speechllm.models.hub import read_config
from speechllm.models.masks import valid_mask, zero_beyond
from speechllm.ranges import Width

# A whole Granite speech keeps its encoder under these names, beside projector and LLM.
RENAME = {r"^(model\.)?encoder\.": ""}
LEFT_OVER = (r"(model\.)?(language_model|projector)\.", r"lm_head\.")


# Small enough for tests: (width of the front end, settings) of each case.
CONFIG = {
    "input_dim": 32,
    "num_layers": 2,
    "hidden_dim": 32,
    "num_heads": 4,
    "context_size": 10,
    "max_pos_emb": 16,
    "output_dim": 12,
    "conv_kernel_size": 5,
}
TINY = ((16, {"config": CONFIG}), (32, {"config": CONFIG, "layers": "weighted", "stack": 1}))


@dataclasses.dataclass(frozen=True)
class Config(_pretrained.Config):
    """Which Granite conformer, such as "ibm-granite/granite-speech-3.3-2b".

    See also `_pretrained.Config`. stack: frames of the front end in one step.
    """

    stack: Width = 2

    def __post_init__(self):
        """Refuse what means nothing."""
        if self.stack < 1:
            raise ValueError(f"stack must be at least 1, got {self.stack}")
        super().__post_init__()

    @functools.cached_property
    def hf(self):
        """The configuration as transformers knows it."""
        from transformers import GraniteSpeechEncoderConfig

        return read_config(
            GraniteSpeechEncoderConfig, self.pretrained, self.config, inside="encoder_config"
        )

    @property
    def dim(self) -> int:
        """Width D of the states."""
        return self.hf.hidden_dim

    def count(self, n):
        """Give the number of states L for n frames; n may be a tensor of lengths."""
        return n // self.stack

    def build(self, in_dim: int) -> nn.Module:
        """Make the encoder for `in_dim` mel bands.

        Raises:
            ValueError: stacked, they are not as wide as the checkpoint's input; no such checkpoint.
        """
        wanted = self.hf.input_dim
        if in_dim * self.stack != wanted:
            raise ValueError(
                f"this granite_conformer wants {wanted} features a step, so with stack = "
                f"{self.stack} {wanted / self.stack:g} mel bands, got a front end of dimension "
                f"{in_dim}"
            )
        return GraniteConformer(self, copy.deepcopy(self.hf))


class GraniteConformer(nn.Module):
    """See the module docstring."""

    def __init__(self, config: Config, hf):
        super().__init__()
        from transformers.models.granite_speech.modeling_granite_speech import (
            GraniteSpeechCTCEncoder,
        )

        self.config = config
        self.model = config.fetch(GraniteSpeechCTCEncoder, hf, LEFT_OVER, RENAME)
        for layer in self.model.layers:
            layer.conv.depth_conv.conv = UtteranceConv.like(layer.conv.depth_conv.conv)
        self.mix = _layers.Mix(config.layers, hf.num_layers)

    def forward(self, x, lengths):
        """Map log-mel x (B, T, F), lengths (B,) to states (B, L, D), lengths (B,)."""
        model, stack = self.model, self.config.stack
        steps = self.config.count(lengths)
        size = max(x.shape[1] // stack, 1)
        x = functional.pad(x[:, : size * stack], (0, 0, 0, max(0, stack - x.shape[1])))
        state = model.input_linear(zero_beyond(x.reshape(len(x), size, -1), steps))
        keep = valid_mask(steps, size)
        hidden = [state]
        for number, layer in enumerate(model.layers, 1):
            depth = layer.conv.depth_conv
            depth.conv.lengths = steps + depth.padding[0]  # it sees the padded sequence
            state = state + 0.5 * layer.ff1(state)
            state = state + attend(layer.attn, state, model.attention_dists, keep)
            state = state + layer.conv(state)
            state = layer.post_norm(state + 0.5 * layer.ff2(state))
            if number == model.num_layers // 2:
                state = state + model.out_mid(model.out(state).softmax(-1))
            hidden.append(state)
        return self.mix(state, hidden), steps


def attend(attention, x, distances, keep):
    """Let each step of x (B, L, D) attend to the valid steps `keep` (B, L) of its block.

    Args:
        attention: GraniteSpeechConformerAttention, for its parameters.
        x: states.
        distances: index (C, C) of the relative position of each pair in a block of C.
        keep: true where valid.
    """
    batch, size = keep.shape
    rest = -size % attention.context_size
    x = functional.pad(attention.pre_norm(x), (0, 0, 0, rest))
    blocks = x.reshape(-1, attention.context_size, x.shape[-1])
    q, k, v = (
        each.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
        for each in (attention.to_q(blocks), *attention.to_kv(blocks).chunk(2, -1))
    )
    scores = torch.einsum("bhcd,crd->bhcr", q, attention.rel_pos_emb(distances)) * attention.scale
    keep = functional.pad(keep, (0, rest)).reshape(-1, 1, 1, attention.context_size)
    # a block without a single valid step attends to all of it alike, and is unused
    scores = scores.to(q.dtype).masked_fill(~keep, torch.finfo(q.dtype).min)
    y = functional.scaled_dot_product_attention(q, k, v, scores, scale=attention.scale)
    y = y.transpose(1, 2).reshape(batch, size + rest, -1)[:, :size]
    return attention.dropout(attention.to_out(y))
