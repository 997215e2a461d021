"""data2vec: prediction of a teacher's contextual states on raw speech; over transformers.

Padding, lengths and loading are those of `_waveform`; there stands what the front end must do. The
positions are five convolutions in a row with a norm and a GELU after each: what transformers sets
to zero beyond an utterance's end is zero for the first of them only, and a padded batch differs
from the utterance alone. Here it is zero for each.

Shapes: x (B, N) samples at 16 kHz -> (B, L, D) states at 50 Hz. Paper: arXiv 2202.03555.
"""

import dataclasses
import typing

from speechllm.models.encoders import _waveform
from speechllm.models.encoders._ends import UtteranceConv

# Small enough for tests: (width of the front end, settings) of each case.
CONFIG = {
    **{k: v for k, v in _waveform.SMALL.items() if k != "num_conv_pos_embeddings"},
    "num_conv_pos_embeddings": 3,
    "conv_pos_kernel_size": 7,
}
TINY = ((1, {"config": CONFIG}), (1, {"config": CONFIG, "layers": "weighted"}))


@dataclasses.dataclass(frozen=True)
class Config(_waveform.Config):
    """Which data2vec; settings as in `_waveform.Config`.

    For example pretrained = "facebook/data2vec-audio-large-960h".
    """

    family: typing.ClassVar[str] = "Data2VecAudio"

    def mend(self, model) -> list:
        """Let each convolution of the positions see zeros beyond the end."""
        layers = model.encoder.pos_conv_embed.layers
        for layer in layers:
            layer.conv = UtteranceConv.like(layer.conv)
        return [(layer.conv, -1) for layer in layers]
