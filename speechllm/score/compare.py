"""Two systems on the same utterances: is the difference more than chance?

    print(compare_files("a/hyp.jsonl", "b/hyp.jsonl"))
    a 3.62 b 3.91 a-b -0.29 ci95=[-0.47, -0.12] p=0.0015

The paired bootstrap of `intervals.py` over the utterances that both files must hold.
"""

from pathlib import Path

import numpy as np

from speechllm.score import _read, intervals, normalise
from speechllm.score.run import metric_module


def compare_files(
    path_a: str | Path,
    path_b: str | Path,
    metric: str = "wer",
    normaliser: str = "whisper-en",
    seed: int = 0,
    resamples: int = intervals.RESAMPLES,
) -> intervals.Paired:
    """Compare two files of hypotheses.

    Raises:
        ValueError: a bad line, or the files do not hold the same ids with the same references.
    """
    module, clean = metric_module(metric), normalise.get(normaliser)
    a = {u.id: u for u in _read.read(path_a)}
    b = {u.id: u for u in _read.read(path_b)}
    alone = [f"{name} (only in {path_a})" for name in a if name not in b]
    alone += [f"{name} (only in {path_b})" for name in b if name not in a]
    alone += [f"{n} (another reference)" for n in a if n in b and a[n].ref != b[n].ref]
    if alone:
        raise ValueError(
            f"a comparison wants the same utterances in both files; these differ: "
            f"{_read.some(alone)}; decode both on the same manifest"
        )
    rows = [
        [module.stats(clean(system[name].ref), clean(system[name].hyp)) for name in a]
        for system in (a, b)
    ]
    return intervals.paired(*map(np.array, rows), module.score, resamples, seed)
