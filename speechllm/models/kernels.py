"""Whether this machine computes in bfloat16; without kernels for it every product is emulated."""

import logging

import torch

from speechllm.models.hub import read_fields

_log = logging.getLogger(__name__)


def has_bf16() -> bool:
    """Say whether a model here would have bfloat16 kernels: the GPU's, else the processor's."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    asks = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return asks is None or bool(asks())


def precision(wanted: str, fits: bool = True) -> str:
    """Give the precision of a computation that this machine can work with, "bf16" or "fp32".

    Args:
        wanted: one of these, or "auto": bf16 where it `fits` and the machine has it. Where it was
            asked for and is not there, that is said.
        fits: whether the model is one for bf16.
    """
    if wanted == "auto":
        return "bf16" if fits and has_bf16() else "fp32"
    if wanted == "bf16" and not has_bf16():
        _log.warning("--precision bf16: this machine has no kernels for it; computed in fp32")
        return "fp32"
    return wanted


def usable(dtype: str, pretrained: str = "") -> str:
    """Give the data type of weights that this machine can work with, and say where it is another.

    Args:
        dtype: as `[llm] dtype` has it; "auto" is the checkpoint's own.
        pretrained: folder or Hub id of the checkpoint, if there is one.
    """
    if torch.get_default_device().type == "meta":  # only counted, perhaps for another machine
        return dtype
    own = read_fields(pretrained) if dtype == "auto" and pretrained else {}
    wanted = own.get("dtype") or own.get("torch_dtype") or dtype
    if wanted not in ("bfloat16", torch.bfloat16) or has_bf16():
        return dtype
    _log.warning(
        "[llm] dtype bfloat16: this machine has no kernels for it; the weights are float32 here, "
        "of twice the size"
    )
    return "float32"
