"""Whisper's encoder, over transformers: log-mel frames at 100 Hz to states at 50 Hz.

Whisper was trained on windows of 30 s, silence included. `window = "30s"` feeds it exactly that
(the front end pads, option pad_to_s = 30.0) and then keeps the states of the utterance itself.
`window = "variable"` runs on the utterance alone: positions are cut to its length and attention
is masked, which costs a sixth for 5 s of speech; a checkpoint should be trained on in this way
before its accuracy is trusted.

Shapes: x (B, T, F) -> (B, L, D), L = T / 2, rounded up. Paper: arXiv 2212.04356.
"""

import copy
import dataclasses
import functools

from torch import nn
from torch.nn import functional

from speechllm.models.encoders import _layers
from speechllm.models.hub import load_weights, read_config
from speechllm.models.masks import valid_mask, zero_beyond

# A whole Whisper keeps its encoder under these names; a saved encoder has none of them.
RENAME = {r"^(model\.)?encoder\.": ""}
LEFT_OVER = (r"(model\.)?decoder\.", r"proj_out\.")


@dataclasses.dataclass(frozen=True)
class Config:
    """Which Whisper.

    pretrained: Hub id or folder. config: fields of WhisperConfig that differ from it, or from the
    defaults (random weights) without `pretrained`.
    window: "30s" or "variable". layers: "last" or "weighted" (learned sum of all layers).
    """

    pretrained: str = ""
    config: dict = dataclasses.field(default_factory=dict)
    window: str = "30s"
    layers: str = "last"

    def __post_init__(self):
        """Refuse words that mean nothing."""
        if self.window not in ("30s", "variable"):
            raise ValueError(f"window must be '30s' or 'variable', got {self.window!r}")
        _layers.check(self.layers)

    @functools.cached_property
    def hf(self):
        """The configuration as transformers knows it."""
        from transformers import WhisperConfig

        return read_config(
            WhisperConfig, self.pretrained, {"encoder_layerdrop": 0.0, **self.config}
        )

    @property
    def dim(self) -> int:
        """Width D of the states."""
        return self.hf.d_model

    def count(self, n):
        """Give the number of states L for n frames; n may be a tensor of lengths."""
        return -(-n // 2)

    def build(self, in_dim: int) -> nn.Module:
        """Make the encoder for `in_dim` mel bands.

        Raises:
            ValueError: another number of bands than the checkpoint's, or no such checkpoint.
        """
        hf = copy.deepcopy(self.hf)
        if in_dim != hf.num_mel_bins:
            raise ValueError(
                f"this whisper encoder wants {hf.num_mel_bins} mel bands (front end "
                f"whisper{hf.num_mel_bins}), got a front end of dimension {in_dim}"
            )
        return Whisper(self, hf)


class Whisper(nn.Module):
    """See the module docstring."""

    def __init__(self, config: Config, hf):
        super().__init__()
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        self.config = config
        self.frames = 2 * hf.max_source_positions
        self.windowed = config.window != "variable"
        self.model = (
            load_weights(WhisperEncoder, config.pretrained, hf, LEFT_OVER, RENAME)
            if config.pretrained
            else WhisperEncoder(hf)
        )
        self.mix = _layers.Mix(config.layers, hf.encoder_layers)

    def forward(self, x, lengths):
        """Map log-mel x (B, T, F), lengths (B,) to states (B, L, D), lengths (B,).

        Raises:
            ValueError: x is not 30 s long (window "30s"), or longer than that.
        """
        if x.shape[1] > self.frames or (self.config.window == "30s" and x.shape[1] != self.frames):
            raise ValueError(
                f"whisper with window={self.config.window!r} wants {self.frames} frames, got "
                f"{x.shape[1]}: set the front end's pad_to_s = {self.frames / 100} for the window "
                "'30s', and cut longer audio"
            )
        steps = self.config.count(lengths)
        if self.config.window == "variable":
            return self._variable(zero_beyond(x, lengths), lengths), steps
        out = self.model(x.transpose(1, 2), output_hidden_states=self.mix.needs_all)
        states = self.mix(out.last_hidden_state, out.hidden_states)
        return states[:, : int(steps.max())], steps

    def _variable(self, x, lengths):
        """Run the layers on as many positions as there are; nothing beyond an end is seen."""
        model, x = self.model, functional.pad(x, (0, 0, 0, max(0, 1 - x.shape[1])))
        x = functional.gelu(model.conv1(x.transpose(1, 2))).transpose(1, 2)
        x = functional.gelu(model.conv2(zero_beyond(x, lengths).transpose(1, 2))).transpose(1, 2)
        state = x + model.embed_positions.weight[: x.shape[1]]
        state = functional.dropout(state, model.dropout, self.training)
        mask = valid_mask(self.config.count(lengths).clamp(min=1), x.shape[1])[:, None, None]
        mask = mask.expand(-1, 1, x.shape[1], -1)
        hidden = []
        for layer in model.layers:
            hidden += [state] if self.mix.needs_all else []
            state = layer(state, mask)
        state = model.layer_norm(state)
        return self.mix(state, [*hidden, state])
