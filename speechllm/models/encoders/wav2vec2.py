"""wav2vec 2.0: contrastive pretraining on raw speech; over transformers.

Padding, lengths and loading are those of `_waveform`; there stands what the front end must do.
Shapes: x (B, N) samples at 16 kHz -> (B, L, D) states at 50 Hz. Paper: arXiv 2006.11477.
"""

import dataclasses
import typing

from speechllm.models.encoders import _waveform

# Small enough for tests: (width of the front end, settings) of each case.
TINY = (
    (1, {"config": _waveform.GROUP}),
    (1, {"config": _waveform.LAYER, "layers": "weighted"}),
)


@dataclasses.dataclass(frozen=True)
class Config(_waveform.Config):
    """Which wav2vec 2.0; settings as in `_waveform.Config`.

    For example pretrained = "facebook/wav2vec2-large-960h-lv60-self".
    """

    family: typing.ClassVar[str] = "Wav2Vec2"
