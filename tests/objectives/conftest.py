"""A tiny system whose rows have two answers, and a batch of what an objective needs."""

import pytest

from speechllm.data.collate import collate
from speechllm.data.manifest import Manifest, write
from speechllm.models import tiny
from speechllm.train.phases import phases


@pytest.fixture
def pairs(make_run, tmp_path):
    """Return a function: (objective table, changes) -> run whose train manifest holds pairs."""

    def make(objectives: str, *changes):
        run = make_run(tmp_path / "exp", f"phase.tune.objectives={objectives}", *changes)
        for name in ("train", "valid"):
            rows = [run.manifests[name][i] for i in range(5)]
            answers = [row["text"] for row in rows]
            for row, other in zip(rows, [*answers[1:], "high"], strict=True):
                row.update(chosen=row["text"], rejected=other + " low")
            write(tmp_path / f"{name}.jsonl", rows)
            run.manifests[name] = Manifest(tmp_path / f"{name}.jsonl")
        return run

    return make


@pytest.fixture
def batch_of():
    """Return a function: run -> (model with LoRA awake, batch) of its last phase."""

    def make(run, wake=True, n=4):
        phase = phases(run.system.preset)[-1]
        examples = run.examples(phase, run.manifests["train"], learning=False)
        pad = run.system.tokenizer.pad_token_id
        model = run.system.build().eval()
        if wake:
            tiny.wake(model, std=0.2)
        return model, collate([examples.make(0, i) for i in range(n)], pad)

    return make
