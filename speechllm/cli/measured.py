"""A manifest decoded and scored with a model before and after its LLM was quantised."""

import tempfile
from pathlib import Path


def quantised(model: Path, out: Path, manifest: Path) -> dict[str, str]:
    """Give the result lines "before" and "after": of a model, and with the LLM of `out/llm`.

    Raises:
        ValueError: what cannot be loaded, decoded or scored.
    """
    from transformers import AutoModelForCausalLM

    from speechllm.models import hub, store

    system, loaded = store.load(store.find(model))
    lines = {"before": _line(system, loaded, manifest)}
    with hub.quiet():
        loaded.llm = AutoModelForCausalLM.from_pretrained(out / "llm", dtype="auto").eval()
    return lines | {"after": _line(system, loaded, manifest)}


def _line(system, model, manifest: Path) -> str:
    """Decode as `speechllm decode` does without options, and score as the task says."""
    from speechllm.data.manifest import Manifest
    from speechllm.decode import record, run
    from speechllm.decode.search import Config, usual
    from speechllm.score import run as scoring

    options = run.Options(search=Config(**usual(system.preset, {}, "")))
    with tempfile.TemporaryDirectory() as folder:
        run.decode(system, model, Manifest(manifest), Path(folder), options)
        metric = record.task_metric(system, None)
        return scoring.score_file(Path(folder) / "hyp.jsonl", metric, manifest=manifest).line
