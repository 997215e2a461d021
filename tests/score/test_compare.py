"""Comparing two files of hypotheses."""

import json
import random

import pytest

from speechllm.cli import main
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
    found = compare.compare_files(a, b, normaliser="none").paired
    assert found.a == 0 and found.b > 8 and found.high < 0 and found.p < 0.01
    assert compare.compare_files(b, b, normaliser="none").paired.p == 1


def test_other_utterances_are_listed(tmp_path):
    a = write(
        tmp_path / "a", [{"id": "1", "ref": "x", "hyp": ""}, {"id": "2", "ref": "", "hyp": ""}]
    )
    b = write(
        tmp_path / "b", [{"id": "1", "ref": "y", "hyp": ""}, {"id": "3", "ref": "", "hyp": ""}]
    )
    with pytest.raises(ValueError, match=r"3: 2 \(only in .*a\), 3 \(only.*1 \(another reference"):
        compare.compare_files(a, b)


def decode(folder, hyps, refs=("a b", "c d")):
    """Write the decode of a folder; no references where `refs` is None."""
    folder.mkdir(parents=True)
    rows = [{"id": str(k), "hyp": hyp} for k, hyp in enumerate(hyps)]
    if refs:
        rows = [{**row, "ref": ref} for row, ref in zip(rows, refs, strict=True)]
    return write(folder / "hyp.jsonl", rows).parent


def test_several_others_keep_a_result_each_under_their_names(tmp_path, capsys):
    """Folders of one name, once and again, and files beside each other."""
    a = decode(tmp_path / "one/decode_test", ["a b", "c x"])
    others = [decode(tmp_path / f"{k}/decode_test", [k, "c d"]) for k in ("two", "three", "x/two")]
    loose = write(tmp_path / "one/decode_test/loose.jsonl", [
        {"id": "0", "hyp": "a b", "ref": "a b"}, {"id": "1", "hyp": "", "ref": "c d"},
    ])  # fmt: skip
    words = ["score", str(a), "--normaliser", "none", "--against"]
    assert not main([*words, str(others[0]), "--against", str(others[1])])
    assert not main([*words, str(others[2]), str(loose)])
    assert not main([*words, str(others[0])])  # again: in its own place
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and lines[0] == lines[4]
    assert lines[0].startswith("wer: a 25.00 b 50.00 a-b -25.00 ci95=[")
    assert "norm=none:1 a=one/decode_test b=two/decode_test (2 utterances" in lines[0]
    stored = [json.loads(path.read_text()) for path in sorted((a / "paired").glob("*.json"))]
    assert sorted(one["against"] for one in stored) == [
        "loose", "three/decode_test", "two/decode_test", "x/two/decode_test",
    ]  # fmt: skip


def test_two_others_that_share_a_name_keep_a_result_each(tmp_path):
    a = decode(tmp_path / "w/x/y", ["a b", "c x"])
    others = [decode(tmp_path / "w/n", ["a", "c"]), decode(tmp_path / "w/x/n", ["a b", "c d"])]
    for other in others:
        assert not main(["score", str(a), "--against", str(other), "--out", str(tmp_path / "out")])
    stored = [json.loads(path.read_text()) for path in sorted((tmp_path / "out").iterdir())]
    assert [(one["against"], one["b"]) for one in stored] == [("n", 50), ("n", 0)]


def test_a_comparison_takes_references_and_languages_from_the_manifest(tmp_path, capsys):
    a = decode(tmp_path / "a", ["für", "x"], refs=None)
    b = decode(tmp_path / "b", ["fur", "x"], refs=None)
    rows = [{"id": str(k), "text": text, "lang": "de"} for k, text in enumerate(("für", "x"))]
    manifest = str(write(tmp_path / "m.jsonl", rows))
    assert main(["score", str(a), "--against", str(b)]) == 2
    assert "give the manifest" in capsys.readouterr().err
    assert not main(["score", str(a), "--against", str(b), "--manifest", manifest])
    line = capsys.readouterr().out
    assert line.startswith("wer: a 0.00 b 50.00 ") and "norm=basic:1 a=a b=b" in line
    assert "(2 of 2 rows of m.jsonl)" in line
    write(tmp_path / "m.jsonl", [*rows, {"id": "2", "text": "y"}])
    assert main(["score", str(a), "--against", str(b), "--manifest", manifest]) == 2
    assert "no hypothesis for 1: 2 of" in capsys.readouterr().err
    words = ["score", str(a), "--against", str(b), "--manifest", manifest, "--missing", "delete"]
    assert not main(words)
    assert "wer: a 33.33 b 66.67 " in capsys.readouterr().out
