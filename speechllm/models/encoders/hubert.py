"""HuBERT: prediction of hidden units on raw speech; over transformers.

Padding, lengths and loading are those of `_waveform`; there stands what the front end must do.
Shapes: x (B, N) samples at 16 kHz -> (B, L, D) states at 50 Hz. Paper: arXiv 2106.07447.
"""

import dataclasses
import typing

from speechllm.models.encoders import _waveform


@dataclasses.dataclass(frozen=True)
class Config(_waveform.Config):
    """Which HuBERT; settings as in `_waveform.Config`.

    For example pretrained = "facebook/hubert-large-ll60k".
    """

    family: typing.ClassVar[str] = "Hubert"
