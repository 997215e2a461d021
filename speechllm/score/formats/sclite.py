"""Files in sclite's formats: `.trn` transcripts, and alignments as text in the style of `pralign`.

    sclite -i spu_id -s -e utf-8 -r ref.trn trn -h hyp.trn trn -o pralign sum stdout

reads what `trn` writes. Some characters mean something to sclite within a transcript; they are
written in their full-width form, in both files alike, so that equal words stay equal.
"""

import unicodedata
from collections.abc import Sequence

from speechllm.score.edit import Step

COMMAND = "sclite -i spu_id -s -e utf-8 -r ref.trn trn -h hyp.trn trn -o pralign sum stdout"
WIDTH = 120

# Alternatives {a / b}, the empty word @, comments ;; and the escape.
_SPECIAL = str.maketrans("{}@;\\", "｛｝＠；＼")
_ID_SPECIAL = str.maketrans("() \t\n\r", "[]____")


def utterance_id(name: str, speaker: str) -> str:
    """Make an id in which sclite finds the speaker: what stands before the first "-"."""
    if not name.startswith((f"{speaker}-", f"{speaker}_")) or not speaker:
        name = f"{speaker or 'unknown'}-{name}"
    return name.translate(_ID_SPECIAL)


def trn(rows: Sequence[tuple[str, str]]) -> str:
    """Write (id, normalised text) rows as a `.trn` file."""
    return "".join(
        f"{' '.join(text.translate(_SPECIAL).split())} ({name})\n" for name, text in rows
    )


def alignment(name: str, ref: Sequence[str], hyp: Sequence[str], steps: Sequence[Step]) -> str:
    """Write one alignment as sclite's `pralign` does, in lines of at most `WIDTH` columns."""
    kinds = [step[0] for step in steps]
    scores = " ".join(str(kinds.count(kind)) for kind in "=SDI")
    blocks, lead = [], ""
    for columns in _fold([_column(step, ref, hyp) for step in steps]):
        rows = ("".join(row) for row in zip(*columns, strict=True)) if columns else ("", "", "")
        heads = ("REF:  ", "HYP:  ", "Eval: ")
        blocks.append(
            "\n".join((lead + h + row).rstrip() for h, row in zip(heads, rows, strict=True))
        )
        lead = ">> "
    return f"id: ({name})\nScores: (#C #S #D #I) {scores}\n" + "\n\n".join(blocks) + "\n"


def _column(step: Step, ref: Sequence[str], hyp: Sequence[str]) -> tuple[str, str, str]:
    """Lay out one step: reference, hypothesis and verdict, of equal width."""
    kind, i, j = step
    above = ref[i] if kind != "I" else "*" * max(1, width(hyp[j]))
    below = hyp[j] if kind != "D" else "*" * max(1, width(ref[i]))
    size = max(width(above), width(below)) + 1
    mark = "" if kind == "=" else kind
    return tuple(text + " " * (size - width(text)) for text in (above, below, mark))


def _fold(columns: list[tuple[str, str, str]]) -> list[list[tuple[str, str, str]]]:
    """Break columns into lines of at most `WIDTH`."""
    lines: list[list[tuple[str, str, str]]] = [[]]
    used = 0
    for column in columns:
        size = width(column[0])
        if lines[-1] and used + size > WIDTH - 9:
            lines.append([])
            used = 0
        lines[-1].append(column)
        used += size
    return lines


def width(text: str) -> int:
    """Columns that a text takes on a terminal: wide characters two, combining marks none."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.category(c) in ("Mn", "Me") for c in text)
