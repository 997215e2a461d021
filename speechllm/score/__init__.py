"""Scoring without torch: normalisers, WER, CER, accuracy, BLEU, chrF++, intervals, paired tests.

    from speechllm.score import run
    result = run.score_file("hyp.jsonl", metric="wer", normaliser="whisper-en", out_dir="score")
    print(result.line)

A metric is one file of this folder with

    NAME, FIELDS, LOWER_IS_BETTER     what is printed; names of the statistics; which way is better
    stats(ref, hyp) -> integers       of one utterance, one a field; they may be summed
    score(total) -> percent           of one total (F,) or of an array of totals (..., F)
    size(total), describe(total)      what the score is over; the middle of the result line
    tokens(text), UNIT                what alignments show, and is counted as faults:
    LOOP_LENGTH, BURST                longest n-gram of a loop, insertions in a row

The last four may be imported from `wer`. Intervals, tables, tests and reports follow; `_metric.py`
says what else a metric may have.
"""
