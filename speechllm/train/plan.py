"""What a training will want before anybody has the machines: memory, FLOPs, days, money.

FLOPs are counted layer by layer, as the tiny form runs them (`layers.trace`): two for each weight
and position on the way forward, as many again for the gradient of what goes in where something
before it learns, and as many again for that of the weight where it learns; attention by its four
products of length x length. What is frozen and stands first costs the way forward alone, which is
why 6 N D is far from what a speech LLM with a frozen encoder takes. Norms and activations are left
out, as in everybody's count. Memory is `memory.py`'s; under FSDP2 each process has its part of
weights, gradients and moments, and besides what is gathered at once.
"""

import collections
from dataclasses import dataclass

from torch import nn

from speechllm.data.batch import Batch
from speechllm.models.system import System
from speechllm.train import layers, memory
from speechllm.train.phases import Learner, Phase
from speechllm.train.sharded import units

USABLE = 0.92  # of the memory: the rest is the driver's, the libraries' and the allocator's waste
QUERIES = ("q_proj", "query", "linear_q", "q", "to_q")
RELATIVE = ("relative_k_proj", "linear_pos")  # of distances: beside the queries
JOINED = ("qkv_proj", "query_key_value", "c_attn", "Wqkv", "qkv", "to_qkv")  # three in one


@dataclass(frozen=True)
class Need:
    """Bytes of one GPU, by purpose; `gathered`: whole weights that a process has for a while."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    gathered: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return sum(vars(self).values())


@dataclass(frozen=True)
class Outlook:
    """Of one phase.

    Attributes:
        rows, seconds: of the batch that a GPU does at a time.
        tokens: text positions of it, soft tokens among them.
        flops: of one step on it, by part of the model.
        needs: memory of a GPU, by engine.
    """

    phase: Phase
    rows: int
    seconds: float
    tokens: int
    flops: dict[str, float]
    needs: dict[str, Need]

    @property
    def flops_an_hour(self) -> float:
        """FLOPs of an hour of audio."""
        return sum(self.flops.values()) / (self.rows * self.seconds) * 3600


def outlook(
    system: System, phase: Phase, small: Learner, whole: Learner, gpus: int, seconds: float
) -> Outlook:
    """Look ahead at one phase.

    Args:
        system: the tiny form, which says how long things are.
        phase: that both learners have begun.
        small: of the tiny form.
        whole: of the real system, on the meta device.
        gpus: number of processes.
        seconds: of an utterance.
    """
    rows = rows_of(system, phase, seconds)
    batch = memory.batch_of(system, phase, rows, seconds)
    checkpointing = system.preset.table("llm").get("gradient_checkpointing", False)
    estimate = memory.training(small, whole, phase, batch, bf16=True)
    needs = {"ddp": Need(estimate.weights, estimate.gradients, estimate.optimizer,
                         estimate.activations)}  # fmt: skip
    if gpus > 1:
        needs["fsdp"] = shared(needs["ddp"], whole, gpus)
    flops = count(small, whole, phase, batch, checkpointing)
    return Outlook(phase, rows, seconds, batch.ids.numel(), flops, needs)


def rows_of(system: System, phase: Phase, seconds: float) -> int:
    """Number of utterances of this length in a batch of the phase."""
    from speechllm.data import loader

    data = system.preset.section("data", loader.Config)
    longest = phase.max_batch_s or data.max_batch_s
    return max(min(int(longest // seconds), data.max_rows), 1)


def shared(need: Need, whole: Learner, gpus: int) -> Need:
    """Give what a process needs where each has its part: and what is gathered meanwhile."""
    inner = units(whole.model)
    sizes = [_bytes(unit) for unit in inner]
    encoders = {id(branch.encoder) for branch in whole.model.branches.values()}
    kept = sum(n for unit, n in zip(inner, sizes, strict=True) if id(unit) in encoders)
    layers = [n for unit, n in zip(inner, sizes, strict=True) if id(unit) not in encoders]
    rest = max(_bytes(whole) - sum(sizes), 0)
    # one layer runs while the next is fetched
    gathered = rest + kept + 2 * max(layers, default=0)
    parts = (-(-n // gpus) for n in (need.weights, need.gradients, need.optimizer))
    return Need(*parts, need.activations, gathered)


def count(
    small: Learner, whole: Learner, phase: Phase, batch: Batch, checkpointing: bool = False
) -> dict[str, float]:
    """Count the FLOPs of a step on a batch, by part of the model.

    Args:
        small, whole, phase, batch: as of `outlook`.
        checkpointing: whether the LLM's layers run forward twice.
    """
    leaves = layers.trace(small, lambda: memory.losses(small, phase, batch))
    leaves = leaves | _read_past(leaves, small)
    names = {id(module): name for name, module in whole.named_modules()}
    all_names = {name.removeprefix("model.") for name in names.values()}
    parts: dict[str, float] = {}
    for layer, positions, waits in layers.match(leaves, whole):
        name = names[id(layer)].removeprefix("model.")
        part = ".".join(name.split(".")[: 3 if name.startswith("branch.") else 1])
        again = int(checkpointing and part == "llm" and waits)
        flops = _products(layer, positions) * (1 + again + waits + layer.weight.requires_grad)
        products = _attention(layer, name, positions, len(batch.ids), all_names)
        flops += products * (1 + again + 2 * waits)
        parts[part] = parts.get(part, 0.0) + flops
    return {part: flops for part, flops in parts.items() if flops}


def _read_past(leaves: dict[str, layers.Leaf], small: Learner) -> dict[str, layers.Leaf]:
    """Give the layers whose weights were read without a call, as WavLM's attention does.

    They run at as many positions as the layers beside them, in the same item of a list.
    """
    found = {}
    for name, module in small.named_modules():
        if name in leaves or not isinstance(module, nn.Linear) or "lora_" in name:
            continue
        words = name.split(".")
        numbers = [i for i, word in enumerate(words) if word.isdigit()]
        place = ".".join(words[: numbers[-1] + 1]) + "." if numbers else None
        beside = [leaf for other, leaf in leaves.items() if place and other.startswith(place)]
        if beside:
            found[name] = collections.Counter(beside).most_common(1)[0][0]
    return found


def _products(layer: nn.Module, positions: int) -> float:
    """FLOPs of a layer's matrix product, forward."""
    if isinstance(layer, nn.Embedding) or layer.weight.ndim < 2:
        return 0.0
    return 2.0 * positions * layer.weight.numel()


def _attention(layer: nn.Module, name: str, positions: int, rows: int, names: set) -> float:
    """FLOPs of an attention's products with itself, forward, told by the layer of its queries."""
    words = [word for word in name.split(".") if word != "base_layer"]
    if words[-1] in QUERIES:
        width = layers.width_of(layer)
    elif words[-1] in JOINED:
        width = layers.width_of(layer) // 3
    else:
        return 0.0
    # scores and their use: L x L each; scores of distances are L x 2 L more
    relative = any(".".join([*words[:-1], other]) in names for other in RELATIVE)
    return 4.0 * (1 + relative) * positions * (positions / rows) * width


def _bytes(module: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in module.parameters())
