"""Validation: every objective's loss and metrics over a manifest, and the health monitor."""

import functools
from collections.abc import Iterator

import torch
from accelerate.utils import gather_object

from speechllm import media
from speechllm.data import loader, mixing
from speechllm.data.batch import Batch
from speechllm.data.examples import Examples
from speechllm.train import decoded, health
from speechllm.train.context import Run
from speechllm.train.group import Group
from speechllm.train.parallel import Alone
from speechllm.train.phases import Learner, Phase

HEALTH_BATCHES = 4  # batches of each validation on which audio is shuffled and silenced


def validation(run: Run, phase: Phase, engine: Alone, held_out: dict[str, Examples]) -> dict:
    """Return the losses and metrics over all manifests of `valid`, together.

    Args:
        run: of the phase.
        phase: whose objectives are computed.
        engine: has model and objectives.
        held_out: the examples of each manifest.

    Raises:
        Interrupted: a signal came.
    """
    results = {name: _validated(run, phase, engine, part) for name, part in held_out.items()}
    decoded.add(results, run, phase, engine)
    table = mixing.sources(phase.valid, f"phase {phase.name} valid").values()
    return together(results, [source.weight or 1.0 for source in table])


def _validated(run: Run, phase: Phase, engine: Alone, examples: Examples) -> dict:
    """Return the losses and metrics over the examples of one manifest."""
    batches = share(examples, run.data(phase), run.seed, engine.group)
    if engine.group.size == 1:  # several would wait for each other's sums
        batches = run.stop.guard(batches)
    silence = {k: media.of(k).nothing(b.front) for k, b in run.system.branches.items()}
    return validate(engine, phase, batches, silence, run.accelerator.device, run.autocast)


def share(examples: Examples, data: loader.Config, seed: int, group: Group) -> Iterator[Batch]:
    """Yield this process's share of the batches of a manifest, the same in every validation."""
    plan = enumerate(data.sampler(examples.manifest, seed, shuffle=False).epoch(0))
    keys = [(i, 0, indices) for i, indices in plan if i % group.size == group.rank]
    for _, batch, _ in loader.batches(examples, data, keys):
        if batch is not None:
            yield batch


@torch.no_grad()
def validate(engine: Alone, phase: Phase, batches, silence, device, autocast) -> dict:
    """Return {"loss", each objective's loss, its metrics, "health"}; sums over all processes.

    Args:
        engine: has model and objectives.
        phase: says which objectives, and their weights.
        batches: this process's share of the validation batches.
        silence: (x, n) of nothing of each medium, by medium; encoded once.
        device: where the model is.
        autocast: makes the precision context.
    """
    learner = engine.learner
    learner.eval()
    totals: dict[str, torch.Tensor] = {}
    quiet: dict[str, torch.Tensor] = {}
    # pairs are of what the model got wrong: there it is surer with the sound than without
    hears = "language_modelling" in phase.objectives and "pairs" not in phase.needs
    for i, (batch, counts) in enumerate(engine.rounds(batches)):
        # a medium alone has no other to change places with
        listens = hears and i < HEALTH_BATCHES and engine.all(health.listens(batch))
        sums = totals if counts else {}  # what does not count is run for the others' sake
        batch = batch.to(device)
        with autocast():
            work = functools.partial(_add_batch, phase, batch, sums, listens and (silence, quiet))
            engine.run(work)
    learner.set_modes()
    means = _means(totals)
    return _report(phase, means)


def _add_batch(phase: Phase, batch: Batch, totals: dict, health_of, learner: Learner) -> None:
    """Add a batch's losses and metrics to `totals`, and where `health_of` is given, its health."""
    result = learner.model(batch)
    for name in phase.objectives:
        objective = learner.objectives[name]
        _add(totals, name, *objective(result))
        for key, pair in objective.metrics(result).items():
            _add(totals, f"{name}/{key}", *pair)
    if health_of:
        silence, quiet = health_of
        if not quiet:
            quiet |= health.encoded(learner.model, silence)
        _listen(totals, learner, result, quiet)


def remarks(values: dict, objectives: dict) -> Iterator[str]:
    """Yield what a validation is to be told of besides its numbers."""
    if "health" in values and (advice := health.Health(**values["health"]).advice()):
        yield f"health: {advice}"
    for name in objectives:
        if left := values["valid"].get(f"{name}/left_out"):
            none = "" if values["valid"][name] else "; all of them: a loss of 0 says nothing"
            yield f"{name}: {left:g} targets are longer than their steps{none}"


def together(results: dict[str, dict], weights: list[float]) -> dict:
    """Join the validations of several manifests: the loss is the weighted mean of theirs.

    Each one's own values stand under its name; the health is that of the first that has audio.
    """
    if len(results) == 1:
        return next(iter(results.values()))
    valid = {name: values["valid"] for name, values in results.items()}
    pairs = zip(weights, valid.values(), strict=True)
    loss = sum(weight * values["loss"] for weight, values in pairs) / sum(weights)
    checked = [{"health": values["health"]} for values in results.values() if "health" in values]
    return {"valid": {"loss": loss, **valid}, **(checked[0] if checked else {})}


def _listen(totals, learner: Learner, result, quiet: dict) -> None:
    """Add the loss on real, shuffled and silent audio, and the norms; the encoder runs no more."""
    objective = learner.objectives["language_modelling"]
    _add(totals, "health/real", *objective(result))
    _add(totals, "health/shuffled", *objective(health.shuffled(result)))
    _add(totals, "health/silent", *objective(health.silent(result, quiet)))
    for key, value in zip(("soft_norm", "text_norm"), health.norms(result), strict=True):
        _add(totals, f"health/{key}", torch.tensor(value), torch.tensor(1))


def _add(totals: dict, key: str, total: torch.Tensor, count: torch.Tensor) -> None:
    pair = torch.stack([x.detach().cpu().double() for x in (total, count)])  # no float64 on mps
    totals[key] = totals.get(key, 0) + pair


def _means(totals: dict) -> dict[str, float]:
    """Sum over processes (one may have had no batch at all) and divide."""
    everyone: dict[str, torch.Tensor] = {}
    for own in gather_object([totals]):
        for key, pair in own.items():
            everyone[key] = everyone.get(key, 0) + pair
    pairs = {key: everyone[key].tolist() for key in sorted(everyone)}
    return {key: total / max(count, 1) for key, (total, count) in pairs.items()}


def _report(phase: Phase, means: dict[str, float]) -> dict:
    loss = sum(weight * means[name] for name, weight in phase.weights.items())
    checked = {k.split("/")[1]: v for k, v in means.items() if k.startswith("health/")}
    plain = {k: v for k, v in means.items() if not k.startswith("health/")}
    report = {"loss": loss, **plain}
    return {"valid": report, "health": checked} if checked else {"valid": report}
