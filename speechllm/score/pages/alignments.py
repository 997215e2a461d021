"""Alignments as one coloured, self-contained HTML page: worst first, filterable, fit for print.

The hypothesis runs as text; above a wrong word stands, small, what was said, and deleted words are
struck out in their place. Colour never speaks alone: substitutions are underlined, deletions
struck, insertions doubly underlined, so that the page can be read in print and by the colour-blind.
Layout of what is off screen is put off (`content-visibility`), which keeps thousands of utterances
fast without any paging.
"""

from collections import Counter
from html import escape

from speechllm.score.pages.frame import asset, document, headline

LABELS = {
    "wrong": "with errors",
    "loop": "loop",
    "burst": "insertion burst",
    "cut": "cut by length",
    "empty_hyp": "empty hypothesis",
    "empty_ref": "empty reference",
    "missing": "missing",
    "outside": "not among the choices",
}
_LEGEND = (
    '<p class="legend">Running text: what was recognised; small above it: what was said. '
    '<ruby class="s">substituted<rt>reference</rt></ruby> '
    "<del>deleted</del> <ins>inserted</ins></p>"
)


def page(result, aligned: list, metric) -> str:
    """Write the page of a result; `aligned` holds (ref tokens, hyp tokens, steps) an utterance."""
    articles = [
        _article(k, scored, *parts, metric)
        for k, (scored, parts) in enumerate(zip(result.utterances, aligned, strict=True))
    ]
    articles.sort(key=lambda a: a[0])
    kinds = Counter(flag for _, flags, _ in articles for flag in flags)
    body = [
        "<h1>Alignments</h1>",
        headline(result.value, metric.label, result.interval, f"{len(articles)} utterances"),
        f"<pre>{escape(result.line)}</pre>",
        _tools(kinds, len(articles)),
        _LEGEND,
        '<main id="alignments">',
        *(text for _, _, text in articles),
        "</main>",
    ]
    title = f"{metric.label} {result.value:.2f} % - alignments"
    return document(title, "\n".join(body), asset("page.js"))


def _tools(kinds: Counter, total: int) -> str:
    chips = "".join(
        f'<button class="chip" value="{kind}" aria-pressed="false">{label} {kinds[kind]}</button>'
        for kind, label in LABELS.items()
        if kinds[kind]
    )
    orders = {"errors": "most errors", "rate": "highest rate", "long": "longest", "file": "as read"}
    options = "".join(
        f'<option value="{key}">{text} first</option>' for key, text in orders.items()
    )
    options = options.replace("as read first", "in the order of the file")
    return (
        '<div class="tools"><input id="search" type="search" placeholder="id, speaker or words" '
        f'aria-label="filter"><select id="order" aria-label="order">{options}</select>{chips}'
        f'<span id="shown" class="soft">{total} of {total}</span></div>'
    )


def _article(k: int, scored, ref, hyp, steps, metric) -> tuple[tuple, tuple, str]:
    """Lay out one utterance; return (sort key, flags, HTML)."""
    errors = sum(kind != "=" for kind, _, _ in steps)
    rate = errors / max(1, len(ref))
    flags = (("wrong",) if errors else ()) + scored.faults
    one = scored.utterance
    facts = [f"<b>{escape(one.id)}</b>"]
    facts.append("" if one.id.startswith(one.speaker) else escape(one.speaker))
    facts.append(f"{errors} / {len(ref)}" + (f" = {100 * rate:.0f} %" if ref else ""))
    facts.append(f"{one.duration:.1f} s" if one.duration is not None else "")
    facts += [f'<span class="mark">{LABELS[fault]}</span>' for fault in scored.faults]
    head = "".join(f if f.startswith("<") else f"<span>{f}</span>" for f in facts if f)
    html = (
        f'<article data-k="{k}" data-e="{errors}" data-r="{rate:.4f}" data-n="{len(ref)}" '
        f'data-f="{" ".join(flags)}"><header>{head}</header>'
        f'<p class="a" dir="auto">{_words(ref, hyp, steps, metric)}</p></article>'
    )
    return (-errors, -rate, k), flags, html


def _words(ref, hyp, steps, metric) -> str:
    gap = "" if metric.unit == "character" else " "
    return gap.join(_word(step, ref, hyp) for step in steps) or '<span class="soft">(empty)</span>'


def _word(step, ref, hyp) -> str:
    kind, i, j = step
    above = _shown(ref[i]) if kind in "SD" else ""
    below = _shown(hyp[j]) if kind in "SI" else ""
    if kind == "=":
        return escape(hyp[j], quote=False)
    if kind == "I":
        return f"<ins>{below}</ins>"
    if kind == "D":
        return f"<del>{above}</del>"
    return f'<ruby class="s">{below}<rt>{above}</rt></ruby>'


def _shown(token: str) -> str:
    """Make a wrong space visible."""
    return "&#9251;" if token == " " else escape(token, quote=False)
