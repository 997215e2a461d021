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

import torch
from torch import nn

from speechllm.models.encoders import _bands, _pretrained
from speechllm.models.encoders._whisper import Whisper
from speechllm.models.hub import read_config
from speechllm.ranges import Size

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
