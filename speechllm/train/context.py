"""What all phases of a training share: the system, the data, the machine."""

import contextlib
import functools
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from speechllm import config
from speechllm.data import chat, loader, mixing
from speechllm.data.examples import Examples
from speechllm.data.manifest import Manifest
from speechllm.media.audio import Augment
from speechllm.models.system import System
from speechllm.train.parallel import Config as Parallel
from speechllm.train.phases import Phase
from speechllm.train.stopping import Stop


@dataclass
class Run:
    """What all phases of a training share.

    Attributes:
        system: the preset made real.
        manifests: by name, as phases call them.
        out: the experiment's folder.
        accelerator: processes, device (accelerate.Accelerator).
        precision: "bf16" or "fp32".
        workers: data worker processes.
        on_error: "stop" or "skip" at a file that cannot be read.
        log_every: steps between printed lines.
        start: a model folder whose weights the first phase begins with, or None.
        other_data: resume also with other manifests than before.
        encoders: of which encoder stored states must be, by medium, as `Examples` has it.
        compile: whether the LLM's layers run as compiled code in training.
        save_minutes: between checkpoints, besides those at validations; 0: only there.
        parallel: how several processes hold the model.
        stop: what notes the signals that end a training in order.
    """

    system: System
    manifests: dict[str, Manifest]
    out: Path
    accelerator: object
    precision: str = "fp32"
    workers: int = 1
    on_error: str = "stop"
    log_every: int = 50
    start: Path | None = None
    other_data: bool = False
    encoders: dict = field(default_factory=dict)
    compile: bool = False
    save_minutes: float = 15.0
    parallel: Parallel = Parallel()  # frozen
    stop: Stop = field(default_factory=Stop)

    def __post_init__(self):
        if not 0 <= self.save_minutes < float("inf"):
            raise ValueError(f"--save-minutes: wanted 0 or more, got {self.save_minutes}")

    @property
    def save_every_s(self) -> float:
        """Seconds between checkpoints."""
        return 60 * self.save_minutes or float("inf")

    @property
    def seed(self) -> int:
        """The preset's seed."""
        return self.system.preset.seed

    def autocast(self):
        """Make the precision context of a forward pass."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.accelerator.device.type, torch.bfloat16)

    def builder(self) -> chat.Builder:
        """Make the one builder of ids."""
        return chat.Builder.of(self.system)

    def data(self, phase: Phase) -> loader.Config:
        """Return the data settings of a phase."""
        base = self.system.preset.section("data", loader.Config)
        return replace(
            base,
            max_batch_s=phase.max_batch_s or base.max_batch_s,
            max_duration_s=phase.max_duration_s or base.max_duration_s,
            workers=self.workers,
            on_error=self.on_error,
        )

    def sources(self, phase: Phase, learning: bool) -> dict[str, mixing.Source]:
        """Return a phase's sources by the names of their manifests: of `data`, or of `valid`."""
        what = "data" if learning else "valid"
        return mixing.sources(getattr(phase, what), f"phase {phase.name} {what}")

    def parts(self, phase: Phase, learning: bool) -> dict[str, Examples]:
        """Make the examples of each of a phase's sources: those of `data`, or those of `valid`.

        Raises:
            ValueError: a manifest that was not given, or of which nothing can be used.
        """
        examples = {}
        for number, (name, source) in enumerate(self.sources(phase, learning).items()):
            if name not in self.manifests:
                hint = config.suggest(name, self.manifests)
                raise ValueError(f"phase {phase.name} wants --data {name}=MANIFEST; {hint}")
            whole = self.manifests[name]
            if not len(manifest := self.data(phase).select(whole)):
                why = (
                    f"none of its {len(whole)} rows has a usable length" if len(whole) else "empty"
                )
                raise ValueError(
                    f"{whole.path} (--data {name}): {why}; phase {phase.name} wants it"
                )
            examples[name] = self.examples(phase, manifest, learning, source, number)
        return examples

    def digests(self, phase: Phase) -> dict[str, str]:
        """Return the digest of each manifest that a phase learns from or is validated on."""
        tables = (mixing.sources(getattr(phase, what), phase.name) for what in ("data", "valid"))
        return {name: self._digests[name] for table in tables for name in table}

    @functools.cached_property
    def _digests(self) -> dict[str, str]:
        return {name: manifest.digest() for name, manifest in self.manifests.items()}

    def mixture(self, phase: Phase, parts: dict[str, Examples]) -> mixing.Mixture:
        """Make the order in which a phase's sources take turns."""
        data = self.data(phase)
        block = phase.gradient_accumulation if len(parts) == 1 else 1
        # seeds far apart: sources of one size would else be read in the same order
        samplers = [
            data.sampler(part.manifest, self.seed + mixing.APART * number, True, block)
            for number, part in enumerate(parts.values())
        ]
        table = mixing.sources(phase.data, f"phase {phase.name} data").values()
        # `len` of a sampler is its batches in an epoch: without weights each source has an epoch in
        # the time of the others'
        weights = [s.weight or len(own) for s, own in zip(table, samplers, strict=True)]
        sizes = [len(part.manifest) for part in parts.values()]
        return mixing.Mixture(samplers, sizes, mixing.shares(weights, phase.temperature))

    def examples(
        self,
        phase: Phase,
        manifest: Manifest,
        learning: bool,
        source: mixing.Source = mixing.Source(),  # noqa: B008  # frozen
        number: int = 0,
    ) -> Examples:
        """Make the examples of a manifest, augmented and with drawn prompts where learning.

        source, number: what its phase says of it, and its place, where several are mixed.
        """
        return Examples.of(
            self.system,
            manifest,
            source.task or phase.task,
            augment=self.augment(phase, source) if learning else None,
            seed=self.seed + mixing.APART * number,
            cache_mb=self.data(phase).cache_mb,
            **({"encoders": self.encoders} if self.encoders else {}),
            needs=frozenset() if source.plain else phase.needs,
        )

    def augment(self, phase: Phase, source: mixing.Source) -> Augment:
        """Return the augmentation of one of a phase's sources."""
        if not phase.augment:
            return Augment()
        table = {**self.system.preset.table("augment"), **source.augment}
        return config.fill(Augment, table, f"{self.system.preset.source} [augment]")
