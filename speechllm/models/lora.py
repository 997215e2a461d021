"""LoRA inside an LLM: one or several, each for all text or only where its media stand.

Low-rank updates (arXiv 2106.09685) are injected in place by peft, so that the LLM stays a plain
transformers model whose parameters `*lora_*` are added. The name of a LoRA stands in theirs:
`q_proj.lora_A.speech.weight`; it is "default" where a preset gives none.

A LoRA for media takes part at the positions of the examples that hold such a medium and at no
other: text without media has the logits of the untouched LLM bit for bit, beside other examples in
a batch or in a row. Papers: Granite speech, arXiv 2505.08699; Phi-4-multimodal, arXiv 2503.01743.
"""

import contextlib
import dataclasses
import warnings

import torch
from torch import nn

from speechllm.config import fill, suggest
from speechllm.data.batch import MEDIA, Batch
from speechllm.models.hub import without_bitsandbytes

DEFAULT = "default"  # peft's own name


@dataclasses.dataclass(frozen=True)
class Lora:
    """Low-rank updates: rank r, scale alpha / r, dropout on their input, names of the layers.

    targets: last parts of module names ("q_proj") or longer ends of them ("self_attn.q_proj");
    ("all-linear",) is every Linear but the output layer.
    media: kinds of media with which it takes part ("audio"); none: always.
    """

    r: int = 8
    alpha: float = 32.0
    dropout: float = 0.0
    targets: tuple[str, ...] = ("q_proj", "v_proj")
    media: tuple[str, ...] = ()

    def __post_init__(self):
        """Refuse media that do not exist."""
        for kind in self.media:
            if kind not in MEDIA:
                raise ValueError(f"media: {suggest(kind, MEDIA)}; got {kind!r}")


def read(table: dict) -> dict[str, Lora]:
    """Read a table of one LoRA, or of several, each a table of its own, by name.

    Raises:
        ValueError: a setting that does not exist, a name that is not a word.
    """
    several = bool(table) and all(isinstance(value, dict) for value in table.values())
    named = table if several else {DEFAULT: table} if table else {}
    for name in named:
        if not name.isidentifier():
            raise ValueError(f"lora: a name wants to be one word of letters, got {name!r}")
    where = {name: f"lora.{name}" if several else "lora" for name in named}
    return {name: fill(Lora, one, where[name]) for name, one in named.items()}


class Gate:
    """Says where a LoRA takes part: `open` (B, S), set by `choose`; None is nowhere."""

    HELD = "open"

    def __init__(self, media: tuple[str, ...]):
        self.media = media
        self.open = None

    def choose(self, batch: Batch) -> None:
        """Open at every position of the examples that hold one of `media`."""
        kinds = batch.modalities or ("audio",) * len(batch.slots)
        chosen = torch.tensor([k in self.media for k in kinds], dtype=torch.bool)
        row, start, _ = batch.slots[chosen.to(batch.slots.device)].unbind(1)
        segments = batch.segments
        number = segments[row, start.clamp(max=segments.shape[1] - 1)]
        inside = (segments[row] == number[:, None]).long()
        self.open = torch.zeros_like(segments).index_add_(0, row, inside) > 0

    def keep(self, rows) -> None:
        """Go on with these rows (n,): the others' answers have ended."""
        self.open = None if self.open is None else self.open[rows]

    def __call__(self, x):
        """Set x (n * B, S', W) to 0 where closed.

        Beams stand side by side: n times B rows are n copies of each row. S' as chosen for or more:
        all positions; fewer: those after, which belong to the last example of their row.
        """
        if self.open is None:
            return torch.zeros_like(x)
        rows, size = self.open.shape
        times, rest = divmod(len(x), rows)
        if rest:
            raise ValueError(
                f"LoRA was chosen for {rows} rows, but the LLM is given {len(x)}: choose it for "
                "the batch that the LLM reads"
            )
        after = 0 if x.shape[1] >= size else size
        columns = torch.arange(x.shape[1], device=x.device) + after
        mask = self.open.repeat_interleave(times, 0)[:, columns.clamp(max=size - 1)]
        return x.masked_fill(~mask.unsqueeze(-1), 0.0)


class Gated(nn.Linear):
    """The second half of a LoRA's update, behind a gate that all its layers share."""

    gate = None

    @classmethod
    def like(cls, linear: nn.Linear, gate: Gate) -> "Gated":
        """Make one with the very parameters of `linear`."""
        made = cls(linear.in_features, linear.out_features, bias=False, device="meta")
        made.weight, made.gate = linear.weight, gate
        return made

    def forward(self, x):
        """Map x (B, S, r) to (B, S, W)."""
        return self.gate(super().forward(x))


def inject(model: nn.Module, loras: dict[str, Lora]) -> None:
    """Add LoRAs to the layers that their targets name, in place; all else is frozen by peft.

    Raises:
        ValueError: targets that match no layer, with the names that would.
    """
    with without_bitsandbytes():
        from peft.tuners.tuners_utils import BaseTunerLayer

        for name, lora in loras.items():
            _inject(model, name, lora)
    for module in list(model.modules()):
        if isinstance(module, BaseTunerLayer):
            module.set_adapter(list(loras))
    for name, parameter in model.named_parameters():
        if "lora_" in name:  # as peft does for its own models: bfloat16 would round updates away
            parameter.data = parameter.data.float()


def _inject(model: nn.Module, name: str, lora: Lora) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    _check(model, lora.targets)
    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules="all-linear" if "all-linear" in lora.targets else list(lora.targets),
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Already found a `peft_config`")  # several are meant
        inject_adapter_in_model(config, model, name)
    if lora.media:
        gate = Gate(lora.media)
        for module in _layers(model):
            if name in module.lora_B:
                module.lora_B[name] = Gated.like(module.lora_B[name], gate)


def _check(model: nn.Module, targets: tuple[str, ...]) -> None:
    """Refuse targets that match no layer, whether another LoRA stands in it already or not."""
    from transformers.pytorch_utils import Conv1D  # GPT-2's way to write a Linear

    modules = (
        name for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D)
    )
    layers = [name.removesuffix(".base_layer") for name in modules if "lora_" not in name]
    ends = {name.rsplit(".", 1)[-1] for name in layers}
    for target in targets:
        if target != "all-linear" and not any(_ends(name, target) for name in layers):
            raise ValueError(f"[llm.lora] no layer is called {target!r}; {suggest(target, ends)}")


def _ends(name: str, target: str) -> bool:
    return name == target or name.endswith("." + target)


def _layers(model: nn.Module) -> list[nn.Module]:
    """List the layers that hold a LoRA."""
    with without_bitsandbytes():
        from peft.tuners.lora import LoraLayer
    return [module for module in model.modules() if isinstance(module, LoraLayer)]


def switch(model: nn.Module, on: bool) -> None:
    """Let LoRA take part or not; one that was never trained only costs time.

    peft lets LoRA learn or not as it is switched: choose what learns afterwards.
    """
    for module in _layers(model):
        module.enable_adapters(on)


@contextlib.contextmanager
def untouched(model: nn.Module):
    """Let the LLM be for a while as it came: no LoRA, no dropout, no gradient."""
    modes = [(module, module.training) for module in model.modules()]
    on = any(not m.disable_adapters for m in _layers(model))
    learn = [(p, p.requires_grad) for name, p in model.named_parameters() if "lora_" in name]
    switch(model, False)
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        switch(model, on)
        for module, training in modes:
            module.training = training
        for parameter, learns in learn:
            parameter.requires_grad_(learns)


def gates(model: nn.Module) -> set[Gate]:
    """Find the gates of an LLM's LoRAs."""
    return {module.gate for module in model.modules() if isinstance(module, Gated)}


def choose(model: nn.Module, batch: Batch) -> None:
    """Let each LoRA take part where its media stand in `batch`, from now to the next call.

    Call it right before the LLM reads that batch, each time.
    """
    for gate in gates(model):
        gate.choose(batch)
