"""The encoder of Qwen3-ASR, over transformers' `Qwen3ASREncoder`: log-mel to states at 13 Hz.

Each second of log-mel goes through three convolutions by itself (100 frames become 13 states, with
positions of their own), then attention looks at windows of eight seconds. transformers packs the
states of a batch and cuts the pack by attention windows; here they stay in rows, and all windows
of all utterances are one batch of attention, masked at the end of each utterance. Beyond an end
the convolutions see zeros, as there where an utterance is alone.

Shapes: x (B, T, F) log-mel frames at 100 Hz -> (B, L, D), L = 13 a second and what is left of one.
Source: transformers 5.23; report arXiv 2601.21337.
"""

import copy
import dataclasses
import functools

from torch import nn
from torch.nn import functional

from speechllm.models.encoders import _bands, _layers, _pretrained
from speechllm.models.hub import newer, read_config
from speechllm.models.masks import valid_mask, zero_beyond

# A whole Qwen3-ASR keeps its encoder under this name, beside projector and LLM.
RENAME = {r"^(model\.)?audio_tower\.": ""}
LEFT_OVER = (r"(model\.)?(language_model|multi_modal_projector)\.", r"lm_head\.")


# Small enough for tests: (width of the front end, settings) of each case.
CONFIG = {
    "d_model": 32,
    "encoder_layers": 2,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "num_mel_bins": 16,
    "downsample_hidden_size": 4,
    "n_window": 8,
    "n_window_infer": 48,
    "max_position_embeddings": 2,
}
TINY = ((16, {"config": CONFIG}), (16, {"config": CONFIG, "layers": "weighted"}))


@dataclasses.dataclass(frozen=True)
class Config(_pretrained.Config):
    """Which Qwen3-ASR encoder; settings as in `_pretrained.Config`.

    For example pretrained = "Qwen/Qwen3-ASR-1.7B-hf".
    """

    @functools.cached_property
    def hf(self):
        """The configuration as transformers knows it.

        Raises:
            ValueError: attention windows that are no whole number of chunks; an older transformers.
        """
        kind = newer("Qwen3ASREncoderConfig")
        config = read_config(kind, self.pretrained, self.config, inside="audio_config")
        if config.n_window_infer % (2 * config.n_window):
            raise ValueError(
                f"n_window_infer must be a multiple of {2 * config.n_window} frames, a chunk; "
                f"got {config.n_window_infer}"
            )
        return config

    @property
    def dim(self) -> int:
        """Width D of the states."""
        return self.hf.d_model

    @property
    def chunk(self) -> int:
        """Frames that go through the convolutions together."""
        return 2 * self.hf.n_window

    def count(self, n):
        """Give the number of states L for n frames; n may be a tensor of lengths."""
        return n // self.chunk * _conv(self.chunk) + _conv(n % self.chunk)

    def build(self, in_dim: int) -> nn.Module:
        """Make the encoder for `in_dim` mel bands.

        Raises:
            ValueError: another number of bands than the checkpoint's, or no such checkpoint.
        """
        _bands.check("qwen3_asr", self.hf.num_mel_bins, in_dim, "front end whisper128")
        return Qwen3ASR(self, copy.deepcopy(self.hf))


def _conv(n):
    """Give the length of n frames after three convolutions of stride 2."""
    return -(-n // 8)


class Qwen3ASR(nn.Module):
    """See the module docstring."""

    def __init__(self, config: Config, hf):
        super().__init__()
        from transformers.models.qwen3_asr.modeling_qwen3_asr import Qwen3ASREncoder

        self.config = config
        self.model = config.fetch(Qwen3ASREncoder, hf, LEFT_OVER, RENAME)
        self.window = hf.n_window_infer // config.chunk * _conv(config.chunk)
        self.mix = _layers.Mix(config.layers, hf.encoder_layers)

    def forward(self, x, lengths):
        """Map log-mel x (B, T, F), lengths (B,) to states (B, L, D), lengths (B,)."""
        steps = self.config.count(lengths)
        state = self._convolved(zero_beyond(x, lengths))
        state, rows = self._windows(state, steps)
        hidden = [state]
        for layer in self.model.layers:
            state = attend(layer, state, rows)
            hidden.append(state)
        state = self.model.ln_post(state)
        state = self.mix(state, hidden)
        state = state.reshape(len(x), -1, state.shape[-1])
        return state[:, : max(int(steps.max()), 1)], steps

    def _convolved(self, x):
        """Send chunks of x (B, T, F) through the convolutions, and add positions: (B, L, D)."""
        model, chunk = self.model, self.config.chunk
        rest = -x.shape[1] % chunk if x.shape[1] else chunk
        chunks = functional.pad(x, (0, 0, 0, rest)).reshape(-1, 1, chunk, x.shape[2])
        y = chunks.transpose(2, 3)
        for conv in (model.conv2d1, model.conv2d2, model.conv2d3):
            y = functional.gelu(conv(y))
        y = model.conv_out(y.permute(0, 3, 1, 2).flatten(2))
        y = y + model.positional_embedding.positional_embedding[: y.shape[1]].to(y.dtype)
        return y.reshape(len(x), -1, y.shape[-1])

    def _windows(self, state, steps):
        """Cut states (B, L, D) into windows (B * W, w, D), and say which of them are valid.

        w is the attention's window, or all there is where that is shorter.
        """
        size = min(self.window, state.shape[1])
        state = functional.pad(state, (0, 0, 0, -state.shape[1] % size))
        keep = valid_mask(steps, state.shape[1]).reshape(-1, size)
        return state.reshape(-1, size, state.shape[-1]), keep


def attend(layer, state, keep):
    """Run a layer of transformers' encoder on states (B, L, D), of which `keep` (B, L) are seen."""
    attention, x = layer.self_attn, layer.self_attn_layer_norm(state)
    q, k, v = (
        project(x).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
        for project in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    mask = (keep | ~keep.any(1, keepdim=True))[:, None, None]  # nothing valid: all alike, unused
    y = functional.scaled_dot_product_attention(q, k, v, mask, scale=attention.scaling)
    state = state + attention.out_proj(y.transpose(1, 2).flatten(2))
    x = layer.activation_fn(layer.fc1(layer.final_layer_norm(state)))
    return state + layer.fc2(x)
