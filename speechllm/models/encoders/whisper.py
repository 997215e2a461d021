"""Whisper's encoder, over transformers: log-mel frames at 100 Hz to states at 50 Hz.

Whisper was trained on windows of 30 s, silence included. `window = "30s"` feeds it exactly that
(the front end pads, option pad_to_s = 30.0) and then keeps the states of the utterance itself.
`window = "masked"`, as in Qwen2-Audio, takes the same input, but attention sees the utterance
alone, and what it does not see is not computed. `window = "variable"` has the utterance alone as
input: positions are cut to its length and attention is masked, which costs a sixth for 5 s of
speech; a checkpoint should be trained on in this way before its accuracy is trusted.

`split = n` cuts it above its n-th layer: `below` makes what is stored of a sound, `above` goes on
from there. So the upper layers can learn while the lower ones, which do not, run once.

Several windows (front end: pad_longer = "windows" or "multiple") are encoded each by itself, and
their states stand one after the other.

Shapes: x (B, T, F) -> (B, L, D), L = T / 2, rounded up. Paper: arXiv 2212.04356.
"""

import copy
import dataclasses
import functools
import re

import torch
from torch import nn
from torch.nn import functional

from speechllm.models import attention
from speechllm.models.encoders import _bands, _layers, _pretrained
from speechllm.models.hub import read_config
from speechllm.models.masks import valid_mask, zero_beyond
from speechllm.ranges import Size

# A whole Whisper keeps its encoder under these names; a saved encoder has none of them.
RENAME = {r"^(model\.)?encoder\.": ""}
LEFT_OVER = (r"(model\.)?decoder\.", r"proj_out\.")


# Small enough for tests: (width of the front end, settings) of each case.
CONFIG = {
    "d_model": 32,
    "encoder_layers": 2,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "max_source_positions": 40,
    "num_mel_bins": 20,
}
TINY = (
    (20, {"config": CONFIG}),
    (20, {"config": CONFIG, "window": "masked", "final_norm": False}),
    (20, {"config": CONFIG, "window": "variable"}),
    (20, {"config": CONFIG, "layers": "weighted", "window": "variable"}),
    (20, {"config": CONFIG, "layers": "1", "window": "masked"}),
    (20, {"config": CONFIG, "window": "masked", "split": 1}),
)


@dataclasses.dataclass(frozen=True)
class Config(_pretrained.Config):
    """Which Whisper; see also `_pretrained.Config`.

    window: "30s", "masked" or "variable".
    split: layers whose output is what `speechllm data states` stores; 0: all of them, and the norm.
        Windows "masked" and "variable" only.
    final_norm: with the LayerNorm after the last layer; without it an adapter brings its own
    (`pool`, layer_norm = true: Qwen2-Audio, Audio Flamingo 3).
    """

    window: str = "30s"
    split: Size = 0
    final_norm: bool = True

    def __post_init__(self):
        """Refuse words that mean nothing."""
        if self.window not in ("30s", "masked", "variable"):
            raise ValueError(f"window must be '30s', 'masked' or 'variable', got {self.window!r}")
        if self.split and (self.window == "30s" or self.layers != "last"):
            raise ValueError(
                f"split = {self.split} wants window = 'masked' or 'variable' and layers = 'last', "
                f"got {self.window!r} and {self.layers!r}"
            )
        super().__post_init__()

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

    @property
    def most_frames(self) -> int:
        """Frames of the longest sound that is heard without windows, 0 for any length."""
        return 2 * self.hf.max_source_positions if self.window == "variable" else 0

    def count(self, n):
        """Give the number of states L for n frames; n may be a tensor of lengths."""
        return -(-n // 2)

    def check(self, extractor) -> None:
        """Refuse a front end whose windows are not those of the checkpoint.

        Raises:
            ValueError: with window "30s", what the front end gives is not as long.
        """
        wanted = 2 * self.hf.max_source_positions
        with torch.device("cpu"):  # also where the model itself is made on the meta device
            frames = len(extractor(torch.zeros(extractor.sampling_rate))[0])
        if self.window == "30s" and frames != wanted and extractor.dim > 1:
            raise ValueError(
                f"whisper with window = '30s' wants {wanted} frames of each utterance, the front "
                f"end gives {frames} for one of 1 s: set its pad_to_s = {wanted / 100}, or the "
                "encoder's window = 'variable'"
            )

    def build(self, in_dim: int) -> nn.Module:
        """Make the encoder for `in_dim` mel bands.

        Raises:
            ValueError: another number of bands than the checkpoint's, or no such checkpoint, or
                one that has no layer above `split`.
        """
        if self.split >= self.hf.encoder_layers:
            raise ValueError(
                f"split = {self.split}: wanted less than the {self.hf.encoder_layers} layers there "
                "are, or 0"
            )
        wanted = self.hf.num_mel_bins
        _bands.check("whisper", wanted, in_dim, f"front end whisper{wanted}")
        return Whisper(self, copy.deepcopy(self.hf))


class Whisper(nn.Module):
    """See the module docstring."""

    def __init__(self, config: Config, hf):
        super().__init__()
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        self.config = config
        self.frames = 2 * hf.max_source_positions
        self.windowed = config.window != "variable"
        self.model = config.fetch(WhisperEncoder, hf, LEFT_OVER, RENAME)
        attention.use(self.model.config)
        if not config.final_norm:
            self.model.layer_norm = nn.Identity()
        self.mix = _layers.Mix(config.layers, hf.encoder_layers)
        if self.mix.number:  # what is above is not asked
            self.model.layers = self.model.layers[: self.mix.number]
            self.model.layer_norm = nn.Identity()

    def forward(self, x, lengths):
        """Map log-mel x (B, T, F), lengths (B,) to states (B, L, D), lengths (B,).

        Raises:
            ValueError: x is not made of whole windows, or (window "variable") longer than one.
        """
        return self.above(*self.below(x, lengths))

    def below(self, x, lengths):
        """Do what `forward` does, up to the split."""
        steps = self.config.count(lengths)
        if self.config.window == "variable":
            self._check(x.shape[1] <= self.frames, x)
            return self._variable(zero_beyond(x, lengths), lengths), steps
        self._check(x.shape[1] % self.frames == 0 and x.shape[1] > 0, x)
        return self._windows(x, steps)[:, : int(steps.max())], steps

    def above(self, states, steps):
        """Go on above the split from what `below` gave: states (B, L, D), steps (B,), to the same.

        Each window is seen by itself, as below.
        """
        if not self.config.split:
            return states, steps
        size, half = states.shape[1], self.frames // 2
        inside = steps
        if size > half:  # several windows: (B, W * half, D) to (B * W, half, D)
            windows = -(-size // half)
            states = functional.pad(states, (0, 0, 0, windows * half - size))
            states = states.unflatten(1, (windows, half)).flatten(0, 1)
            begin = torch.arange(windows, device=steps.device) * half
            inside = (steps[:, None] - begin).clamp(0, half).flatten()
        out = self._run(self.model.layers[self.config.split :], states, inside)
        return self.model.layer_norm(out).reshape(len(steps), -1, out.shape[-1])[:, :size], steps

    def lies_above(self, name: str) -> bool:
        """Say whether a parameter, by its name in this module, belongs to what is above."""
        found = re.match(r"model\.layers\.(\d+)\.", name)
        if not self.config.split:
            return False
        return int(found[1]) >= self.config.split if found else name.startswith("model.layer_norm.")

    def _check(self, good: bool, x) -> None:
        if not good:
            raise ValueError(
                f"whisper with window={self.config.window!r} wants {self.frames} frames, got "
                f"{x.shape[1]}: set the front end's pad_to_s = {self.frames / 100} for the windows "
                "'30s' and 'masked', and cut longer audio or let it (pad_longer = \"windows\")"
            )

    def _windows(self, x, steps):
        """Encode x (B, W * frames, F), `steps` (B,) of it valid, window by window.

        A window in which nothing is valid is left out; zeros stand in its place.
        """
        # Two utterances of 1700 and 900 steps in windows of 1500 (30 s):
        #
        #     inside    1500 200    the second window of the first holds 200 steps, of the second
        #                900   0    none, so three windows are encoded, not four
        half = self.frames // 2
        begin = torch.arange(x.shape[1] // self.frames, device=x.device) * half
        inside = (steps[:, None] - begin).clamp(0, half)  # valid steps of each window: (B, W)
        used = (inside > 0) | (begin == 0)  # an empty utterance has its first window all the same
        states = self._encode(x.unflatten(1, (-1, self.frames))[used], inside[used])
        if used.shape[1] == 1:
            return states
        states = functional.pad(states, (0, 0, 0, half - states.shape[1]))
        out = states.new_zeros(*used.shape, half, states.shape[-1])
        return out.index_put(used.nonzero(as_tuple=True), states).flatten(1, 2)

    def _encode(self, x, steps):
        """Encode single windows (B, frames, F), with all or with `steps` (B,) of them seen."""
        if self.config.window == "30s":
            out = self.model(x.transpose(1, 2), output_hidden_states=self.mix.needs_all)
            return self.mix(out.last_hidden_state, out.hidden_states)
        size = max(int(steps.max()), 1)
        x = x[:, : 2 * size + 1]  # as far as the convolutions see
        x = functional.gelu(self.model.conv1(x.transpose(1, 2)))
        return self._layers(functional.gelu(self.model.conv2(x)).transpose(1, 2)[:, :size], steps)

    def _variable(self, x, lengths):
        """Run the layers on as many positions as there are; nothing beyond an end is seen."""
        model, x = self.model, functional.pad(x, (0, 0, 0, max(0, 1 - x.shape[1])))
        x = functional.gelu(model.conv1(x.transpose(1, 2))).transpose(1, 2)
        x = functional.gelu(model.conv2(zero_beyond(x, lengths).transpose(1, 2))).transpose(1, 2)
        return self._layers(x, self.config.count(lengths))

    def _layers(self, x, steps):
        """Add positions to x (B, L, D) and run the layers; attention sees `steps` (B,) of it."""
        model = self.model
        state = x + model.embed_positions.weight[: x.shape[1]]
        state = functional.dropout(state, model.dropout, self.training)
        if self.config.split:
            return self._run(model.layers[: self.config.split], state, steps)
        if self.mix.number:
            return self._run(model.layers, state, steps)
        hidden: list = []
        state = model.layer_norm(self._run(model.layers, state, steps, hidden))
        return self.mix(state, [*hidden, state])

    def _run(self, layers, state, steps, hidden: list | None = None):
        """Run layers on states (B, L, D), of which attention sees `steps` (B,).

        What goes into each is added to `hidden`, where the mix wants it.
        """
        mask = valid_mask(steps.clamp(min=1), state.shape[1])[:, None, None]
        mask = mask.expand(-1, 1, state.shape[1], -1)
        for layer in layers:
            if hidden is not None and self.mix.needs_all:
                hidden.append(state)
            state = layer(state, mask)
            state = state[0] if isinstance(state, tuple) else state  # transformers 5.0
        return state
