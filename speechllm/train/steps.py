"""One phase, step by step.

What step s computes is a pure function of (preset, seed, s): batches, augmentation and dropout are
seeded by numbers, not by state. A step takes `gradient_accumulation` batches; processes share them
out, so that two processes with one batch each do what one process does with two.
"""

import functools
import itertools
import math
import signal
import time
from pathlib import Path

import torch

from speechllm.data import loader, mixing
from speechllm.models import compiled
from speechllm.train import checkpoint, optim
from speechllm.train.context import Run
from speechllm.train.group import Group, Statistics
from speechllm.train.log import Log
from speechllm.train.phases import Learner, Phase
from speechllm.train.stopping import Interrupted, Stopped
from speechllm.train.sums import SourceSums, count_left_out
from speechllm.train.validate import remarks, validation


class PhaseRun:
    """One phase, from its newest checkpoint (or the weights that are there) to its end."""

    def __init__(self, run: Run, phase: Phase, number: int, learner: Learner, trained, log: Log):
        self.run, self.phase, self.number = run, phase, number
        self.log = log
        self.group = Group(run.accelerator)
        self.every = phase.valid_every or max(phase.steps // 10, 1)
        self.next_save = time.perf_counter() + run.save_every_s
        torch.manual_seed(run.seed + number)
        learning = learner.begin(phase, f"phase {phase.name}", trained)
        learner.to(run.accelerator.device)
        self.job = checkpoint.Job(
            folder=run.out / phase.name,
            system=run.system,
            learner=learner,
            trained=trained,
            data=run.digests(phase),
            writes=self.group.is_main,
        )
        self.progress = checkpoint.resume(self.job, run.other_data)
        self.engine = run.parallel.begin(self.group, learner, learning)
        self.optimizer = optim.make(phase, self.engine.learning)
        self.learning = self.optimizer.stepped
        checkpoint.optimise(self.job, self.engine, self.optimizer)
        compiled.compile_layers(self.learner.model.llm, run.compile)

    @property
    def learner(self) -> Learner:
        """The model and its objectives."""
        return self.engine.learner

    @functools.cached_property
    def parts(self) -> dict:
        """The examples of each of the phase's sources, by name."""
        return self.run.parts(self.phase, learning=True)

    @functools.cached_property
    def mixture(self) -> mixing.Mixture:
        """The order in which they take turns."""
        return self.run.mixture(self.phase, self.parts)

    @functools.cached_property
    def held_out(self) -> dict:
        """The examples of each manifest of `valid`, made once: the frames they keep stay."""
        return self.run.parts(self.phase, learning=False)

    def go(self) -> None:
        """Train to the phase's last step.

        Raises:
            Stopped: a signal came; what was done is saved.
        """
        progress, phase = self.progress, self.phase
        if progress.step >= phase.steps and not progress.pending:
            return
        self.announce()
        with self.run.stop:
            if phase.valid_first and not progress.step:
                self.log.step(phase.name, 0, self.validation(), show=True)
            if progress.pending:
                self.keep()
            source = self.source()
            began = time.perf_counter() - progress.seconds
            while progress.step < phase.steps:
                values = self.step(self.pull(source))
                progress.step += 1
                progress.seconds = time.perf_counter() - began
                self.report(values)
                self.keep()

    def announce(self) -> None:
        """Say what begins or goes on, and how."""
        step, phase, log = self.progress.step, self.phase, self.log
        log.rewind(phase.name, step)
        number = sum(p.numel() for p in self.learning.values())
        since = f", on from step {step}" if step else ""
        log.say(f"phase {phase.name}: {number:,} parameters learn, {phase.steps} steps{since}")
        if self.group.splits(phase.gradient_accumulation):
            log.say(
                f"  {self.group.size} processes for gradient_accumulation = "
                f"{phase.gradient_accumulation}: each batch is shared out by its rows"
            )
        if phase.valid_decode and self.engine.together:
            log.say("  valid_decode is left out: under fsdp no process has all weights")
        log.begin(phase.name, phase.steps, step)

    def source(self):
        """Yield this process's batches, from where the progress stands."""
        phase = self.phase
        keys = self.group.keys(self.mixture, self.progress.step, phase.gradient_accumulation)
        # a loader takes keys far ahead: the last batch of the phase ends them
        last = phase.steps * phase.gradient_accumulation
        keys = itertools.takewhile(lambda key: key[0] < last, keys)
        return loader.batches(mixing.Mixed([*self.parts.values()]), self.run.data(phase), keys)

    def pull(self, source) -> list[tuple[int, object]]:
        """Take this process's batches of one optimiser step: (batch number, batch)."""
        taken = list(itertools.islice(source, self.group.share(self.phase.gradient_accumulation)))
        for _, _, errors in taken:
            self.progress.errors += errors
        place = self.run.accelerator.device
        return [(number, batch.to(place)) for number, batch, _ in taken if batch is not None]

    def step(self, taken: list[tuple[int, object]]) -> dict[str, float]:
        """Do one optimiser step; return each objective's mean loss, and the gradient's norm."""
        phase, learner = self.phase, self.learner
        # divided once, by the targets of all micro-batches: 10 and 90 are 100, not two halves
        batches = [batch for _, batch in taken]
        counts = self.counts(batches)
        sums = dict.fromkeys(phase.objectives, 0.0)
        sources = SourceSums([*self.parts], phase.weights)
        statistics = Statistics(self.group, learner)
        passes = self.engine.passes(taken)
        for place, (number, batch, own) in enumerate(passes):
            parts = self.group.seeds(phase.gradient_accumulation)
            # dropout follows from the number of the batch: a resumed run draws the same
            torch.manual_seed(hash((self.run.seed, self.number, number, *parts)) % 2**63)
            work = functools.partial(self.losses, batch, counts)
            with self.optimizer.gathering(), statistics.of(number if own else -1):
                pairs = self.engine.backward(work, own, last=place == len(passes) - 1)
            if own and batch is not None:
                sums = {name: sums[name] + value.item() for name, (value, _) in pairs.items()}
                if len(self.parts) > 1:
                    sources.add(self.mixture.source(number)[0], batch, pairs)
        statistics.replay()
        own = {name: learner.objectives[name] for name in sums}
        count_left_out(batches, own, self.progress.left_out, self.group.total, self.log.say)
        norm = self.update()
        self.progress.audio_s += self.group.total([sum(batch.seconds for batch in batches)])[0]
        totals = self.group.total(list(sums.values()))
        means = {k: v / max(counts[k], 1) for k, v in zip(sums, totals, strict=True)}
        loss = sum(phase.weights[k] * v for k, v in means.items())
        values = {"loss": loss, **means, "norm": norm}
        if len(self.parts) > 1:
            values["sources"] = sources.report(self.group.total)
        return values

    def losses(self, batch, counts: dict[str, float], learner: Learner) -> tuple:
        """Return a batch's share of the step's loss, and each objective's (sum, count)."""
        if batch is None:
            return torch.zeros((), device=self.run.accelerator.device), {}
        weights = self.phase.weights
        with self.run.autocast():
            result = learner.model(batch)
            pairs = {name: learner.objectives[name](result) for name in weights}
            loss = sum(weights[k] * v / max(counts[k], 1) for k, (v, _) in pairs.items())
        self.finite(loss, batch)
        return loss, {name: (value.detach(), n) for name, (value, n) in pairs.items()}

    def counts(self, batches: list) -> dict[str, float]:
        """Return each objective's number of targets in this step, over all processes."""
        objectives = self.learner.objectives
        own = [sum(objectives[n].count(b) for b in batches) for n in self.phase.objectives]
        return dict(zip(self.phase.objectives, self.group.total(own), strict=True))

    def finite(self, loss: torch.Tensor, batch) -> None:
        """Stop at a loss that is not a number, naming the utterances."""
        if not math.isfinite(loss.item()):
            raise FloatingPointError(
                f"phase {self.phase.name}, step {self.progress.step}: the loss is {loss.item()} "
                f"on {', '.join(batch.names)}; the last checkpoint is whole"
            )

    def update(self) -> float:
        """Sum gradients over processes, clip, step; return the norm before clipping."""
        self.engine.sum(self.learning)
        parameters = [p for p in self.learning.values() if p.grad is not None]
        norm = self.engine.clip(parameters, self.phase.clip)
        if not math.isfinite(norm):
            raise FloatingPointError(
                f"phase {self.phase.name}, step {self.progress.step}: the gradient is {norm}"
            )
        self.optimizer.step(optim.learning_rate(self.phase, self.progress.step))
        return norm

    def report(self, values: dict[str, float]) -> None:
        """Log a step; print each `log_every`-th."""
        step = self.progress.step
        values["lr"] = optim.learning_rate(self.phase, step - 1)
        values["seconds"] = round(self.progress.seconds, 2)
        values["rtfx"] = round(self.progress.audio_s / max(self.progress.seconds, 1e-9), 1)
        self.log.step(self.phase.name, step, values, show=step % self.run.log_every == 0)
        self.log.advance(step)

    def keep(self) -> None:
        """Validate where that is due; save then, and where a signal or the clock asks for it.

        Raises:
            Stopped: a signal came.
        """
        progress, stop, last = self.progress, self.run.stop, self.phase.steps
        due = progress.pending or progress.step % self.every == 0 or progress.step == last
        late = self.group.is_main and time.perf_counter() > self.next_save
        # all processes do the same, whichever of them a signal has reached
        stopped, late = self.group.total([float(stop.number > 0), float(late)])
        if not (due or stopped or late):
            return
        progress.pending = False
        if due:
            try:
                self.validate()
            except Interrupted:
                progress.pending = True
        saved = self.save()
        if stopped or progress.step == last:
            checkpoint.settle(self.job)
        if stopped or (stop.number and self.group.size == 1):
            raise Stopped(stop.number or signal.SIGTERM, f"saved in {saved}")

    def save(self) -> Path:
        """Save a checkpoint; return its folder."""
        self.progress.errors = self.group.union(self.progress.errors)
        folder = checkpoint.save(self.job, self.progress)
        self.run.accelerator.wait_for_everyone()
        self.next_save = time.perf_counter() + self.run.save_every_s
        return folder

    def validate(self) -> None:
        """Validate, log, advise, and note the best."""
        phase, progress = self.phase, self.progress
        values = self.validation()
        self.log.step(phase.name, progress.step, values, show=True)
        for remark in remarks(values, phase.objectives):
            self.log.say(f"  {remark}")
        progress.note(values["valid"]["loss"])

    def validation(self) -> dict:
        """Return the losses and metrics over all manifests of `valid`, together."""
        with compiled.as_they_are(self.run.compile):
            return validation(self.run, self.phase, self.engine, self.held_out)
