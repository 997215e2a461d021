"""The LLM's layers as compiled code: torch.compile fuses their sums, norms and activations.

One layer's code serves all, and all lengths (`dynamic`). It takes a C++ compiler, and a minute or
two at the beginning of each phase; without a pass backward (validation, decoding) layers run as
they are. The sums are the same in another order.
"""

import contextlib
import logging

import torch
from torch import nn

from speechllm.models.llm import layers

_log = logging.getLogger(__name__)
MOST = 64  # forms of a layer's code: kinds of attention, LoRA on or off, phases


def compile_layers(llm: nn.Module, wanted: bool = True, backend: str = "inductor") -> bool:
    """Let an LLM's layers be compiled when they first run; say whether they will be.

    Where nothing can be compiled that is told, and the layers stay as they are.
    wanted: nothing is done where it is False.
    backend: of torch.compile; "aot_eager" makes the same graphs and runs them uncompiled.
    """
    if not wanted:
        return False
    stack = layers(llm)
    if stack is None:
        _log.warning("--compile: no list of layers in %s; not compiled", type(llm).__name__)
        return False
    if error := _lacks(backend):
        _log.warning("--compile: %s; the layers run as they are", error)
        return False
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, MOST)
    for layer in stack:
        layer.compile(dynamic=True, backend=backend)
    return True


def _lacks(backend: str) -> str:
    """Compile one sum: say in a line what stands in the way, nothing where it works."""
    try:
        torch.compile(lambda x: x + 1, dynamic=True, backend=backend)(torch.zeros(8))
    except Exception as error:  # no compiler, no headers, a folder that cannot be written
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        return f"nothing can be compiled here: {first[:200]}"
    return ""


@contextlib.contextmanager
def as_they_are(wanted: bool = True):
    """Let compiled layers run uncompiled where `wanted`: for passes that are none of training."""
    with torch.compiler.set_stance("force_eager") if wanted else contextlib.nullcontext():
        yield
