"""Scoring without torch: normalisers, WER, CER, accuracy, BLEU, chrF++, intervals, paired tests.

    from speechllm.score import run
    result = run.score_file("hyp.jsonl", metric="wer", normaliser="whisper-en", out_dir="score")
    print(result.line)

A metric is one file of this folder with `NAME`, `FIELDS`, `tokens(text)`, `stats(ref, hyp)` ->
integers that may be summed, `score(total)` -> percent (of one total or of an array of totals) and
`describe(total)` -> the middle of the result line. Intervals, tables, tests and reports follow;
`_metric.py` says what else a metric may have.
"""
