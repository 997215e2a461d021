"""Phases: what learns, from which data, with which objectives, how fast, for how long.

A training has phases, a recipe stages: stage 3 trains the first phases, stage 4 the others.
"""

import functools
from dataclasses import dataclass

from torch import nn

from speechllm import config, files
from speechllm.models import lora
from speechllm.models.system import has_learned, matches
from speechllm.ranges import AboveZero, BelowOne, Count, NotNegative, Positive, Rate, Share


@dataclass(frozen=True)
class Phase:
    """One entry of a preset's `[[phase]]` list.

    Attributes:
        name: names the folder of its checkpoints.
        train: patterns of parameter names that learn; `!pattern` takes some out again.
        objectives: file in `objectives/` -> its settings (weight among them). A second one of a
            file has a name that goes on: `ctc_tokens` beside `ctc`, with a head of that name.
        steps: optimiser steps.
        lr: highest learning rate, after `warmup_steps` of linear warm-up.
        optimizer: "adamw", or "muon" for hidden matrices of what is trained from nothing.
        schedule: "cosine" or "linear" (both to `final_lr_ratio` of lr) or "constant".
        beta2, weight_decay, clip: AdamW's, and the largest gradient norm.
        gradient_accumulation: batches an optimiser step, over all processes together.
        data, valid: names of the manifests (`--data NAME=PATH`); of several, a table of their
            weights, or of {weight, task, augment, plain} (data/mixing.py). No weights: by size.
        temperature: evens the shares of `data` out, above 1.
        task: replaces the preset's task in this phase, e.g. `{ name = "copy" }`, or a name.
        max_batch_s, max_duration_s: replace the preset's in this phase, 0 keeps them. Short
            utterances first let CTC find its alignments (SortaGrad, arXiv 1512.02595).
        valid_every: steps between validations (and checkpoints), 0: ten a phase.
        valid_first: also before the first step, to see what the phase changes.
        valid_decode: utterances of each manifest of `valid` that a validation also decodes, greedy,
            and scores as the task is (WER); 0: none.
        augment: with the preset's augmentation.
        keep: "best" (lowest validation loss) or "last" weights go on to the next phase.
    """

    name: str
    train: tuple[str, ...]
    objectives: dict
    steps: Positive
    lr: Rate
    warmup_steps: Count = 0
    optimizer: str = "adamw"
    schedule: str = "cosine"
    final_lr_ratio: Share = 0.0
    beta2: BelowOne = 0.98
    weight_decay: NotNegative = 0.01
    clip: AboveZero = 1.0
    gradient_accumulation: Positive = 1
    data: str | dict = "train"
    valid: str | dict = "valid"
    temperature: AboveZero = 1.0
    task: dict | str | None = None
    max_batch_s: NotNegative = 0.0
    max_duration_s: NotNegative = 0.0
    valid_every: Count = 0
    valid_first: bool = False
    valid_decode: Count = 0
    augment: bool = True
    keep: str = "best"

    def __post_init__(self):
        choices = {
            "schedule": ("cosine", "linear", "constant"),
            "keep": ("best", "last"),
            "optimizer": ("adamw", "muon"),
        }
        for field, known in choices.items():
            if getattr(self, field) not in known:
                raise ValueError(f"{field}: wanted one of {known}, got {getattr(self, field)!r}")
        if self.steps < 1 or self.gradient_accumulation < 1 or self.lr <= 0:
            raise ValueError("steps, gradient_accumulation and lr must be above 0")
        if not self.objectives:
            raise ValueError("objectives: wanted at least one, e.g. { language_modelling = {} }")
        for name, table in self.objectives.items():
            files.expect(table, dict, f"objectives.{name}")

    @property
    def patterns(self) -> list[str]:
        """What learns: `train` and the heads of this phase's objectives."""
        own = [f"{place}.{name}.*" for place in ("objectives", "heads") for name in self.objectives]
        return [*self.train, *own]

    @property
    def needs(self) -> frozenset:
        """What its objectives want of the data besides examples: "pairs", "words"."""
        parts = (self._objective(name, f"phase {self.name}") for name in self.objectives)
        return frozenset(need for part in parts for need in getattr(part, "needs", ()))

    def naming(self, kind: str):
        """The objective, if any, that wants a token of the answer for each state of a medium."""
        parts = (self._objective(name, f"phase {self.name}") for name in self.objectives)
        return next((one for one in parts if hasattr(one, "named") and one.medium == kind), None)

    def _objective(self, name: str, where: str):
        table = {**self.objectives[name], "name": config.file_of("objectives", name)}
        return config.part("objectives", table, f"{where} objectives.{name}")

    def build_objectives(self, model, where: str) -> nn.ModuleDict:
        """Make the objectives of this phase."""
        objectives = nn.ModuleDict()
        for name in self.objectives:
            objectives[name] = self._objective(name, where).build(model)
        return objectives

    @functools.cached_property
    def weights(self) -> dict[str, float]:
        """Weight of each objective in the sum, by its name."""
        where = f"phase {self.name}"
        return {name: self._objective(name, where).weight for name in self.objectives}


def phases(preset: config.Preset) -> list[Phase]:
    """Read a preset's phases.

    Raises:
        ValueError: none at all, one setting wrong, two of one name.
    """
    tables = preset.tables.get("phase", [])
    if not tables:
        raise ValueError(f"{preset.source}: no [[phase]]: nothing says what to train")
    plan = [config.fill(Phase, t, f"{preset.source} [[phase]] {t.get('name')}") for t in tables]
    if len({phase.name for phase in plan}) < len(plan):
        raise ValueError(f"{preset.source}: two phases of one name")
    return plan


class Learner(nn.Module):
    """The model and the objectives' heads, with the names that patterns and checkpoints use."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        self.objectives = nn.ModuleDict()

    def named(self) -> dict[str, nn.Parameter]:
        """Parameters by name: `encoder.…`, `adapter.…`, `llm.…`, `heads.…`, `objectives.…`."""
        return {name.removeprefix("model."): p for name, p in self.named_parameters()}

    def begin(self, phase: Phase, where: str, trained: list[list[str]]) -> dict[str, nn.Parameter]:
        """Make the phase's objectives, let its parameters learn, freeze all others.

        A head that an earlier phase trained is kept where its shape still fits. Returns the
        learning parameters by name. `trained` are the patterns of each phase up to this one: LoRA
        takes part from the first phase that trains it.

        Raises:
            ValueError: nothing learns.
        """
        for part, module in self.model.named_children():
            # second matrices that nobody has trained are zero: the LoRA would only cost time
            lora.switch(module, self.has_learned(f"{part}.", trained, "lora_"))
        for name, objective in phase.build_objectives(self.model, where).items():
            # a CTC head over encoder states goes on from phase to phase; one that another setting
            # has made wider begins anew
            earlier = self.objectives[name].state_dict() if name in self.objectives else {}
            state = objective.state_dict()
            if {k: v.shape for k, v in earlier.items()} == {k: v.shape for k, v in state.items()}:
                objective.load_state_dict(earlier)
            self.objectives[name] = objective
            for head in getattr(objective, "heads", {}).values():
                self.model.take_head(name, head)
        return self._choose(phase, where)

    def check(self, phase: Phase, where: str) -> None:
        """Refuse patterns that match nothing, before any step.

        Raises:
            ValueError: the pattern, and what there is.
        """
        named = self.named()
        made = [f"heads.{name}.head" for name in phase.objectives]  # by them, when it begins
        for pattern in phase.train:
            bare = pattern.removeprefix("!")
            if not any(matches(name, [bare]) for name in (*named, *made)):
                hint = config.suggest(bare, {name.split(".")[0] + ".*" for name in named})
                raise ValueError(f"{where}: {pattern!r} in train matches no parameter; {hint}")
        phase.build_objectives(self.model, where)

    def _choose(self, phase: Phase, where: str) -> dict[str, nn.Parameter]:
        named = self.named()
        chosen = {name for name in named if matches(name, phase.patterns)}
        whole = sorted(name for name in chosen if not named[name].is_floating_point())
        if whole:
            raise ValueError(
                f"{where}: quantized weights cannot learn, and train = {list(phase.train)} names "
                f"{whole[0]} and {len(whole) - 1} more; let LoRA learn, or leave quantize out"
            )
        for name, parameter in named.items():
            parameter.requires_grad_(name in chosen)
        self.set_modes()
        learning = {name: p for name, p in named.items() if p.requires_grad}
        if not learning:
            raise ValueError(f"{where}: nothing learns: train = {list(phase.train)}")
        return learning

    def has_learned(self, part: str, trained: list[list[str]], word: str = "") -> bool:
        """Say whether a parameter of a part, with `word` in its name, has been trained."""
        names = (name for name in self.named() if name.startswith(part) and word in name)
        return any(has_learned(name, trained) for name in names)

    def set_modes(self) -> None:
        """Training mode where something learns, evaluation mode (no dropout) elsewhere."""
        _set_mode(self, False)


def _set_mode(module: nn.Module, inherited: bool) -> None:
    """A module without parameters (a dropout) does as the one that holds it."""
    parameters = list(module.parameters())
    module.training = any(p.requires_grad for p in parameters) if parameters else inherited
    for child in module.children():
        _set_mode(child, module.training)
