"""One stage, step by step.

What step s computes is a pure function of (preset, seed, s): batches, augmentation and dropout are
seeded by numbers, not by state. A step takes `gradient_accumulation` batches; processes share them
out, so that two processes with one batch each do what one process does with two.
"""

import functools
import itertools
import math
import time

import torch

from speechllm import media
from speechllm.data import loader, mixing
from speechllm.train import checkpoint, health, optim
from speechllm.train.log import Log
from speechllm.train.run import Run
from speechllm.train.stages import Learner, Stage
from speechllm.train.tally import Tally, count_left_out
from speechllm.train.validate import together, validate


class StageRun:
    """One stage, from its newest checkpoint (or the weights that are there) to its end."""

    def __init__(self, run: Run, stage: Stage, number: int, learner: Learner, trained, log: Log):
        self.run, self.stage, self.number = run, stage, number
        self.learner, self.log = learner, log
        self.accelerator = run.accelerator
        torch.manual_seed(run.seed + number)
        learning = learner.begin(stage, f"stage {stage.name}", trained)
        learner.to(run.accelerator.device)
        self.optimizer = optim.make(stage, learning)
        self.learning = self.optimizer.stepped
        self.job = checkpoint.Job(
            folder=run.out / stage.name,
            system=run.system,
            learner=learner,
            optimizer=self.optimizer,
            learning=self.learning,
            trained=trained,
            data=run.digests(stage),
        )
        self.progress = checkpoint.resume(self.job, run.other_data)

    @functools.cached_property
    def parts(self) -> dict:
        """The examples of each of the stage's sources, by name."""
        return self.run.parts(self.stage, learning=True)

    @functools.cached_property
    def mixture(self) -> mixing.Mixture:
        """The order in which they take turns."""
        return self.run.mixture(self.stage, self.parts)

    @functools.cached_property
    def held_out(self) -> dict:
        """The examples of each manifest of `valid`, made once: the frames they keep stay."""
        return self.run.parts(self.stage, learning=False)

    def go(self) -> None:
        """Train to the stage's last step."""
        progress, stage = self.progress, self.stage
        if progress.step >= stage.steps:
            return
        self.log.rewind(stage.name, progress.step)
        number = sum(p.numel() for p in self.learning.values())
        since = f", on from step {progress.step}" if progress.step else ""
        self.log.say(f"stage {stage.name}: {number:,} parameters learn, {stage.steps} steps{since}")
        self.log.begin(stage.name, stage.steps, progress.step)
        source = self.source()
        every = stage.valid_every or max(stage.steps // 10, 1)
        if stage.valid_first and not progress.step:
            self.log.step(stage.name, 0, self.validation(), show=True)
        began = time.perf_counter() - progress.seconds
        while progress.step < stage.steps:
            values = self.step(self.pull(source))
            progress.step += 1
            progress.seconds = time.perf_counter() - began
            self.report(values)
            if progress.step % every == 0 or progress.step == stage.steps:
                self.validate_and_save()

    def source(self):
        """Yield this process's batches, from where the progress stands."""
        stage = self.stage
        first = self.progress.step * stage.gradient_accumulation + self.accelerator.process_index
        keys = self.mixture.batches(first, self.accelerator.num_processes)
        # a loader takes keys far ahead: the last batch of the stage ends them
        last = stage.steps * stage.gradient_accumulation
        keys = itertools.takewhile(lambda key: key[0] < last, keys)
        return loader.batches(mixing.Mixed([*self.parts.values()]), self.run.data(stage), keys)

    def pull(self, source) -> list[tuple[int, object]]:
        """Take this process's batches of one optimiser step: (batch number, batch)."""
        share = self.stage.gradient_accumulation // self.accelerator.num_processes
        taken = list(itertools.islice(source, share))
        for _, _, errors in taken:
            self.progress.errors += errors
        device = self.accelerator.device
        return [(number, batch.to(device)) for number, batch, _ in taken if batch is not None]

    def step(self, taken: list[tuple[int, object]]) -> dict[str, float]:
        """Do one optimiser step; return each objective's mean loss, and the gradient's norm."""
        stage, learner = self.stage, self.learner
        counts = self.counts([batch for _, batch in taken])
        sums = dict.fromkeys(stage.objectives, 0.0)
        tally = Tally([*self.parts], stage.weights)
        for number, batch in taken:
            torch.manual_seed(hash((self.run.seed, self.number, number)) % 2**63)
            with self.run.autocast():
                result = learner.model(batch)
                pairs = {name: learner.objectives[name](result) for name in sums}
                loss = sum(stage.weights[k] * v / max(counts[k], 1) for k, (v, _) in pairs.items())
            self.finite(loss, batch)
            if loss.requires_grad:  # not where no objective is for such a batch: CTC and text
                with self.optimizer.gathering():
                    loss.backward()
            for name, (value, _) in pairs.items():
                sums[name] += value.item()
            if len(self.parts) > 1:
                tally.add(self.mixture.source(number)[0], batch, pairs)
        own, batches = {n: learner.objectives[n] for n in sums}, [batch for _, batch in taken]
        count_left_out(batches, own, self.progress.left_out, self.total, self.log.say)
        norm = self.update()
        self.progress.audio_s += self.total([sum(batch.seconds for _, batch in taken)])[0]
        totals = self.total(list(sums.values()))
        means = {k: v / max(counts[k], 1) for k, v in zip(sums, totals, strict=True)}
        loss = sum(stage.weights[k] * v for k, v in means.items())
        values = {"loss": loss, **means, "norm": norm}
        if len(self.parts) > 1:
            values["sources"] = tally.report(self.total)
        return values

    def counts(self, batches: list) -> dict[str, float]:
        """Return each objective's number of targets in this step, over all processes."""
        names = list(self.stage.objectives)
        own = [sum(self.learner.objectives[n].count(b) for b in batches) for n in names]
        return dict(zip(names, self.total(own), strict=True))

    def total(self, values: list[float]) -> list[float]:
        """Sum numbers over all processes."""
        if self.accelerator.num_processes == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64, device=self.accelerator.device)
        return self.accelerator.reduce(tensor, "sum").tolist()

    def finite(self, loss: torch.Tensor, batch) -> None:
        """Stop at a loss that is not a number, naming the utterances."""
        if not math.isfinite(loss.item()):
            raise FloatingPointError(
                f"stage {self.stage.name}, step {self.progress.step}: the loss is {loss.item()} "
                f"on {', '.join(batch.names)}; the last checkpoint is whole"
            )

    def update(self) -> float:
        """Sum gradients over processes, clip, step; return the norm before clipping."""
        if self.accelerator.num_processes > 1:
            self.reduce([*self.learning.values()])
        parameters = [p for p in self.learning.values() if p.grad is not None]
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.stage.clip).item()
        if not math.isfinite(norm):
            raise FloatingPointError(
                f"stage {self.stage.name}, step {self.progress.step}: the gradient is {norm}"
            )
        self.optimizer.step(optim.learning_rate(self.stage, self.progress.step))
        return norm

    def reduce(self, parameters: list) -> None:
        """Sum gradients over processes, in one message.

        What has one in no process (the encoder, where all batches are text) stays without, so that
        the optimiser passes it by as it does in a single process.
        """
        has = torch.tensor([p.grad is not None for p in parameters], device=parameters[0].device)
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([*(grad.flatten() for grad in grads), has.to(grads[0].dtype)])
        *totals, has = self.accelerator.reduce(flat, "sum").split(
            [*(p.numel() for p in parameters), len(parameters)]
        )
        for p, total, n in zip(parameters, totals, has.tolist(), strict=True):
            p.grad = total.view_as(p).to(p.dtype, copy=True) if n else None

    def report(self, values: dict[str, float]) -> None:
        """Log a step; print each `log_every`-th."""
        step = self.progress.step
        values["lr"] = optim.learning_rate(self.stage, step - 1)
        values["seconds"] = round(self.progress.seconds, 2)
        values["rtfx"] = round(self.progress.audio_s / max(self.progress.seconds, 1e-9), 1)
        self.log.step(self.stage.name, step, values, show=step % self.run.log_every == 0)
        self.log.advance(step)

    def validate_and_save(self) -> None:
        """Validate, log, advise, and save a checkpoint."""
        self.average_buffers()
        stage, progress = self.stage, self.progress
        values = self.validation()
        self.log.step(stage.name, progress.step, values, show=True)
        if "health" in values and (advice := health.Health(**values["health"]).advice()):
            self.log.say(f"  health: {advice}")
        for name in stage.objectives:
            if left := values["valid"].get(f"{name}/left_out"):
                none = "" if values["valid"][name] else "; all of them: a loss of 0 says nothing"
                self.log.say(f"  {name}: {left:g} targets are longer than their steps{none}")
        if values["valid"]["loss"] < progress.best:
            progress.best, progress.best_step = values["valid"]["loss"], progress.step
        if self.accelerator.is_main_process:
            checkpoint.save(self.job, progress)
        self.accelerator.wait_for_everyone()

    def validation(self) -> dict:
        """Return the losses and metrics over all manifests of `valid`, together."""
        stage = self.stage
        found = {name: self.validate(v) for name, v in self.held_out.items()}
        table = mixing.sources(stage.valid, f"stage {stage.name} valid").values()
        return together(found, [source.weight or 1.0 for source in table])

    def validate(self, examples) -> dict:
        """Return the losses and metrics over the examples of one manifest."""
        run, data = self.run, self.run.data(self.stage)
        sampler = data.sampler(examples.manifest, run.seed, shuffle=False)
        plan = enumerate(sampler.epoch(0))
        keys = [(i, 0, indices) for i, indices in plan if self.mine(i)]
        source = loader.batches(examples, data, keys)
        batches = (batch for _, batch, _ in source if batch is not None)
        silence = {k: media.of(k).nothing(b.front) for k, b in run.system.branches.items()}
        parts = (batches, silence, self.accelerator.device, run.autocast)
        return validate(self.learner, self.stage, *parts)

    def average_buffers(self) -> None:
        """Give all processes the mean of their running statistics (BatchNorm)."""
        if self.accelerator.num_processes == 1:
            return
        for buffer in self.learner.buffers():
            if buffer.is_floating_point():
                buffer.copy_(self.accelerator.reduce(buffer, "mean"))

    def mine(self, batch_number: int) -> bool:
        """Say whether this process validates on that batch."""
        return batch_number % self.accelerator.num_processes == self.accelerator.process_index
