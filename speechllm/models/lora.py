"""LoRA inside a part of the model: one or several, in an LLM perhaps only where its media stand.

Low-rank updates (arXiv 2106.09685) are put in place (`inject.py`), so that an LLM stays a plain
transformers model whose parameters `*lora_*` are added. The name of a LoRA stands in theirs:
`q_proj.lora_A.speech.weight`; it is "default" where a preset gives none.

A LoRA for media takes part at the positions of the examples that hold such a medium and at no
other (of two, one for speech and one for pictures, perhaps only the second where both stand): text
without media has the logits of the untouched LLM bit for bit, beside other examples in a batch or
in a row. Papers: Granite speech, arXiv 2505.08699; Phi-4-multimodal, arXiv 2503.01743.
"""

import contextlib
import dataclasses

import torch
from torch import nn

from speechllm import files
from speechllm.config import fill, suggest
from speechllm.data.batch import MEDIA, Batch
from speechllm.models.hub import without_bitsandbytes
from speechllm.ranges import AboveZero, BelowOne, Width

DEFAULT = "default"  # peft's own name


@dataclasses.dataclass(frozen=True)
class Lora:
    """Low-rank updates: rank r, scale alpha / r, dropout on their input, names of the layers.

    targets: last parts of module names ("q_proj"), longer ends of them ("self_attn.q_proj") or
    patterns of whole ones ("*layers.1?.*_proj"); "all-linear" is every Linear but the output layer.
    None given: what projects queries and values by one of its usual names, else every Linear.
    media: kinds of media with which it takes part ("audio"), in the LLM alone; none: always.
    without: kinds beside which it takes no part, of one that is for some media.
    """

    r: Width = 8
    alpha: AboveZero = 32.0
    dropout: BelowOne = 0.0
    targets: tuple[str, ...] = ()
    media: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    def __post_init__(self):
        """Refuse a rank that is none, and media that do not exist."""
        if self.r < 1 or not 0 <= self.dropout < 1:
            raise ValueError(
                "wanted r of 1 or more and dropout from 0 to below 1, got "
                f"r {self.r}, dropout {self.dropout:g}"
            )
        for setting in ("media", "without"):
            for kind in getattr(self, setting):
                if kind not in MEDIA:
                    raise ValueError(f"{setting}: {suggest(kind, MEDIA)}; got {kind!r}")
        if self.without and not self.media:
            raise ValueError("without: wanted media, too, with which it takes part")


def read(table: dict, where: str = "lora") -> dict[str, Lora]:
    """Read a table of one LoRA, or of several, each a table of its own, by name.

    Raises:
        ValueError: a setting that does not exist, a name that is not a word.
    """
    several = bool(files.expect(table, dict, where)) and all(
        isinstance(value, dict) for value in table.values()
    )
    named = table if several else {DEFAULT: table} if table else {}
    for name in named:
        if not name.isidentifier():
            raise ValueError(f"{where}: a name wants to be one word of letters, got {name!r}")
    places = {name: f"{where}.{name}" if several else where for name in named}
    return {name: fill(Lora, one, places[name]) for name, one in named.items()}


def owner(name: str) -> tuple[str, str] | None:
    """Say which LoRA a parameter belongs to, as (part of the model, name); None: to none."""
    # llm.model.layers.0.self_attn.q_proj.lora_A.speech.weight -> ("llm", "speech")
    # branch.image.encoder.layers.0.q_proj.lora_B.default.weight -> ("branch.image.encoder", ...)
    words = name.split(".")
    if not any(word.startswith("lora_") for word in words):
        return None
    part = ".".join(words[:3] if words[0] == "branch" else words[:1])
    return part, words[next(i for i, w in enumerate(words) if w.startswith("lora_")) + 1]


class Gate:
    """Says where a LoRA takes part: `open` (B, S), set by `choose`; None is nowhere."""

    HELD = "open"

    def __init__(self, media: tuple[str, ...], without: tuple[str, ...] = ()):
        self.media, self.without = media, without
        self.open = None

    def choose(self, batch: Batch) -> None:
        """Open at every position of the examples that hold one of `media`, none of `without`."""
        # A whole example is open, not its soft tokens alone: the text that speaks of a sound is
        # read by the LoRA too, as in the papers.
        self.open = batch.holding(self.media)
        if self.without:
            self.open &= ~batch.holding(self.without)

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
        # While an answer grows, the LLM gets one position at a time: it lies behind all that was
        # chosen, and `clamp` gives it the gate of the row's last position, its own example's.
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
        gated = cls(linear.in_features, linear.out_features, bias=False, device="meta")
        gated.weight, gated.gate = linear.weight, gate
        return gated

    def forward(self, x):
        """Map x (B, S, r) to (B, S, W)."""
        return self.gate(super().forward(x))


def layers(model: nn.Module) -> list[nn.Module]:
    """List the layers that hold a LoRA."""
    with without_bitsandbytes():
        from peft.tuners.lora import LoraLayer
    return [module for module in model.modules() if isinstance(module, LoraLayer)]


def switch(model: nn.Module, on: bool) -> None:
    """Let LoRA take part or not; one that was never trained only costs time.

    peft lets LoRA learn or not as it is switched: choose what learns afterwards.
    """
    _switch(layers(model), on)


def _switch(layers: list[nn.Module], on: bool) -> None:
    for layer in layers:
        layer.enable_adapters(on)


@contextlib.contextmanager
def untouched(model: nn.Module):
    """Let the LLM be for a while as it came: no LoRA, no dropout, no gradient."""
    # switching and `eval` change modules and what learns, so all of it is written down first;
    # a search does this at each token: the modules are looked for once
    held, training = layers(model), [module for module in model.modules() if module.training]
    on = any(not layer.disable_adapters for layer in held)
    learn = [(p, p.requires_grad) for name, p in model.named_parameters() if "lora_" in name]
    _switch(held, False)
    if training:
        model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        _switch(held, on)
        for module in training:
            module.training = True
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
