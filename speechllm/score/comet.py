"""COMET: a trained metric's judgement of a translation, given source and reference, times 100.

Optional: it wants the package `unbabel-comet` and its model, either in the environment variable
COMET_MODEL (a .ckpt file, or a name such as Unbabel/wmt22-comet-da that is fetched) or as
`--metric comet:MODEL`. The source is what the decoder wrote as `source`, the true transcript.

R. Rei et al., COMET-22: Unbabel-IST 2022 submission for the metrics shared task, WMT 2022.
"""

import os
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from speechllm.score._sacrebleu import plain_files
from speechllm.score.wer import BURST, LOOP_LENGTH, UNIT, tokens

__all__ = ["BURST", "LOOP_LENGTH", "UNIT", "plain_files", "tokens"]

NAME = "COMET"
FIELDS = ("millionths", "utterances")
LOWER_IS_BETTER = False
NORMALISER = "none"
REFERENCES = ("translation", "text")
SHOWN = ()  # of the fields, in tables
CHECK = "comet-score -t hyp.txt -r ref.txt"
MILLION = 1_000_000  # statistics are integers


@lru_cache
def _model(name: str = ""):
    """Load the model.

    Raises:
        ValueError: package or model are missing.
    """
    name = name or os.environ.get("COMET_MODEL", "")
    if not name:
        raise ValueError(
            "COMET wants a model: set COMET_MODEL to a .ckpt file or a name such as "
            "Unbabel/wmt22-comet-da, or ask for --metric comet:MODEL"
        )
    try:
        import comet
    except ModuleNotFoundError as error:
        raise ValueError("COMET wants its package: pip install unbabel-comet") from error
    try:
        path = name if Path(name).is_file() else comet.download_model(name)
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"COMET: {name} is no file and cannot be fetched: {error}") from error
    return comet.load_from_checkpoint(str(path))


def with_option(name: str) -> SimpleNamespace:
    """Return this metric with another model."""
    bound = {f.__name__: partial(f, name=name) for f in (all_stats, signature)}
    return SimpleNamespace(**{**globals(), **bound})


def all_stats(utterances: Sequence, texts: Sequence, name: str = "") -> list[tuple[int, int]]:
    """Judge all utterances in batches; `texts` are (references, hypothesis) each.

    Raises:
        ValueError: an utterance without its source; no package, no model.
    """
    model = _model(name)
    if missing := [u.id for u in utterances if not u.source]:
        raise ValueError(
            f"COMET wants the source of each utterance; {len(missing)} have none, as {missing[0]}: "
            "decode a manifest with 'text' and 'translation'"
        )
    asked = [
        {"src": u.source, "mt": hyp, "ref": refs[0]}
        for u, (refs, hyp) in zip(utterances, texts, strict=True)
    ]
    found = model.predict(asked, batch_size=16, gpus=0, progress_bar=False).scores
    return [(round(value * MILLION), 1) for value in found]


def stats(ref: str, hyp: str) -> tuple[int, int]:
    """COMET cannot judge without the source: see `all_stats`."""
    raise ValueError("COMET judges whole files with their sources; use score_file")


def score(total: Sequence[int] | np.ndarray):
    """Mean judgement times 100 of a total (2,) or of many (..., 2); nan for nothing."""
    millionths, n = np.moveaxis(np.asarray(total, np.float64), -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(n > 0, 100 * millionths / MILLION / n, np.nan)[()]


def size(total: Sequence[int]) -> int:
    """Utterances in a total."""
    return int(total[1])


def describe(total: Sequence[int]) -> str:
    """Write a total: "mean of 400"."""
    return f"mean of {size(total)}"


def signature(n_refs: int, name: str = "") -> str:
    """Say which model judged."""
    return f"model:{Path(name or os.environ.get('COMET_MODEL', '')).name}"
