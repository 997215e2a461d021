"""Score a file of hypotheses: read, normalise, count, sum, and write everything that is known.

    result = score_file("hyp.jsonl", metric="wer", normaliser="whisper-en", out_dir="score")

writes score.json, score.txt, alignments.txt, alignments.html, ref.trn and hyp.trn. The line

    %WER 3.62 [ 1903 / 52576, 210 ins, 301 del, 1392 sub ] ci95=[3.41, 3.84] norm=whisper-en:1|...

carries its signature: what the metric says of itself (BLEU and chrF: sacrebleu's signature), the
normaliser with version, then whatever the caller knows (seed, preset, commit). Statistics are
integers an utterance, summed and then scored, as in sacrebleu.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from speechllm import files
from speechllm.score import counting, edit, faults, intervals, tables
from speechllm.score.formats import hypotheses, sclite
from speechllm.score.formats.hypotheses import Hypotheses
from speechllm.score.metrics._metric import Metric
from speechllm.score.pages import alignments
from speechllm.score.result import Result, Scored
from speechllm.score.text import choice


def score_file(
    hyp_path: str | Path,
    metric: str = "wer",
    normaliser: str = "",
    out_dir: str | Path | None = None,
    context: dict | None = None,
    manifest: str | Path | None = None,
    missing: str = "error",
    seed: int = 0,
    lang: str = "",
) -> Result:
    """Score `hyp.jsonl` and, if `out_dir` is given, write the score files there.

    Args:
        hyp_path: what the decoder wrote, see `formats/hypotheses.py`.
        metric: name of a metric, see `counting.py`; "wer@transcript:source" compares these two
            fields of each line.
        normaliser: name of a normaliser, see `normalise.names()`; if not given the metric's own,
            or what the language of each row wants, see `choice.py`.
        out_dir: folder for the files, made if need be.
        context: what else the signature should say, in this order: seed, preset, commit.
        manifest: reference manifest that says which utterances there must be; if not given, the one
            that `decode.json` beside the hypotheses names.
        missing: what of utterances of `manifest` without a hypothesis: "error", "delete" (count
            them as deletions) or "leave" (them out; the line then says so).
        seed: of the bootstrap draws.
        lang: language of the rows that do not say theirs.

    Raises:
        ValueError: a wrong name, a bad line (with file and line), duplicate or missing ids.
    """
    chosen_metric = counting.named(metric)
    fields = counting.compared(metric)
    read = hypotheses.read(hyp_path, manifest, missing, chosen_metric.references, fields, lang)
    normalisers = choice.choose(normaliser or chosen_metric.normaliser, read.utterances)
    fitted, scored = score_utterances(read.utterances, chosen_metric, normalisers)
    result = Result(
        metric=metric,
        signature=_signature(metric, fitted, normalisers, context or {}, read),
        context=context or {},
        sources=_sources(Path(hyp_path), read),
        counts=_counts(scored, fitted) | read.counts(),
        rows=read.shown(),
        warnings=read.warnings() + normalisers.warnings + _silence(scored),
        **_numbers(scored, fitted, seed),
        utterances=scored,
    )
    if out_dir is not None:
        write(result, fitted, out_dir)
    return result


def _silence(scored: list[Scored]) -> tuple[str, ...]:
    """Say where most answers are empty: a rate of deletions would look like one of mistakes."""
    silent = sum("empty_hyp" in one.faults for one in scored)
    if 2 * silent < len(scored) or not silent:
        return ()
    return (f"{silent} of {len(scored)} answers are empty: the model said nothing, or not words",)


def _numbers(scored: list[Scored], metric: Metric, seed: int) -> dict:
    """Sum and score: what of a result follows from the statistics alone."""
    stats = np.array([s.stats for s in scored], np.int64)
    total = stats.sum(0)
    return {
        "label": metric.label,
        "described": metric.describe(total),
        "value": float(metric.score(total)),
        "interval": intervals.interval(stats, metric.score, seed=seed),
        "total": {
            "size": metric.size(total),
            **dict(zip(metric.fields, total.tolist(), strict=True)),
        },
        "tables": tables.make(scored, metric),
        "sclite": _as_sclite(scored, total, metric),
        "check": metric.check,
    }


def _signature(
    name: str, metric: Metric, normalisers: choice.Choice, context: dict, read: Hypotheses
) -> str:
    """Say in short how a number came about; `name` is the metric's as it was asked for."""
    missing = sum(one.missing for one in read.utterances)
    parts = [metric.signature(len(read.utterances[0].refs)), f"norm={normalisers.signature}"]
    parts += [f"of={part}" for part in name.split("@")[1:]]
    parts += [f"{key}={value}" for key, value in context.items()]
    parts += [f"missing={missing}"] if missing else []
    parts += [f"rows={read.decoded}/{read.rows}"] if read.incomplete else []
    return "|".join(filter(None, parts))


def _sources(hyp: Path, read: Hypotheses) -> dict[str, str]:
    """Names and digests of what was scored."""
    sources = {"hyp": hyp.name, "hyp_sha256": files.digest(hyp)}
    if read.manifest is not None and read.manifest.is_file():
        sources |= {"manifest": read.manifest.name}
        sources |= {"manifest_sha256": files.digest(read.manifest)}
    return sources


def score_utterances(
    utterances: Sequence, metric: Metric, normalisers: choice.Choice
) -> tuple[Metric, list[Scored]]:
    """Normalise and count each utterance; return the metric for these references, and all that."""
    cleaned = [counting.clean_texts(one, normalisers) for one in utterances]
    metric = metric.over(refs[0] for refs, _ in cleaned)
    scored = []
    for one, (refs, hyp), stats in zip(
        utterances,
        cleaned,
        counting.all_stats(utterances, cleaned, metric, normalisers),
        strict=True,
    ):
        r, h = metric.tokens(refs[0]), metric.tokens(hyp)
        wrong = faults.find(one, r, h, metric)
        if one.choices and hyp not in {normalisers.clean(c, one.lang) for c in one.choices}:
            wrong += ("outside",)
        scored.append(Scored(one, refs[0], hyp, stats, len(r), wrong))
    return metric, scored


def _counts(scored: list[Scored], metric: Metric) -> dict[str, int]:
    """Count utterances, and those with each fault."""
    counts = {"utterances": len(scored)}
    counts |= {name: sum(name in s.faults for s in scored) for name in faults.NAMES}
    if any(s.utterance.choices for s in scored):
        counts["outside"] = sum("outside" in s.faults for s in scored)
    counts["empty_ref_tokens"] = sum(len(metric.tokens(s.hyp)) for s in scored if not s.ref)
    return counts


def _as_sclite(scored: list[Scored], total: np.ndarray, metric: Metric) -> dict[str, int] | None:
    """Count as sclite would; None where that is our total or the metric is not sclite's."""
    if metric.label != "WER" or not metric.check:
        return None
    theirs = sum(np.array(edit.sclite_counts(s.ref.split(), s.hyp.split())) for s in scored)
    if (theirs == total).all():
        return None
    return dict(zip(metric.fields, theirs.tolist(), strict=True))


def write(result: Result, metric: Metric, out_dir: str | Path) -> None:
    """Write all files of a result into a folder, each whole or not at all."""
    folder = Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    names = [sclite.utterance_id(s.utterance.id, s.utterance.speaker) for s in result.utterances]
    aligned = [metric.align(s.ref, s.hyp) for s in result.utterances]
    texts = {
        "ref.trn": sclite.trn([(n, s.ref) for n, s in zip(names, result.utterances, strict=True)]),
        "hyp.trn": sclite.trn([(n, s.hyp) for n, s in zip(names, result.utterances, strict=True)]),
        "alignments.txt": "\n".join(
            sclite.alignment(name, *parts) for name, parts in zip(names, aligned, strict=True)
        ),
        "alignments.html": alignments.page(result, aligned, metric),
        "score.txt": result.to_text(),
        "score.json": result.to_json(),
        **metric.plain_files([s.utterance for s in result.utterances]),
    }
    for name, text in texts.items():
        files.write_text(folder / name, text)
