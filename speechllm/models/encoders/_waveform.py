"""What wav2vec2, HuBERT, WavLM and data2vec share: samples at 16 kHz to states at 50 Hz.

The four differ in how they were trained and, inside, in their positions; transformers gives them
one shape: strided convolutions without padding, a projection, a Transformer. What is added here is
that padding never changes a result. Models whose first convolution is followed by a GroupNorm over
time (the "base" sizes) are known to change with the padding of the batch; here its statistics are
taken over each utterance's own frames, so that alone and in a batch are the same. A family with
more such layers mends them in its own file (`Config.mend`).

Whether the waveform is brought to zero mean and unit variance is the front end's business:
wave16k with normalize = true where the checkpoint's preprocessor_config.json says do_normalize.

Shapes: x (B, N) -> (B, L, D), L = N / 320 less the edges.
"""

import copy
import dataclasses
import functools
import typing

import torch
from torch import nn
from torch.nn import functional

from speechllm.models.encoders import _layers, _pretrained
from speechllm.models.hub import read_config
from speechllm.models.masks import valid_mask, zero_beyond

# Heads of pretraining and of recognition, and the vector of SpecAugment when that is off.
LEFT_OVER = (
    r"(\w+\.)?masked_spec_embed$",
    r"(quantizer|project_hid|project_q|lm_head|final_proj|label_embs_concat|mask_emb)\b",
)
# Sizes small enough for tests, of encoders whose first convolution has a norm over the utterance
# (base) or whose convolutions have one over the channels (large).
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "conv_dim": [16, 16, 16],
    "conv_kernel": [10, 3, 2],
    "conv_stride": [5, 2, 2],
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
GROUP = {**SMALL, "num_feat_extract_layers": 3, "feat_extract_norm": "group"}
LAYER = {
    **GROUP,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
    "conv_bias": True,
}
OFF = {"mask_time_prob": 0.0, "mask_feature_prob": 0.0, "layerdrop": 0.0}


@dataclasses.dataclass(frozen=True)
class Config(_pretrained.Config):
    """Which checkpoint; settings as in `_pretrained.Config`.

    SpecAugment (mask_time_prob, mask_feature_prob) and layerdrop are off unless `config` asks for
    them, whatever the checkpoint was trained with; transformers draws that SpecAugment from numpy's
    global generator.
    """

    family: typing.ClassVar[str]  # the class names of transformers begin with it

    @functools.cached_property
    def hf(self):
        """The configuration as transformers knows it."""
        import transformers

        config_class = getattr(transformers, f"{self.family}Config")
        hf = read_config(config_class, self.pretrained, {**OFF, **self.config})
        if getattr(hf, "add_adapter", False):
            raise ValueError(
                f"{self.pretrained or 'config'}: add_adapter = true shortens the states; use an "
                "adapter of ours instead, with config = { add_adapter = false }"
            )
        return hf

    @property
    def dim(self) -> int:
        """Width D of the states."""
        return self.hf.hidden_size

    def count(self, n):
        """Give the number of states L for n samples; n may be a tensor of lengths."""
        return self.counts(n)[-1]

    def counts(self, n) -> list:
        """Give the number of frames after each convolution for n samples, 0 if too short."""
        hf, frames = self.hf, []
        for kernel, stride in zip(hf.conv_kernel, hf.conv_stride, strict=True):
            n = ((n - kernel) // stride + 1) * (n >= kernel)
            frames.append(n)
        return frames

    def mend(self, model) -> list:
        """Put layers that know the lengths in place of those that would see the padding.

        Returns pairs: such a layer, and the number of the convolution whose frames it sees. Its
        attribute `lengths` (B,) is set before each call, because it stands deep inside somebody
        else's model.
        """
        if getattr(self.hf, "feat_extract_norm", "layer") != "group":
            return []
        first = model.feature_extractor.conv_layers[0]
        first.layer_norm = UtteranceNorm.like(first.layer_norm)
        return [(first.layer_norm, 0)]

    def check(self, extractor) -> None:
        """Refuse a front end of features, or of another rate than the checkpoints know.

        Raises:
            ValueError: it does not give raw samples at 16 kHz.
        """
        self._samples(extractor.dim)
        if extractor.sampling_rate != 16000:
            raise ValueError(
                f"the {self.family} encoder wants samples at 16000 Hz, the front end gives "
                f"{extractor.sampling_rate}: set its sampling_rate = 16000"
            )

    def build(self, in_dim: int) -> nn.Module:
        """Make the encoder for raw samples, `in_dim` 1.

        Raises:
            ValueError: the front end gives features, or there is no such checkpoint.
        """
        self._samples(in_dim)
        return Waveform(self, copy.deepcopy(self.hf))

    def _samples(self, dim: int) -> None:
        if dim != 1:
            raise ValueError(
                f"the {self.family} encoder wants raw samples (front end wave16k), got a front end "
                f"of dimension {dim}"
            )


class Waveform(nn.Module):
    """See the module docstring."""

    def __init__(self, config: Config, hf):
        super().__init__()
        import transformers

        model_class = getattr(transformers, f"{config.family}Model")
        self.config = config
        self.model = config.fetch(model_class, hf, LEFT_OVER)
        self.mix = _layers.Mix(config.layers, hf.num_hidden_layers)
        self.mended = config.mend(self.model)
        self.receptive = _receptive(hf.conv_kernel, hf.conv_stride)

    def forward(self, x, lengths):
        """Map samples x (B, N), lengths (B,) to states (B, L, D), lengths (B,)."""
        x = functional.pad(zero_beyond(x, lengths), (0, max(0, self.receptive - x.shape[1])))
        counts = self.config.counts(lengths)
        for layer, number in self.mended:
            layer.lengths = counts[number]
        # A row without a single state would attend to nothing; it attends to itself and is unused.
        mask = valid_mask(lengths.clamp(min=self.receptive), x.shape[1])
        out = self.model(x, attention_mask=mask, output_hidden_states=self.mix.needs_all)
        return self.mix(out.last_hidden_state, out.hidden_states), counts[-1]


class UtteranceNorm(nn.GroupNorm):
    """GroupNorm over (B, C, L) whose statistics leave out the frames beyond `lengths` (B,)."""

    lengths = None

    @classmethod
    def like(cls, norm: nn.GroupNorm) -> "UtteranceNorm":
        """Make one with the very parameters of `norm`, of which each channel is a group."""
        assert norm.num_groups == norm.num_channels, "wav2vec2 has one group a channel"
        layer = cls(norm.num_groups, norm.num_channels, norm.eps)
        layer.weight, layer.bias = norm.weight, norm.bias
        return layer

    def forward(self, x):
        """Normalise x (B, C, L), each channel over the utterance's own frames."""
        with torch.autocast(x.device.type, enabled=False):
            # Mean and variance as products with a vector of 1/n, 0 beyond the end: one pass each,
            # and no masked copy of (B, C, L), the largest tensor of the whole encoder.
            n = self.lengths.clamp(min=1)[:, None, None]
            share = valid_mask(self.lengths, x.shape[2])[:, :, None] / n
            wide = x.float()
            centred = wide - wide @ share
            scale = torch.rsqrt(centred.square() @ share + self.eps) * self.weight[:, None].float()
            return torch.addcmul(self.bias[:, None].float(), centred, scale).to(x.dtype)


def _receptive(kernels, strides) -> int:
    """Give the number of samples that one state needs."""
    # backwards: n outputs of a layer need (n - 1) x stride + kernel inputs; of wav2vec 2.0, 400
    n = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        n = (n - 1) * stride + kernel
    return n
