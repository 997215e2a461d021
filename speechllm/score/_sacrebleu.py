"""sacrebleu as a metric of ours: its tokenisation, its statistics, its signature.

The statistics are integers an utterance, so that intervals, tests and tables follow. A test takes
thousands of scores, which sacrebleu's own formula makes one by one; ours makes them all at once and
is held against it by the tests.

M. Post, A call for clarity in reporting BLEU scores, WMT 2018.
"""

from collections.abc import Sequence


def load(name: str, **options):
    """Make a metric of sacrebleu ("BLEU", "CHRF").

    Raises:
        ValueError: the package is missing.
    """
    try:
        from sacrebleu import metrics
    except ModuleNotFoundError as error:
        raise ValueError("BLEU and chrF want sacrebleu: pip install sacrebleu") from error
    return getattr(metrics, name)(**options)


def stats(metric, refs: str | Sequence[str], hyp: str) -> tuple[int, ...]:
    """Statistics (F,) of one hypothesis against its reference or references."""
    refs = [refs] if isinstance(refs, str) else list(refs)
    (found,) = metric._extract_corpus_statistics([hyp], [[ref] for ref in refs])
    return tuple(map(int, found))


def plain_files(utterances: Sequence) -> dict[str, str]:
    """Write hypotheses and references one a line, as sacrebleu's command reads them."""
    columns = {"hyp.txt": [u.hyp for u in utterances]}
    for k in range(len(utterances[0].refs)):
        columns[f"ref{k or ''}.txt"] = [u.refs[k] for u in utterances]
    lines = {
        name: (" ".join(text.split()) + "\n" for text in rows) for name, rows in columns.items()
    }
    return {name: "".join(rows) for name, rows in lines.items()}


def result(metric, total: Sequence[int]):
    """Return sacrebleu's own result for one total (F,)."""
    return metric._compute_score_from_stats([int(x) for x in total])


def signature(metric, n_refs: int) -> str:
    """Write the signature as sacrebleu prints it, for so many references an utterance."""
    metric.num_refs = n_refs
    return metric.get_signature().format()
