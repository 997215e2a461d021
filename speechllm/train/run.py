"""What all stages of a training share: the system, the data, the machine."""

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from speechllm.data import augment, chat, loader
from speechllm.data.examples import Examples
from speechllm.data.manifest import Manifest
from speechllm.models.system import System
from speechllm.train.stages import Stage


@dataclass
class Run:
    """What all stages of a training share.

    Attributes:
        system: the preset made real.
        manifests: by name, as stages call them.
        out: the experiment's folder.
        accelerator: processes, device (accelerate.Accelerator).
        precision: "bf16" or "fp32".
        workers: data worker processes.
        on_error: "stop" or "skip" at a file that cannot be read.
        log_every: steps between printed lines.
        start: a model folder whose weights the first stage begins with, or None.
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

    def data(self, stage: Stage) -> loader.Config:
        """Return the data settings of a stage."""
        base = self.system.preset.section("data", loader.Config)
        return replace(
            base,
            max_batch_s=stage.max_batch_s or base.max_batch_s,
            max_duration_s=stage.max_duration_s or base.max_duration_s,
            workers=self.workers,
            on_error=self.on_error,
        )

    def examples(self, stage: Stage, manifest: Manifest, learning: bool) -> Examples:
        """Make the examples of a manifest, augmented and with drawn prompts where learning."""
        return Examples.of(
            self.system,
            manifest,
            stage.task,
            augment=self.augment(stage) if learning else None,
            seed=self.seed,
            cache_mb=self.data(stage).cache_mb,
            needs=stage.needs,
        )

    def augment(self, stage: Stage) -> augment.Config:
        """Return the stage's augmentation."""
        none = augment.Config()
        return self.system.preset.section("augment", augment.Config) if stage.augment else none
