"""Comparing two files of hypotheses."""

import json
import random

import pytest

from speechllm.score import compare


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_better_worse_and_same(tmp_path):
    rng = random.Random(0)
    refs = [" ".join(rng.choices("abcdef", k=8)) for _ in range(200)]
    good = [{"id": str(k), "ref": r, "hyp": r} for k, r in enumerate(refs)]
    bad = [{**row, "hyp": row["hyp"][2:]} if k % 3 else row for k, row in enumerate(good)]
    a = write(tmp_path / "a", good)
    b = write(tmp_path / "b", bad[::-1])  # the order of lines does not matter
    found = compare.compare_files(a, b, normaliser="none")
    assert found.a == 0 and found.b > 8 and found.high < 0 and found.p < 0.01
    assert compare.compare_files(b, b, normaliser="none").p == 1


def test_other_utterances_are_listed(tmp_path):
    a = write(
        tmp_path / "a", [{"id": "1", "ref": "x", "hyp": ""}, {"id": "2", "ref": "", "hyp": ""}]
    )
    b = write(
        tmp_path / "b", [{"id": "1", "ref": "y", "hyp": ""}, {"id": "3", "ref": "", "hyp": ""}]
    )
    with pytest.raises(ValueError, match=r"3: 2 \(only in .*a\), 3 \(only.*1 \(another reference"):
        compare.compare_files(a, b)
