"""One file a metric: a frozen dataclass `Config`, whose fields are its options.

    stats(ref, hyp) -> integers     of one utterance, one a field of `fields`; they may be summed
    score(total) -> percent         of one total (F,) or of an array of totals (..., F)
    size(total), describe(total)    what the score is over; the middle of the result line

`_metric.py` holds their base, with what a metric may say besides. "bleu" is `bleu.py` with its
options as they are, "bleu:zh" the same with another first option. Intervals, tables, paired tests
and reports follow from the above; the contract tests list this folder.
"""
