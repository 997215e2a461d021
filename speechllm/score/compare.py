"""Two systems on the same utterances: is the difference more than chance?

    print(compare_files("a/hyp.jsonl", "b/hyp.jsonl"))
    a 3.62 b 3.91 a-b -0.29 ci95=[-0.47, -0.12] p=0.0015 p_ar=0.0011

The two paired tests of `intervals.py` over the utterances that both files must hold.
"""

import re
from dataclasses import asdict
from pathlib import Path

from speechllm import files
from speechllm.score import counting, intervals
from speechllm.score.formats import hypotheses
from speechllm.score.text import normalise


def compare_files(
    path_a: str | Path,
    path_b: str | Path,
    metric: str = "wer",
    normaliser: str = "",
    seed: int = 0,
    resamples: int = intervals.RESAMPLES,
) -> intervals.Paired:
    """Compare two files of hypotheses.

    Raises:
        ValueError: a bad line, or the files do not hold the same ids with the same references.
    """
    asked = counting.named(metric)
    clean = normalise.get(normaliser or asked.normaliser)
    fields = counting.compared(metric)
    a = {u.id: u for u in hypotheses.read(path_a, fields=fields)}
    b = {u.id: u for u in hypotheses.read(path_b, fields=fields)}
    alone = [f"{name} (only in {path_a})" for name in a if name not in b]
    alone += [f"{name} (only in {path_b})" for name in b if name not in a]
    alone += [f"{n} (another reference)" for n in a if n in b and a[n].refs != b[n].refs]
    if alone:
        raise ValueError(
            f"a comparison wants the same utterances in both files; these differ: "
            f"{hypotheses.some(alone)}; decode both on the same manifest"
        )
    fitted = asked.over(counting.clean_texts(one, clean)[0][0] for one in a.values())
    rows = [counting.count([system[name] for name in a], fitted, clean) for system in (a, b)]
    return intervals.paired(*rows, fitted.score, resamples, seed)


def write(found: intervals.Paired, metric: str, name_b: str, folder: str | Path) -> Path:
    """Write a comparison beside the scores of system a, as `paired_METRIC_B.json`; its path."""
    name = re.sub(r"[^\w.-]+", "_", f"paired_{metric}_{name_b}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    values = {"metric": metric, "against": name_b, "line": str(found), **asdict(found)}
    files.write_json(folder / f"{name}.json", values)
    return folder / f"{name}.json"
