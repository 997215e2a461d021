"""Which of a model's branches an objective is about."""

from torch import nn

from speechllm.models.model import SpeechLLM


def branch(model: SpeechLLM, medium: str, key: str = "medium") -> nn.Module:
    """Give what has `encoder`, `adapter` and `encoder_dim` of a medium, which `key` names.

    Raises:
        ValueError: the model has none.
    """
    if medium not in model.branches:
        here = ", ".join(model.branches)
        raise ValueError(f"{key}: the model has no branch for {medium}, but for {here}")
    return model.branches[medium]


def among(encoder: nn.Module, kind: type) -> nn.Module | None:
    """Give an encoder of a class: itself, or the first such among its streams, or None."""
    found = (one for one in (encoder, *getattr(encoder, "encoders", ())) if isinstance(one, kind))
    return next(found, None)


def sees_patches(encoder) -> bool:
    """Say whether it is a ViT that can be given some of a tile's patches alone."""
    tile = getattr(getattr(encoder, "config", None), "per_tile", 0)
    return hasattr(encoder, "seen") and bool(tile) and bool(encoder.config.parts.front)
