"""What encoders of transformers have in common: which checkpoint, changed how, which layers."""

import dataclasses

from torch import nn

from speechllm.models.encoders import _layers
from speechllm.models.hub import load_weights


@dataclasses.dataclass(frozen=True)
class Config:
    """Which checkpoint.

    pretrained: Hub id or folder; a whole model or its encoder. config: fields of the checkpoint's
    configuration that differ, or, without `pretrained`, from the family's defaults (random
    weights). layers: "last", "weighted" (learned sum of all layers), or a layer's number, as "2":
    its output, before any last norm.
    """

    pretrained: str = ""
    config: dict = dataclasses.field(default_factory=dict)
    layers: str = "last"

    def __post_init__(self):
        """Refuse words that mean nothing."""
        _layers.check(self.layers)

    def fetch(self, model_class, hf, left_over=(), rename=None) -> nn.Module:
        """Make `model_class`; see `made`."""
        return made(model_class, self.pretrained, hf, left_over, rename)


def made(model_class, pretrained: str, hf, left_over=(), rename=None) -> nn.Module:
    """Make a class of transformers with a checkpoint's weights, or with random ones.

    Args:
        model_class: the class.
        pretrained: Hub id or folder; "": random weights.
        hf: its configuration.
        left_over, rename: `ignore` and `rename` of `hub.load_weights`.

    Raises:
        ValueError: no such checkpoint, or one with other keys.
    """
    if not pretrained:
        return model_class(hf)
    return load_weights(model_class, pretrained, hf, left_over, rename)
