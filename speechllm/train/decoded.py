"""Validation that answers: some utterances are decoded, greedy, and scored as their task is.

Loss alone misleads: it is that of the next token after the right ones, and says nothing of loops,
of answers that do not end, of a model that translates where it should transcribe.
"""

from pathlib import Path

import numpy as np

from speechllm.data import mixing
from speechllm.data.asked import asked
from speechllm.data.manifest import Manifest
from speechllm.decode.rated import rated
from speechllm.decode.run import Options
from speechllm.train.context import Run
from speechllm.train.parallel import Alone
from speechllm.train.phases import Phase


def some(manifest: Manifest, most: int) -> Manifest:
    """Choose up to `most` rows, evenly spread, the same at each validation."""
    n = len(manifest)
    return manifest.subset(np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int)))


def add(results: dict[str, dict], run: Run, phase: Phase, engine: Alone) -> None:
    """Add the scores of answers to the validation of each manifest, where the phase wants them.

    The first process decodes; where none has all weights, nobody does.
    """
    if phase.valid_decode and run.accelerator.is_main_process and not engine.together:
        for name, values in results.items():
            values["valid"] |= rates(run, phase, engine.learner.model, name)
        engine.learner.set_modes()


def rates(run: Run, phase: Phase, model, name: str) -> dict[str, float]:
    """Decode `phase.valid_decode` utterances of the manifest `name`; give {metric: percent}.

    The answers stay in `EXP/PHASE/valid_decode/NAME/hyp.jsonl`, to be read.
    """
    source: mixing.Source = run.sources(phase, learning=False)[name]
    task, data = source.task or phase.task, run.data(phase)
    task = asked(run.system.preset, task) if isinstance(task, str) else task
    options = Options(
        task=task,
        max_batch_s=data.max_batch_s,
        workers=run.workers,
        on_error=run.on_error,
        precision=run.precision,
    )
    part = some(data.select(run.manifests[name]), phase.valid_decode)
    folder = Path(run.out) / phase.name / "valid_decode" / name
    return rated(run.system, model, part, folder, options)
