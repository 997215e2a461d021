"""Score a file of hypotheses: read, normalise, count, sum, and write everything that is known.

    result = score_file("hyp.jsonl", metric="wer", normaliser="whisper-en", out_dir="score")

writes score.json, score.txt, alignments.txt, alignments.html, ref.trn and hyp.trn. The line

    %WER 3.62 [ 1903 / 52576, 210 ins, 301 del, 1392 sub ] ci95=[3.41, 3.84] norm=whisper-en:1|...

carries its signature: what the metric says of itself (BLEU and chrF: sacrebleu's signature), the
normaliser with version, then whatever the caller knows (seed, preset, commit). Statistics are
integers an utterance, summed and then scored, as in sacrebleu.
"""

import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from speechllm import files
from speechllm.score import (
    _edit,
    _metric,
    _page,
    _read,
    faults,
    intervals,
    sclite,
    tables,
)
from speechllm.score._metric import metric_module, metrics

__all__ = ["Result", "Scored", "metric_module", "metrics", "score_file", "write"]


@dataclass(frozen=True, slots=True)
class Scored:
    """One utterance with its normalised texts, statistics and faults."""

    utterance: _read.Utterance
    ref: str
    hyp: str
    stats: tuple[int, ...]
    n_ref: int
    faults: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """A scored file: the line to quote, and what is behind it."""

    line: str
    metric: str
    value: float
    interval: tuple[float, float]
    total: dict[str, int]
    counts: dict[str, int]
    tables: dict[str, list[dict]]
    signature: str
    context: dict
    sources: dict
    sclite: dict[str, int] | None  # what sclite counts, where it counts otherwise
    check: str  # the command of others that gives the same number
    utterances: list[Scored] = field(repr=False)

    def to_json(self) -> str:
        """Write all but the utterances as JSON; an undefined number is null."""
        low, high = self.interval
        return json.dumps(
            {
                "schema": 1,
                "line": self.line,
                "metric": self.metric,
                "value": _number(self.value),
                "ci95": [_number(low), _number(high)],
                "total": self.total,
                "counts": self.counts,
                "signature": self.signature,
                "context": self.context,
                **self.sources,
                **({"sclite": self.sclite} if self.sclite else {}),
                "tables": self.tables,
            },
            ensure_ascii=False,
            indent=1,
        )

    def to_text(self) -> str:
        """Write the line, the counts and the tables for a person."""
        shown = [f"{self.counts[k]:>8} {_COUNTS[k]}" for k in _COUNTS if k in self.counts]
        parts = [self.line, "\n".join(shown)]
        parts += [tables.text(name, rows) for name, rows in self.tables.items()]
        check = f"Check with: {self.check}"
        if self.sclite:
            numbers = ", ".join(f"{number} {name}" for name, number in self.sclite.items())
            check += f"\nwhich will count {numbers}; see the note on sclite in score/_edit.py."
        return "\n\n".join([*parts, check]) + "\n"


_COUNTS = {
    "utterances": "utterances",
    "empty_ref": "with an empty reference",
    "empty_ref_tokens": "tokens inserted there, counted as errors",
    "empty_hyp": "with an empty hypothesis, the reference not being empty",
    "loop": "with a loop (an n-gram four times in a row)",
    "burst": "with a burst of insertions",
    "cut": "cut by the length bound",
    "outside": "with an answer that is none of the choices",
    "missing": "missing, counted as deletions",
}


def score_file(
    hyp_path: str | Path,
    metric: str = "wer",
    normaliser: str = "",
    out_dir: str | Path | None = None,
    context: dict | None = None,
    manifest: str | Path | None = None,
    missing: str = "error",
    seed: int = 0,
) -> Result:
    """Score `hyp.jsonl` and, if `out_dir` is given, write the score files there.

    Args:
        hyp_path: what the decoder wrote, see `_read.py`.
        metric: name of a metric, see `metrics()`; "wer@transcript:source" compares these two
            fields of each line.
        normaliser: name of a normaliser, see `normalise.names()`; the metric's own if not given.
        out_dir: folder for the files, made if need be.
        context: what else the signature should say, in this order: seed, preset, commit.
        manifest: reference manifest that says which utterances there must be.
        missing: "error", or "delete" to count absent hypotheses as deletions.
        seed: of the bootstrap draws.

    Raises:
        ValueError: a wrong name, a bad line (with file and line), duplicate or missing ids.
    """
    module = metric_module(metric)
    clean = _metric.normaliser(module, normaliser)
    keys = getattr(module, "REFERENCES", _read.TEXT)
    fields = _metric.fields(metric)
    utterances = _read.read(hyp_path, manifest, missing, keys, fields)
    module = _metric.fitted(module, utterances, clean)
    scored = score_utterances(utterances, module, clean)
    sources = {"hyp": Path(hyp_path).name, "hyp_sha256": files.digest(hyp_path)}
    if manifest is not None:
        sources |= {"manifest": Path(manifest).name, "manifest_sha256": files.digest(manifest)}
    result = _summarise(scored, metric, module, clean, context or {}, sources, seed)
    if out_dir is not None:
        write(result, out_dir)
    return result


def score_utterances(utterances: list, module, clean) -> list[Scored]:
    """Normalise and count each utterance."""
    clean = lru_cache(maxsize=4096)(clean)  # commands and digits repeat; a ref is often its hyp
    cleaned = [_metric.clean_texts(one, clean) for one in utterances]
    scored = []
    for one, (refs, hyp), stats in zip(
        utterances, cleaned, _metric.all_stats(utterances, cleaned, module), strict=True
    ):
        r, h = module.tokens(refs[0]), module.tokens(hyp)
        found = faults.find(one, r, h, module)
        if one.choices and hyp not in {" ".join(clean(text).split()) for text in one.choices}:
            found += ("outside",)
        scored.append(Scored(one, refs[0], hyp, stats, len(r), found))
    return scored


def _summarise(scored, metric, module, clean, context, sources, seed) -> Result:
    stats = np.array([s.stats for s in scored], np.int64)
    total = stats.sum(0)
    value = float(module.score(total))
    low, high = intervals.interval(stats, module.score, seed=seed)
    counts = {"utterances": len(scored)}
    counts |= {name: sum(name in s.faults for s in scored) for name in faults.NAMES}
    if any(s.utterance.choices for s in scored):
        counts["outside"] = sum("outside" in s.faults for s in scored)
    counts["empty_ref_tokens"] = sum(len(module.tokens(s.hyp)) for s in scored if not s.ref)
    signature = "|".join(
        [*_metric.signature(module, scored[0].utterance), f"norm={clean.signature}"]
        + [f"of={part}" for part in metric.split("@")[1:]]
        + [f"{k}={v}" for k, v in context.items()]
    )
    if counts["missing"]:
        signature += f"|missing={counts['missing']}"
    numbers = f"[ {module.describe(total)} ] ci95=[{low:.2f}, {high:.2f}]"
    return Result(
        line=f"%{module.NAME} {value:.2f} {numbers} {signature}",
        metric=metric,
        value=value,
        interval=(low, high),
        total={"size": module.size(total), **dict(zip(module.FIELDS, total.tolist(), strict=True))},
        counts=counts,
        tables=tables.make(scored, module),
        signature=signature,
        context=context,
        sources=sources,
        sclite=_as_sclite(scored, total, module),
        check=getattr(module, "CHECK", sclite.COMMAND),
        utterances=scored,
    )


def _as_sclite(scored: list[Scored], total: np.ndarray, module) -> dict[str, int] | None:
    """Count as sclite would; None where that is our total or the metric is not sclite's."""
    if module.NAME != "WER":
        return None
    theirs = sum(np.array(_edit.sclite_counts(s.ref.split(), s.hyp.split())) for s in scored)
    if (theirs == total).all():
        return None
    return dict(zip(module.FIELDS, theirs.tolist(), strict=True))


def write(result: Result, out_dir: str | Path) -> None:
    """Write all files of a result into a folder, each whole or not at all."""
    folder = Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    module = metric_module(result.metric)
    names = [sclite.utterance_id(s.utterance.id, s.utterance.speaker) for s in result.utterances]
    aligned = [align(s, module) for s in result.utterances]
    texts = {
        "ref.trn": sclite.trn([(n, s.ref) for n, s in zip(names, result.utterances, strict=True)]),
        "hyp.trn": sclite.trn([(n, s.hyp) for n, s in zip(names, result.utterances, strict=True)]),
        "alignments.txt": "\n".join(
            sclite.alignment(name, *parts) for name, parts in zip(names, aligned, strict=True)
        ),
        "alignments.html": _page.page(result, aligned, module),
        "score.txt": result.to_text(),
        "score.json": result.to_json(),
    }
    if hasattr(module, "plain_files"):
        texts |= module.plain_files([s.utterance for s in result.utterances])
    for name, text in texts.items():
        files.write_text(folder / name, text)


def align(s: Scored, module) -> tuple[list[str], list[str], list[_edit.Step]]:
    """Align one utterance: reference tokens, hypothesis tokens, steps."""
    r, h = module.tokens(s.ref), module.tokens(s.hyp)
    return r, h, _edit.align(r, h)


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None
