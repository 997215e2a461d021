"""Two systems on the same utterances: is the difference more than chance?

    print(compare_files("a/hyp.jsonl", "b/hyp.jsonl"))
    wer: a 3.62 b 3.91 a-b -0.29 ci95=[-0.47, -0.12] p=0.0015 p_ar=0.0011 norm=... a=a b=b

The two paired tests of `intervals.py` over the utterances that both files must hold.
"""

import functools
import re
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

from speechllm import files
from speechllm.score import counting, intervals
from speechllm.score.formats import hypotheses
from speechllm.score.intervals import Paired
from speechllm.score.text import choice


@dataclass(frozen=True)
class Comparison:
    """Two systems by name, what was compared, and how it came out."""

    a: str
    b: str
    path_b: str
    metric: str
    signature: str
    rows: str  # how many rows of which manifest were compared
    paired: Paired
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        """One line for a log or a report."""
        return f"{self.metric}: {self.paired} {self.signature} a={self.a} b={self.b} ({self.rows})"


def compare_files(
    path_a: str | Path,
    path_b: str | Path,
    metric: str = "wer",
    normaliser: str = "",
    seed: int = 0,
    resamples: int = intervals.RESAMPLES,
    manifest: str | Path | None = None,
    missing: str = "error",
    lang: str = "",
) -> Comparison:
    """Compare two files of hypotheses; the arguments are those of `run.score_file`.

    Raises:
        ValueError: a bad line, or the files do not hold the same ids with the same references.
    """
    chosen_metric = counting.named(metric)
    read = functools.partial(
        hypotheses.read,
        manifest=manifest,
        missing=missing,
        keys=chosen_metric.references,
        fields=counting.compared(metric),
        lang=lang,
    )
    first, second = read(path_a), read(path_b)
    a, b = ({u.id: u for u in one.utterances} for one in (first, second))
    alone = [f"{name} (only in {path_a})" for name in a if name not in b]
    alone += [f"{name} (only in {path_b})" for name in b if name not in a]
    alone += [f"{n} (another reference)" for n in a if n in b and a[n].refs != b[n].refs]
    if alone:
        raise ValueError(
            f"a comparison wants the same utterances in both files; these differ: "
            f"{hypotheses.some(alone)}; decode both on the same manifest"
        )
    normalisers = choice.choose(normaliser or chosen_metric.normaliser, first.utterances)
    fitted = chosen_metric.over(counting.clean_texts(one, normalisers)[0][0] for one in a.values())
    langs = {name: one.lang for name, one in a.items()}  # b may not have said them
    stats = [
        counting.count([system[name].spoken(langs[name]) for name in a], fitted, normalisers)
        for system in (a, b)
    ]
    names = _names(Path(path_a), Path(path_b))
    own = fitted.signature(len(first.utterances[0].refs))
    return Comparison(
        *names,
        path_b=str(path_b),
        metric=metric,
        signature="|".join(filter(None, [own, f"norm={normalisers.signature}"])),
        rows=first.shown(),
        paired=intervals.paired(*stats, fitted.score, resamples, seed),
        warnings=first.warnings() + normalisers.warnings,
    )


def _names(path_a: Path, path_b: Path) -> list[str]:
    """Name two decodes by their folders, with as many parents as it takes to tell them apart."""
    places = [p.parent if p.name == "hyp.jsonl" else p.with_suffix("") for p in (path_a, path_b)]
    parts = [place.resolve().parts for place in places]
    common = 0
    while parts[0][common : common + 1] == parts[1][common : common + 1] and common < max(
        map(len, parts)
    ):
        common += 1
    return ["/".join(own[min(common, len(own) - 1) :]) for own in parts]


def write(comparison: Comparison, folder: str | Path) -> Path:
    """Write a comparison beside the scores of system a, as `paired_METRIC_B.json`; its path.

    One of another system b never takes the place of it, however its folder is called.
    """
    folder = Path(folder)
    name = re.sub(r"[^\w.-]+", "_", f"paired_{comparison.metric}_{comparison.b}")
    for number in count(1):
        path = folder / (f"{name}.json" if number == 1 else f"{name}_{number}.json")
        if (
            not path.is_file()
            or files.read_json(path).get("path_b", comparison.path_b) == comparison.path_b
        ):
            break
    values = {
        "metric": comparison.metric,
        "against": comparison.b,
        "line": str(comparison),
        "of_name": comparison.a,
        "path_b": comparison.path_b,
        "signature": comparison.signature,
        **{key: None if n != n else n for key, n in asdict(comparison.paired).items()},
    }
    files.write_json(path, values)
    return path
