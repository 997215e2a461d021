"""A manifest decoded and scored with a model before and after its LLM was quantised."""

import tempfile
from pathlib import Path

import torch


def before_and_after(model: Path, out: Path, manifest: Path, like: str = "") -> dict[str, str]:
    """Give the result lines "before" and "after": of a model, and with the LLM of an export.

    Args:
        model: as `speechllm decode` takes it.
        out: what `export.to_transformers` wrote where `like` is given, else `export.to_parts`.
        manifest: what is decoded.
        like: the published model that `model` was imported from.

    Raises:
        ValueError: what cannot be loaded, decoded or scored.
    """
    from speechllm.models import quantised
    from speechllm.models.leaving import Leaving

    leaving = Leaving(model, like, whole_again=bool(like))
    system, loaded = leaving.system, leaving.model
    lines = {"before": _line(system, loaded, manifest)}
    if like:
        take_weights(leaving, quantised.reopen(out, leaving.kind()))
    else:
        loaded.llm = quantised.reopen(out / "llm")
    return lines | {"after": _line(system, loaded, manifest)}


@torch.no_grad()
def take_weights(leaving, theirs) -> None:
    """Take the weights of their LLM into ours, whose LoRA they have within already."""
    from speechllm.models import export, lora, quantised

    ours = leaving.model.state_dict()
    for name, weight in ours.items():
        owner = lora.owner(name)
        if owner and owner[1] in leaving.added:
            weight.zero_()
    whole = {name.replace(".base_layer.", "."): name for name in ours}
    weights = theirs.state_dict()
    for name, place in export.places(leaving).items():
        if name in whole and weights[place].shape == ours[whole[name]].shape:  # else two joined
            ours[whole[name]].copy_(quantised.dense(weights[place]))


def _line(system, model, manifest: Path) -> str:
    """Decode as `speechllm decode` does without options, and score as the task says."""
    from speechllm.data.manifest import Manifest
    from speechllm.decode import record, run
    from speechllm.decode.settings import Config, usual
    from speechllm.score import run as scoring

    options = run.Options(search=Config(**usual(system.preset, {}, "")))
    with tempfile.TemporaryDirectory() as folder:
        run.decode(system, model, Manifest(manifest), Path(folder), options)
        metric = record.task_metric(system, None)
        return scoring.score_file(Path(folder) / "hyp.jsonl", metric, manifest=manifest).line
