"""Training checkpoints: `EXP/PHASE/step-000120/`, whole or absent; the newest one resumes.

Beside the model folder of `models/store.py` stand the objectives' heads and the optimiser's state,
all as safetensors, the phase's progress (which step is the best, too) and a digest of each file in
`checkpoint.json`. A run killed anywhere, also inside a save, leaves the checkpoint before it.
"""

import copy
import itertools
import math
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from speechllm import config, files
from speechllm.models import filling, heads, store, whole
from speechllm.models.system import System
from speechllm.ranges import Count, NotNegative
from speechllm.train import optim, same
from speechllm.train.parallel import Alone
from speechllm.train.phases import Learner, Phase


@dataclass
class Progress:
    """Where a phase stands: what a resumed run must know beside tensors.

    `best`: the lowest validation loss so far, None before the first, and `best_step` its step.
    `pending`: the validation of this very step is still to be done.
    """

    step: Count = 0
    seconds: NotNegative = 0.0
    audio_s: NotNegative = 0.0
    best: float | None = None
    best_step: int = -1
    errors: list = field(default_factory=list)
    pending: bool = False
    left_out: dict = field(default_factory=dict)

    def note(self, loss: float) -> None:
        """Take the loss of a validation of this step: it may be the best."""
        if loss < (math.inf if self.best is None else self.best):
            self.best, self.best_step = loss, self.step

    @classmethod
    def read(cls, folder: Path) -> "Progress":
        """Read that of a checkpoint.

        Raises:
            ValueError: damaged, or of other kinds; names the file.
        """
        table = whole.facts(folder).get("progress")
        if isinstance(table, dict) and table.get("best") == math.inf:  # of older versions
            table = {**table, "best": None}
        return config.fill(cls, table, f"{folder / whole.FACTS}: 'progress'")


@dataclass
class Job:
    """What a phase's checkpoints hold, and where: all that `save` and `resume` are about.

    Attributes:
        folder: of the phase's checkpoints.
        system: the preset made real.
        learner: model and heads.
        trained: the patterns of each phase up to this one.
        data: digests of the manifests that this phase reads, by name.
        writes: whether this process is the one that writes.
        kept: names of the model's tensors that go into the folder.
        newest: the checkpoint that the phase goes on from, if there is one.
        engine: holds the weights while the phase learns.
        saving: writes what is spread over the processes, None where one has it all.
        optimizer: of the phase.
    """

    folder: Path
    system: System
    learner: Learner
    trained: list
    data: dict
    writes: bool = True
    kept: list = field(default_factory=list)
    newest: Path | None = None
    engine: Alone | None = None
    saving: object | None = None
    optimizer: optim.Optimizer | None = None


def save(job: Job, progress: Progress) -> Path:
    """Save a checkpoint at `progress.step`, and drop those that are neither newest nor best.

    All processes call it; the one that writes writes. Its rename is the one moment that counts: the
    newest checkpoint says which is the best.
    """
    target = job.folder / store.step_name(progress.step, not progress.pending)
    learner = job.engine.learner
    model = learner.model.state_dict()
    tensors = {
        "model": {name: model[name] for name in job.kept},
        "objectives": learner.objectives.state_dict(),
        "optimizer": optim.state(job.optimizer),
    }
    facts = {"trained": job.trained, "progress": dict(vars(progress)), "data": job.data}
    facts["heads"] = heads.table(learner.model)
    then = copy.deepcopy(progress)  # it goes on while files are written

    def close(fills: dict) -> None:
        store.write(target, job.system, fills, facts)
        tidy(job.folder, target, then)

    if job.writes and target.exists():  # damaged, or we would not have begun before it
        files.remove_folder(target)
    if job.saving:
        job.saving.begin(target, tensors, close)
    elif job.writes:
        close(store.fills(tensors))
    return target


def settle(job: Job) -> None:
    """Wait until the checkpoint that was begun last is there; all processes call it.

    Raises:
        OSError: it could not be written.
    """
    if job.saving:
        job.saving.wait()


def tidy(folder: Path, newest: Path, progress: Progress) -> None:
    """Remove the checkpoints of a phase that are older than this one, but not its best."""
    for old in itertools.takewhile(lambda f: f.name != newest.name, store.checkpoints(folder)):
        if old.name != store.step_name(progress.best_step):
            files.remove_folder(old)


def load_weights(folder: Path, system, learner: Learner) -> None:
    """Load model weights, and the heads of the objectives, for the next phase to begin from.

    Raises:
        ValueError: a file is damaged, or holds more, less or other than what is wanted.
    """
    model, facts, parts = learner.model, whole.facts(folder), dict(learner.objectives.items())
    heads.attach(model, facts, str(folder / whole.FACTS))
    wanted = store.state(system, model, facts["trained"])
    if "heads" not in facts:  # written when heads were the objectives' own, under the same names
        parts |= dict(model.heads.items())
        wanted = {name: value for name, value in wanted.items() if not name.startswith("heads.")}
    filling.fill(model, wanted, folder / "model.safetensors")
    own = nn.ModuleDict(parts)
    filling.fill(own, own.state_dict(), folder / "objectives.safetensors")


def resume(job: Job, other_data: bool = False) -> Progress:
    """Go on from a phase's newest whole checkpoint, if there is one: progress and weights.

    `optimise` brings the rest, once the engine has the weights.

    Args:
        job: what is to be filled.
        other_data: go on also with other manifests than those it was made with.

    Raises:
        ValueError: the checkpoint was made by another preset or from other manifests (they are
            named), a file of it does not fit, or there are checkpoints but none is whole.
    """
    folders = store.checkpoints(job.folder)
    if not folders:
        job.kept = [*store.state(job.system, job.learner.model, job.trained)]
        return Progress()
    newest = job.newest = whole.newest(folders)
    facts = whole.facts(newest)
    progress = Progress.read(newest)
    same.preset(newest, job.system.preset, job.folder.name)
    same.tokenizer(newest, job.system)
    if not other_data:
        same.data(newest, facts.get("data", job.data), job.data)
    if job.writes:
        tidy(job.folder, newest, progress)
    load_weights(newest, job.system, job.learner)
    job.kept = [*store.state(job.system, job.learner.model, job.trained)]
    return progress


def optimise(job: Job, engine: Alone, optimizer: optim.Optimizer) -> None:
    """Take engine and optimiser in; give the latter its state where the phase goes on.

    Raises:
        ValueError: the state does not fit.
    """
    job.engine, job.optimizer = engine, optimizer
    if engine.together:
        from speechllm.train.saving import Saving  # much to import, for nobody else

        job.saving = Saving(engine.group)
    if job.newest:
        complete = "files" in whole.facts(job.newest)
        optim.load(optimizer, job.newest / "optimizer.safetensors", complete, engine.part)


def write_order(experiment: Path, phases: list[Phase]) -> None:
    """Note the phases' order and what each hands on, for `store.find`."""
    entries = [{"name": s.name, "keep": s.keep, "steps": s.steps} for s in phases]
    files.write_json(experiment / "phases.json", entries)
