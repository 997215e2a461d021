"""sacrebleu as a metric of ours: its tokenisation, its statistics, its signature.

The statistics are integers an utterance, so that intervals, tests and tables follow. A test takes
thousands of scores, which sacrebleu's own formula makes one by one; ours makes them all at once and
is held against it by the tests.

M. Post, A call for clarity in reporting BLEU scores, WMT 2018.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from speechllm.score.metrics._metric import Metric


@dataclass(frozen=True)
class Sacrebleu(Metric):
    """A metric that counts as one of sacrebleu's does; that one is its `peer`."""

    normaliser = "none"
    many_references = True
    references = ("translations", "translation", "texts", "text")

    @property
    def peer(self):
        """The metric of sacrebleu."""
        raise NotImplementedError

    def stats(self, ref: str | Sequence[str], hyp: str) -> tuple[int, ...]:
        """Statistics (F,) of one hypothesis against its reference or references."""
        refs = [ref] if isinstance(ref, str) else list(ref)
        (counts,) = self.peer._extract_corpus_statistics([hyp], [[one] for one in refs])
        return tuple(map(int, counts))

    def size(self, total: Sequence[int]) -> int:
        """Second statistic: the length of the references."""
        return int(total[1])

    def signature(self, n_refs: int) -> str:
        """Write the signature as sacrebleu prints it, for so many references an utterance."""
        self.peer.num_refs = n_refs
        return self.peer.get_signature().format()

    def plain_files(self, utterances: Sequence) -> dict[str, str]:
        """Write hypotheses and references one a line, as sacrebleu's command reads them."""
        return plain_files(utterances)


@lru_cache
def load(name: str, **options):
    """Make a metric of sacrebleu ("BLEU", "CHRF"), once for the same options.

    Raises:
        ValueError: the package is missing.
    """
    try:
        from sacrebleu import metrics
    except ModuleNotFoundError as error:
        raise ValueError("BLEU and chrF want sacrebleu: pip install sacrebleu") from error
    return getattr(metrics, name)(**options)


def plain_files(utterances: Sequence) -> dict[str, str]:
    """Write hypotheses and references one a line, as the commands of other programs read them."""
    columns = {"hyp.txt": [u.hyp for u in utterances]}
    for k in range(len(utterances[0].refs)):
        columns[f"ref{k or ''}.txt"] = [u.refs[k] for u in utterances]
    return {
        name: "".join(" ".join(text.split()) + "\n" for text in rows)
        for name, rows in columns.items()
    }
