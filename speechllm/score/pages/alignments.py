"""Alignments as one coloured, self-contained HTML page: worst first, filterable, fit for print.

The hypothesis runs as text; above a wrong word stands, small, what was said, and deleted words are
struck out in their place. Colour never speaks alone: substitutions are underlined, deletions
struck, insertions doubly underlined, so that the page can be read in print and by the colour-blind.
Layout of what is off screen is put off (`content-visibility`), which keeps thousands of utterances
fast without any paging.
"""

from collections import Counter
from html import escape

from speechllm.score.pages.frame import Html, asset, document, fill, headline, join

LABELS = {
    "wrong": "with errors",
    "loop": "loop",
    "burst": "insertion burst",
    "fast": "faster than speech",
    "cut": "cut by length",
    "empty_hyp": "empty hypothesis",
    "empty_ref": "empty reference",
    "missing": "missing",
    "outside": "not among the choices",
}
_LEGEND = Html(
    '<p class="legend">Running text: what was recognised; small above it: what was said. '
    '<ruby class="s">substituted<rt>reference</rt></ruby> '
    "<del>deleted</del> <ins>inserted</ins></p>"
)


def page(result, aligned: list, metric) -> Html:
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
        fill("<pre>{}</pre>", "\n".join([result.line, result.rows, *result.warnings])),
        _tools(kinds, len(articles)),
        _LEGEND,
        Html('<main id="alignments">'),
        *(text for _, _, text in articles),
        Html("</main>"),
    ]
    title = f"{metric.label} {result.value:.2f} % - alignments"
    return document(title, join(body, "\n"), asset("page.js"))


def _tools(kinds: Counter, total: int) -> Html:
    chip = '<button class="chip" value="{}" aria-pressed="false">{} {}</button>'
    chips = [fill(chip, kind, label, kinds[kind]) for kind, label in LABELS.items() if kinds[kind]]
    orders = {
        "errors": "most errors first",
        "rate": "highest rate first",
        "long": "longest first",
        "file": "in the order of the file",
    }
    options = [fill('<option value="{}">{}</option>', *one) for one in orders.items()]
    return fill(
        '<div class="tools"><input id="search" type="search" placeholder="id, speaker or words" '
        'aria-label="filter"><select id="order" aria-label="order">{options}</select>{chips}'
        '<span id="shown" class="soft">{total} of {total}</span></div>',
        options=join(options),
        chips=join(chips),
        total=total,
    )


def _article(k: int, scored, ref, hyp, steps, metric) -> tuple[tuple, tuple, Html]:
    """Lay out one utterance; return (sort key, flags, HTML)."""
    errors = sum(kind != "=" for kind, _, _ in steps)
    rate = errors / max(1, len(ref))
    flags = (("wrong",) if errors else ()) + scored.faults
    one = scored.utterance
    facts = ["" if one.id.startswith(one.speaker) else one.speaker]
    facts.append(f"{errors} / {len(ref)}" + (f" = {100 * rate:.0f} %" if ref else ""))
    facts.append(f"{one.duration:.1f} s" if one.duration is not None else "")
    head = [fill("<b>{}</b>", one.id), *(fill("<span>{}</span>", f) for f in facts if f)]
    head += [fill('<span class="mark">{}</span>', LABELS[fault]) for fault in scored.faults]
    html = fill(
        '<article data-k="{}" data-e="{}" data-r="{}" data-n="{}" data-f="{}"><header>{}</header>'
        '<p class="a" dir="auto">{}</p></article>',
        k,
        errors,
        f"{rate:.4f}",
        len(ref),
        " ".join(flags),
        join(head),
        _words(ref, hyp, steps, metric),
    )
    return (-errors, -rate, k), flags, html


def _words(ref, hyp, steps, metric) -> Html:
    """Lay out the words; they are many, so `_word` escapes them itself."""
    gap = "" if metric.unit == "character" else " "
    words = gap.join(_word(step, ref, hyp) for step in steps)
    return Html(words or '<span class="soft">(empty)</span>')


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
