"""Scoring without torch: normalisers, WER, CER, accuracy, BLEU, chrF++, intervals, paired tests.

    from speechllm.score import run
    result = run.score_file("hyp.jsonl", metric="wer", normaliser="whisper-en", out_dir="score")
    print(result.line)

| folder     | what is there |
|---|---|
| `metrics/` | one file a metric |
| `text/`    | normalisers: what is done to texts before they are compared |
| `formats/` | hypotheses as they are read, sclite's formats as they are written |
| `pages/`   | alignments to look at |
"""
