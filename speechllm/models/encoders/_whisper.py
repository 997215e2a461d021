"""Whisper's encoder as a network: windows, positions, layers; see `whisper.py`.

Shapes: x (B, T, F) -> (B, L, D), L = T / 2, rounded up; W windows of 30 s.
"""

import re

import torch
from torch import nn
from torch.nn import functional

from speechllm.models import attention
from speechllm.models.encoders import _layers
from speechllm.models.masks import valid_mask, zero_beyond

# A whole Whisper keeps its encoder under these names; a saved encoder has none of them.
RENAME = {r"^(model\.)?encoder\.": ""}
LEFT_OVER = (r"(model\.)?decoder\.", r"proj_out\.")


class Whisper(nn.Module):
    """The network of a `whisper.Config`; hf: its configuration as transformers knows it."""

    def __init__(self, config, hf):
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
