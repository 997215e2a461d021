"""WavLM: hidden units of mixed and noisy speech, gated relative positions; over transformers.

Padding, lengths and loading are those of `_waveform`; there stands what the front end must do.
Shapes: x (B, N) samples at 16 kHz -> (B, L, D) states at 50 Hz. Paper: arXiv 2110.13900.
"""

import dataclasses
import typing

from speechllm.models.encoders import _waveform

# Small enough for tests: (width of the front end, settings) of each case.
TINY = (
    (1, {"config": _waveform.GROUP, "layers": "weighted"}),
    (1, {"config": _waveform.LAYER}),
)


@dataclasses.dataclass(frozen=True)
class Config(_waveform.Config):
    """Which WavLM; settings as in `_waveform.Config`.

    For example pretrained = "microsoft/wavlm-large".
    """

    family: typing.ClassVar[str] = "WavLM"
