"""The training loop: check everything first, then the phases in order, resumable to the bit."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch

from speechllm import config, files, lock, provenance
from speechllm.data import check as data_check
from speechllm.models import apart, filling, heads, states, store, whole
from speechllm.models.system import matches
from speechllm.train import checkpoint, notices
from speechllm.train.context import Run
from speechllm.train.group import Group
from speechllm.train.log import Log
from speechllm.train.phases import Learner, Phase, phases
from speechllm.train.steps import PhaseRun


@dataclass
class Summary:
    """What a training took: seconds by phase, audio seconds seen, utterances that were skipped."""

    seconds: float = 0.0
    audio_s: float = 0.0
    phases: dict = field(default_factory=dict)
    errors: list = field(default_factory=list)
    notices: list = field(default_factory=list)

    def add(self, phase: str, progress: checkpoint.Progress) -> None:
        """Count one phase."""
        self.seconds += progress.seconds
        self.audio_s += progress.audio_s
        self.phases[phase] = {"steps": progress.step, "seconds": round(progress.seconds, 1)}
        if progress.left_out:
            self.notices.append(f"phase {phase}: {left_out(progress.left_out)}")
        self.errors += [e for e in progress.errors if e not in self.errors]


def train(run: Run, until: str = "") -> Summary:
    """Run all phases, or those up to `until`; finished ones are loaded, an unfinished one goes on.

    Raises:
        ValueError: bad settings or data, named; before any step where that can be known.
        FloatingPointError: the loss is not finite; names the utterances.
        Stopped: a signal came; what was done is saved.
    """
    plan = phases(run.system.preset)
    last = _position(plan, until)
    with _alone(run):
        return _train(run, plan, last)


@contextlib.contextmanager
def _alone(run: Run) -> Iterator[None]:
    """Hold the experiment's folder, in the process that writes, and clear what a kill has left."""
    if not run.accelerator.is_main_process:
        yield
        return
    with lock.hold(run.out, "wait for its end, or choose another --out"):
        for folder in (run.out, *(run.out / phase.name for phase in phases(run.system.preset))):
            files.sweep(folder)
        yield


def _train(run: Run, plan: list[Phase], last: int) -> Summary:
    Group(run.accelerator).agree(_facts(run))
    check(run, plan, last)
    log = Log(run.out, run.accelerator.is_main_process)
    learner = Learner(run.system.build().to(run.accelerator.device))
    for phase in plan:
        learner.check(phase, f"phase {phase.name}")
        if run.data(phase).pack:
            apart.check(learner.model.llm)
    for phase in plan[:last]:  # the manifests of later ones need not be there yet
        _take_encoders(run, phase, learner)
        for part in run.parts(phase, learning=True).values():
            data_check.stored(part)
    trained = _begin(run, learner)
    summary = Summary(notices=notices.before(run, plan, last, learner.named()))
    for line in summary.notices:
        log.say(f"note: {line}")
    for number, phase in enumerate(plan[:last]):
        if not learner.has_learned("adapter.", trained):
            learner.model.match()  # the LLM's embeddings may have been trained meanwhile
        trained = [*trained, list(phase.train)]
        _take_encoders(run, phase, learner)
        job = PhaseRun(run, phase, number, learner, trained, log)
        job.go()
        for line in notices.after(phase, job.optimizer):
            summary.notices.append(line)
            log.say(f"note: {line}")
        summary.add(phase.name, job.progress)
        learner = job.engine.end()
        kept = store.chosen(run.out / phase.name, phase.keep, strict=True)
        checkpoint.load_weights(kept, run.system, learner)
        log.say(f"phase {phase.name}: done, goes on from {kept.name}")
    log.end()
    return summary


def _facts(run: Run) -> dict[str, str]:
    """What all processes of a training must have alike, as digests."""
    data = {f"manifest {name}": one.digest() for name, one in run.manifests.items()}
    preset = files.digest(run.system.preset.dump().encode())
    more = {"code": provenance.code(), "torch": torch.__version__, "precision": run.precision}
    return {"preset": preset, "parallel": repr(run.parallel), **more, **data}


def _take_encoders(run: Run, phase: Phase, learner: Learner) -> None:
    """Note of which encoders, as they are now, a phase's stored states must be."""
    learning = [name for name in learner.named() if matches(name, phase.patterns)]
    run.encoders = states.origins(run.system, learner.model, learning)


def left_out(counts: dict[str, int]) -> str:
    """Say of each objective how often a target that it cannot learn stood in a batch."""
    said = ", ".join(f"{name} {n}" for name, n in counts.items())
    return f"targets left out of loss and count, longer than their steps: {said}"


def _begin(run: Run, learner: Learner) -> list[list[str]]:
    """Take over the weights of the folder that the run starts from; say what has been trained."""
    if run.start is None:
        return []
    whole.verify(run.start)
    facts = whole.facts(run.start)
    heads.attach(learner.model, facts, str(run.start / whole.FACTS))
    learner.model.to(run.accelerator.device)
    trained = facts["trained"]
    wanted = store.state(run.system, learner.model, trained)
    filling.fill(learner.model, wanted, run.start / "model.safetensors", added=True)
    return trained


def _position(plan: list[Phase], until: str) -> int:
    """Return how many phases there are up to `until`.

    Raises:
        ValueError: no phase of that name.
    """
    names = [phase.name for phase in plan]
    if until and until not in names:
        raise ValueError(f"--until {until}: no such phase; {config.suggest(until, names)}")
    return names.index(until) + 1 if until else len(plan)


def check(run: Run, plan: list[Phase], last: int) -> None:
    """Find what would fail in the first `last` phases, before the first step.

    Later phases may want what these make first: pairs of answers.

    Raises:
        ValueError: parts of the system that do not fit together; a manifest that is missing,
            empty, or of which nothing can be used; a row that its task cannot ask; references of
            unequal number; noises or rooms of the augmentation that are not there, a warp that the
            front end has no bins for.
    """
    run.system.check()
    run.builder()
    for phase in plan[:last]:
        learned = run.parts(phase, learning=True)
        run.mixture(phase, learned)
        held_out = run.parts(phase, learning=False)
        for part in learned.values():
            if "audio" in part.fronts:
                part.augment.check(part.fronts["audio"])
        for part in (*learned.values(), *held_out.values()):
            data_check.rows(part)
            replace(part, augment=None).make(0, 0)
            data_check.stored(part)
        for part in held_out.values():
            data_check.references(part)
    if run.accelerator.is_main_process:
        checkpoint.write_order(run.out, plan)
