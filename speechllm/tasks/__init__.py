"""One file a task: its prompts, its target, its metric.

A task is a frozen `Config` with `messages(row, rng)` and `metric`. Where the answer is not simply
the row's `text`: `reference(row)`, what it is scored against, a text or a list of them, and
`read(answer, row)`, what is written of an answer, `hyp` among it. Where it draws what it asks:
`forms()`, itself in each of the ways it may draw.
"""
