"""COMET: a trained metric's judgement of a translation, given source and reference, times 100.

Optional: it wants the package `unbabel-comet` and its model, either in the environment variable
COMET_MODEL (a .ckpt file, or a name such as Unbabel/wmt22-comet-da that is fetched) or as
`--metric comet:MODEL`. The source is what the decoder wrote as `source`, the true transcript.

R. Rei et al., COMET-22: Unbabel-IST 2022 submission for the metrics shared task, WMT 2022.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from speechllm.score.metrics._metric import MILLION, Millionths
from speechllm.score.metrics._sacrebleu import plain_files


@dataclass(frozen=True)
class Config(Millionths):
    """COMET; `model` is a file or a name, that of COMET_MODEL if not given."""

    model: str = ""

    label = "COMET"
    normaliser = "none"
    references = ("translation", "text")
    check = "comet-score -t hyp.txt -r ref.txt"

    def all_stats(self, utterances: Sequence, texts: Sequence) -> list[tuple[int, int]]:
        """Judge all utterances in batches; `texts` are (references, hypothesis) each.

        Raises:
            ValueError: an utterance without its source; no package, no model.
        """
        model = _load(self.model)
        if missing := [u.id for u in utterances if not u.source]:
            raise ValueError(
                f"COMET wants the source of each utterance; {len(missing)} have none, as "
                f"{missing[0]}: decode a manifest with 'text' and 'translation'"
            )
        rows = [
            {"src": u.source, "mt": hyp, "ref": refs[0]}
            for u, (refs, hyp) in zip(utterances, texts, strict=True)
        ]
        judged = model.predict(rows, batch_size=16, gpus=0, progress_bar=False).scores
        return [(round(value * MILLION), 1) for value in judged]

    def stats(self, ref: str, hyp: str) -> tuple[int, int]:
        """COMET cannot judge without the source: see `all_stats`."""
        raise ValueError("COMET judges whole files with their sources; use score_file")

    def describe(self, total: Sequence[int]) -> str:
        """Write a total: "mean of 400"."""
        return f"mean of {self.size(total)}"

    def signature(self, n_refs: int) -> str:
        """Say which model judged."""
        return f"model:{Path(self.model or os.environ.get('COMET_MODEL', '')).name}"

    def plain_files(self, utterances: Sequence) -> dict[str, str]:
        """Write hypotheses and references one a line."""
        return plain_files(utterances)


@lru_cache
def _load(name: str):
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
