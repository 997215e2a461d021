"""LoRA put into a part: the layers that its targets name, and low-rank updates beside them (peft).

The second matrix starts at zero, so that a model with a LoRA answers, to the bit, as it did before.
"""

import re
import warnings
from fnmatch import fnmatchcase

from torch import nn

from speechllm.config import suggest
from speechllm.models.hub import without_bitsandbytes
from speechllm.models.lora import Gate, Gated, Lora, layers

ALL = "all-linear"
# names of what projects queries and values, apart or in one
USUAL = (("q_proj", "v_proj"), ("query", "value"), ("q", "v"), ("linear_q", "linear_v")) + tuple(
    (name,) for name in ("qkv_proj", "query_key_value", "c_attn", "Wqkv", "qkv", "to_qkv")
)


def inject(model: nn.Module, loras: dict[str, Lora], where: str = "[llm.lora]") -> None:
    """Add LoRAs to the layers that their targets name, in place; all else is frozen by peft.

    Raises:
        ValueError: targets that match no layer, with the names that would; media in a part that
            reads nothing but one medium.
    """
    with without_bitsandbytes():
        from peft.tuners.tuners_utils import BaseTunerLayer

        from speechllm.models.fused import fuse

        for name, lora in loras.items():
            if lora.media and not hasattr(model, "get_input_embeddings"):
                raise ValueError(f"{where} media: only LoRA of the LLM can be for some media")
            _inject(model, name, lora, where)
    for module in list(model.modules()):
        if isinstance(module, BaseTunerLayer):
            module.set_adapter(list(loras))
    fuse(model)
    for name, parameter in model.named_parameters():
        if "lora_" in name:  # as peft does for its own models: bfloat16 would round updates away
            parameter.data = parameter.data.float()


def _inject(model: nn.Module, name: str, lora: Lora, where: str) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    names = chosen(model, lora.targets, where)
    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        # whole names in one pattern: of a list, peft takes each as the end of a name, in any part
        target_modules="|".join(map(re.escape, names)),
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Already found a `peft_config`")  # several are meant
        inject_adapter_in_model(config, model, name)
    if lora.media:
        gate = Gate(lora.media, lora.without)
        for module in layers(model):
            if name in module.lora_B:
                module.lora_B[name] = Gated.like(module.lora_B[name], gate)


def chosen(model: nn.Module, targets: tuple[str, ...], where: str) -> list[str]:
    """Give the names of the layers that targets name, another LoRA standing in them or not.

    Raises:
        ValueError: a target that names none.
    """
    names = linear(model)
    targets = targets or _usual(names)
    by_target = {target: [n for n in names if _named(n, target)] for target in targets}
    if ALL in targets:
        by_target[ALL] = _without_output(model, names)
    for target in targets:
        if not by_target[target]:
            ends = {name.rsplit(".", 1)[-1] for name in names}
            raise ValueError(f"{where} no layer is called {target!r}; {suggest(target, ends)}")
    return list(dict.fromkeys(name for some in by_target.values() for name in some))


def _usual(names: list[str]) -> tuple[str, ...]:
    """Choose targets where none are given."""
    ends = {name.rsplit(".", 1)[-1] for name in names}
    return next((some for some in USUAL if ends.issuperset(some)), (ALL,))


def linear(model: nn.Module) -> list[str]:
    """List the names of the Linears of a part.

    Those inside torch's MultiheadAttention are left out: it reads their weights past them.
    """
    from transformers.pytorch_utils import Conv1D  # GPT-2's way to write a Linear

    closed = tuple(
        name + "." for name, m in model.named_modules() if isinstance(m, nn.MultiheadAttention)
    )
    names = [name for name, m in model.named_modules() if isinstance(m, nn.Linear | Conv1D)]
    return [
        name.removesuffix(".base_layer")
        for name in names
        if "lora_" not in name and not name.startswith(closed)
    ]


def _named(name: str, target: str) -> bool:
    if any(sign in target for sign in "*?["):
        return fnmatchcase(name, target)
    return name == target or name.endswith("." + target)


def _without_output(model: nn.Module, names: list[str]) -> list[str]:
    output = getattr(model, "get_output_embeddings", lambda: None)()
    return [name for name in names if output is None or model.get_submodule(name) is not output]
