"""AST, the Audio Spectrogram Transformer, over transformers: log-mel frames to patches of 160 ms.

A Transformer over patches of 16 x 16, which overlap by 6 in time and frequency, with two learned
vectors in front and learned positions. It was trained on windows of 1024 frames, filled up with
zeros before the features are normalised: `window = "full"` feeds it exactly that, whatever the
front end left behind the end, and keeps the states of the patches that lie within the utterance.
`window = "variable"` runs on these patches alone, their positions those of the first columns: five
times cheaper for 2 s, to be trusted after some training only.

The front end is Kaldi's fbank with 128 bins, unit scale, a Hann window, normalised by
(x + 4.2677393) / (2 * 4.5689974).

Shapes: x (B, T, 128) frames -> (B, L, D) states, 12 a column and 10 columns a second, or one a
column. Paper: arXiv 2104.01778.
"""

import copy
import dataclasses
import functools

import torch
from torch import nn

from speechllm.models.encoders import _bands, _layers, _patches, _pretrained
from speechllm.models.hub import outdated, read_config
from speechllm.models.masks import valid_mask

LEFT_OVER = (r"classifier\.",)


# Small enough for tests: (width of the front end, settings) of each case.
CONFIG = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "patch_size": 6,
    "frequency_stride": 4,
    "time_stride": 4,
    "max_length": 90,
    "num_mel_bins": 16,
}
TINY = (
    (16, {"config": CONFIG}),
    (16, {"config": CONFIG, "window": "variable", "patches": "mean"}),
    (16, {"config": CONFIG, "layers": "weighted", "patches": "mean"}),
)


@dataclasses.dataclass(frozen=True)
class Config(_pretrained.Config):
    """Which AST, such as "MIT/ast-finetuned-audioset-10-10-0.4593"; see also `_pretrained.Config`.

    window: "full" or "variable". filling: what stands behind the end in a full window, a zero as
    the front end normalises it. patches: "all" states, a column after the other, or the "mean" of
    each column.
    """

    window: str = "full"
    filling: float = 4.2677393 / (2 * 4.5689974)
    patches: str = "all"

    def __post_init__(self):
        """Refuse words that mean nothing."""
        if self.window not in ("full", "variable"):
            raise ValueError(f"window must be 'full' or 'variable', got {self.window!r}")
        _patches.check(self.patches)
        super().__post_init__()

    @functools.cached_property
    def hf(self):
        """The configuration as transformers knows it."""
        from transformers import ASTConfig

        return read_config(ASTConfig, self.pretrained, self.config)

    @property
    def dim(self) -> int:
        """Width D of the states."""
        return self.hf.hidden_size

    @property
    def rows(self) -> int:
        """Number of patches in a column."""
        return _patches.columns(self.hf.num_mel_bins, self.hf.patch_size, self.hf.frequency_stride)

    def columns(self, n):
        """Give the number of columns within n frames; n may be a tensor of lengths."""
        return _patches.columns(n, self.hf.patch_size, self.hf.time_stride)

    def count(self, n):
        """Give the number of states L for n frames; n may be a tensor of lengths."""
        return self.columns(n) * (self.rows if self.patches == "all" else 1)

    def build(self, in_dim: int) -> nn.Module:
        """Make the encoder for `in_dim` mel bands.

        Raises:
            ValueError: another number of bands than the checkpoint's, or no such checkpoint.
        """
        _bands.check("ast", self.hf.num_mel_bins, in_dim, _patches.FRONT)
        return AST(self, copy.deepcopy(self.hf))


class AST(nn.Module):
    """See the module docstring."""

    def __init__(self, config: Config, hf):
        super().__init__()
        from transformers import ASTModel

        self.config = config
        self.frames = hf.max_length
        self.model = config.fetch(ASTModel, hf, LEFT_OVER)
        if not hasattr(self.model, "layers"):
            raise outdated("has no AST whose layers take a mask")
        self.mix = _layers.Mix(config.layers, hf.num_hidden_layers)

    def forward(self, x, lengths):
        """Map features x (B, T, F), lengths (B,) to states (B, L, D), lengths (B,).

        Raises:
            ValueError: an utterance is longer than the window.
        """
        longest = int(lengths.max())
        if longest > self.frames:
            raise ValueError(
                f"ast hears at most {self.frames} frames, got {longest}: cut longer audio"
            )
        full = self.config.window == "full"
        x = self._window(x, lengths, self.frames if full else max(longest, 1))
        grid = self._run(x, None if full else self.config.columns(lengths))
        steps = self.config.count(lengths)
        return _patches.states(grid, self.config.patches)[:, : max(int(steps.max()), 1)], steps

    def _window(self, x, lengths, size: int):
        """Make x (B, T, F) `size` frames long, at least one patch, all beyond the ends filled."""
        size = max(size, self.model.config.patch_size)
        keep = valid_mask(lengths, size)[..., None]
        x = nn.functional.pad(x[:, :size], (0, 0, 0, max(0, size - x.shape[1])))
        return torch.where(keep, x, self.config.filling)

    def _run(self, x, columns):
        """Map frames x (B, T, F) to the grid of states (B, C, R, D), C columns of R patches.

        Attention sees all patches, or the first `columns` (B,) and the two vectors in front.
        """
        model, rows = self.model, self.config.rows
        patches = model.embeddings.patch_embeddings(x)  # lowest frequencies first, all times
        size = patches.shape[1] // rows
        front, places = model.embeddings.position_embeddings.split(
            (2, model.embeddings.position_embeddings.shape[1] - 2), 1
        )
        places = places.unflatten(1, (rows, -1))[:, :, :size].flatten(1, 2)
        heads = torch.cat((model.embeddings.cls_token, model.embeddings.distillation_token), 1)
        state = torch.cat(((heads + front).expand(len(x), -1, -1), patches + places), 1)
        state, mask = model.embeddings.dropout(state), None
        if columns is not None:
            mask = valid_mask(columns, size)[:, None].expand(-1, rows, -1).flatten(1)
            mask = nn.functional.pad(mask, (2, 0), value=True)[:, None, None]
            mask = mask.expand(-1, 1, mask.shape[-1], -1)
        hidden = []
        for layer in model.layers:
            hidden += [state] if self.mix.needs_all else []
            state = layer(state, mask)
        state = model.layernorm(state)
        state = self.mix(state, [*hidden, state])
        return state[:, 2:].unflatten(1, (rows, size)).transpose(1, 2)
