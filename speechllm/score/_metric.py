"""The metrics of this folder: found by name, applied to utterances.

A metric is a file with what `__init__.py` lists. It may say more of itself: `NORMALISER`, that it
is scored with by default; `REFERENCES`, the keys of a manifest's row that hold its reference;
`MANY_REFERENCES` if `stats` takes a list of them; `signature(n_refs)`; `with_option(word)` for the
metric that is asked for as "name:word"; `all_stats(utterances, texts)` where counting them one by
one would be slow; `over(references)` where its fields depend on what is scored.
"""

import importlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from speechllm.config import suggest
from speechllm.score import normalise

NEEDED = (
    "NAME FIELDS UNIT LOWER_IS_BETTER LOOP_LENGTH BURST tokens stats score size describe"
).split()


def metrics() -> list[str]:
    """List the metrics: the files of this folder that define `stats`."""
    files = sorted(Path(__file__).parent.glob("[!_]*.py"))
    return [f.stem for f in files if "\ndef stats(" in f.read_text("utf-8")]


def metric_module(name: str):
    """Import the metric called `name`, or "name:option"; what "@" says is not looked at.

    Raises:
        ValueError: there is none of that name, or it has no such option.
    """
    name, colon, option = name.partition("@")[0].partition(":")
    if name not in metrics():
        raise ValueError(f"no metric called {name!r}; {suggest(name, metrics())}")
    module = importlib.import_module(f"speechllm.score.{name}")
    if lacking := [needed for needed in NEEDED if not hasattr(module, needed)]:
        raise ValueError(f"{module.__file__}: a metric wants {', '.join(lacking)} too; see wer.py")
    if not colon:
        return module
    if not hasattr(module, "with_option"):
        raise ValueError(f"{name}:{option}: the metric {name} has no options; ask for {name}")
    return module.with_option(option)


def fields(name: str) -> tuple[str, str]:
    """What a metric compares of each line: `hyp` and `ref`, or of "wer@transcript:source" others.

    Raises:
        ValueError: what stands after "@" is not of that form.
    """
    _, at, given = name.partition("@")
    if not at:
        return "hyp", "ref"
    hyp, colon, ref = given.partition(":")
    if not (hyp and colon and ref):
        raise ValueError(f"{name}: wanted METRIC@FIELD:FIELD of hypotheses and of references")
    return hyp, ref


def normaliser(module, name: str = ""):
    """Return the normaliser called `name`, or the metric's own where no name is given."""
    return normalise.get(name or getattr(module, "NORMALISER", "whisper-en"))


def fitted(module, utterances: list, clean):
    """Return a metric made for the references of these utterances, where it wants to be."""
    if not hasattr(module, "over"):
        return module
    return module.over(clean_texts(one, clean)[0][0] for one in utterances)


def count(utterances: list, module, clean) -> np.ndarray:
    """Statistics of each utterance (U, F), and nothing else."""
    cleaned = [clean_texts(one, clean) for one in utterances]
    return np.array(list(all_stats(utterances, cleaned, module)), np.int64)


def clean_texts(one, clean) -> tuple[list[str], str]:
    """Normalise references and hypothesis, white space too."""
    return [" ".join(clean(ref).split()) for ref in one.refs], " ".join(clean(one.hyp).split())


def all_stats(utterances: list, cleaned: list, module) -> Iterable[tuple[int, ...]]:
    """Statistics of all utterances.

    Raises:
        ValueError: several references for a metric that takes one.
    """
    several = len(utterances[0].refs)
    if several > 1 and not getattr(module, "MANY_REFERENCES", False):
        raise ValueError(
            f"{module.NAME} takes one reference, but {utterances[0].id} has {several}; "
            "score with a metric that takes several (bleu, chrf), or keep one"
        )
    if hasattr(module, "all_stats"):
        return module.all_stats(utterances, cleaned)
    return (module.stats(refs if several > 1 else refs[0], hyp) for refs, hyp in cleaned)


def signature(module, utterance) -> list[str]:
    """What a metric says of itself, if anything."""
    return [module.signature(len(utterance.refs))] if hasattr(module, "signature") else []
