"""What there must be and what is there: rows of the manifest; what a line may hold."""

import json

import pytest

from speechllm.cli import main
from speechllm.score import run

WHOLE = [{"id": str(k), "ref": "a b", "hyp": "a b"} for k in range(7)]


def write(path, rows, start=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_bytes((start + lines).encode())
    return path


@pytest.fixture
def decoded(tmp_path):
    """A decode of seven rows of which five are there."""
    folder = tmp_path / "decode_test"
    manifest = write(tmp_path / "test.jsonl", [{"id": r["id"], "text": r["ref"]} for r in WHOLE])
    write(folder / "hyp.jsonl", WHOLE[:5])
    (folder / "decode.json").write_text(json.dumps({"manifest": str(manifest)}))
    return folder


def test_a_decode_of_which_rows_are_missing_does_not_score_as_whole(decoded, capsys):
    assert not main(["score", str(decoded)])
    said = capsys.readouterr()
    line, rows = said.out.splitlines()
    assert line.startswith("%WER 0.00 [ 0 / 10") and line.endswith("|rows=5/7")
    assert rows == "5 of 7 rows of test.jsonl"
    assert "WARNING: INCOMPLETE: 5 of 7 rows of" in said.err
    stored = json.loads((decoded / "score_wer/score.json").read_text())
    assert stored["counts"]["rows"] == 7 and stored["counts"]["decoded"] == 5
    assert "INCOMPLETE" in (decoded / "score_wer/score.txt").read_text()


def test_a_whole_decode_says_that_it_is_whole(decoded, capsys):
    write(decoded / "hyp.jsonl", WHOLE)
    assert not main(["score", str(decoded), "--metric", "wer,cer"])
    said = capsys.readouterr()
    assert said.out.count("7 of 7 rows of test.jsonl") == 2
    assert "rows=" not in said.out and not said.err


def test_what_the_manifest_says_when_it_is_given_or_gone(decoded, tmp_path, capsys):
    manifest = str(tmp_path / "test.jsonl")
    assert main(["score", str(decoded), "--manifest", manifest]) == 2
    assert "no hypothesis for 2: 5, 6 of" in capsys.readouterr().err
    assert not main(["score", str(decoded), "--manifest", manifest, "--missing", "delete"])
    assert "[ 4 / 14, 0 ins, 4 del, 0 sub ]" in (out := capsys.readouterr().out)
    assert "|missing=2\n5 of 7 rows" in out
    assert not main(["score", str(decoded), "--manifest", manifest, "--missing", "leave"])
    assert "|rows=5/7\n5 of 7 rows" in capsys.readouterr().out
    (tmp_path / "test.jsonl").unlink()
    assert not main(["score", str(decoded)])
    assert "5 utterances; no manifest says how many there must be" in capsys.readouterr().out
    record = json.loads((decoded / "decode.json").read_text())
    (decoded / "decode.json").write_text(json.dumps(record | {"n_rows": 7}))
    assert not main(["score", str(decoded)])
    assert "|rows=5/7\n5 of 7 rows of test.jsonl" in capsys.readouterr().out


def test_hypotheses_that_the_manifest_does_not_have_are_named(decoded):
    write(decoded / "hyp.jsonl", [*WHOLE, {"id": "x", "ref": "a", "hyp": "b"}])
    result = run.score_file(decoded / "hyp.jsonl")
    assert result.counts["decoded"] == 7 and result.total["size"] == 15
    assert "not in" in result.warnings[0] and "1: x" in result.warnings[0]


def test_a_byte_order_mark_and_separators_inside_texts(tmp_path):
    """A BOM at the start of either file; U+2028 and U+0085 are characters, not line ends."""
    texts = ["p\u2028q r", "x\u0085y", "a\u2029b"]
    rows = [{"id": str(k), "hyp": text} for k, text in enumerate(texts)]
    hyp = write(tmp_path / "h", rows, "\ufeff")
    known = [{"id": str(k), "text": text} for k, text in enumerate(texts)]
    result = run.score_file(hyp, manifest=write(tmp_path / "m", known, "\ufeff"))
    assert result.value == 0 and result.total["size"] == 7


LINES = {
    '{"id": "a", "hyp": ' + "[" * 100_000: r"h:2: JSON that is nested too deep",
    "[" * 100_000 + "]" * 100_000: r"h:2: JSON that is nested too deep",
    '{"id": "a", "hyp": "x", "ref": "y", "duration": 1e999}': "h:2: 'duration' wants seconds",
    '{"id": "a", "hyp": "x", "ref": "y", "duration": NaN}': "h:2: 'duration' wants seconds",
    '{"id": "a", "hyp": "x", "ref": "y", "duration": -1}': "h:2: 'duration' wants seconds",
    '{"id": "a", "hyp": "x", "ref": "y", "duration": true}': "h:2: 'duration' wants seconds",
    '{"id": "a", "hyp": "x", "ref": "y", "duration": 1' + "0" * 5000 + "}": "thousands of digits",
    '{"id": "a", "hyp": "x", "ref": "y", "speaker": {}}': "h:2: 'speaker' wants text",
    '{"id": "a", "hyp": "x", "ref": "y", "speaker": true}': "h:2: 'speaker' wants text",
    '{"id": "a", "hyp": "x", "ref": "y", "lang": ["de"]}': "h:2: 'lang' wants text",
    '{"id": "a", "hyp": null, "ref": "y"}': "h:2: 'hyp' wants text, got None",
    '{"id": "a", "hyp": "x", "ref": {"a": 1}}': "h:2: 'ref' wants text",
    '{"id": "a", "hyp": "x", "ref": [["y"]]}': "h:2: 'ref' wants a text or a list of texts",
    '{"id": true, "hyp": "x", "ref": "y"}': "h:2: 'id' wants text, got True",
    '{"id": "a", "text": "x"}': 'h:2: has no \'hyp\'; it has id, text; a line .* {"id": ..., "hyp"',
    '{"id": "a", "hyp": "\\ud800", "ref": "y"}': "h:2: 'hyp' has half a character",
    '"text"': r"h:2: wanted an object \{...\}, got 'text'",
    "null": r"h:2: wanted an object",
}


@pytest.mark.parametrize("line", LINES, ids=range(len(LINES)))
def test_wrong_lines_are_named_in_one_line(tmp_path, line):
    good = json.dumps({"id": "0", "hyp": "x", "ref": "x"})
    (tmp_path / "h").write_text(f"{good}\n{line}\n")
    with pytest.raises(ValueError, match=LINES[line]) as caught:
        run.score_file(tmp_path / "h")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_a_manifest_is_checked_like_hypotheses(tmp_path):
    hyp = write(tmp_path / "h", WHOLE[:1])
    (tmp_path / "m").write_text('{"id": "0", "text": "a b", "duration": "long"}\n')
    with pytest.raises(ValueError, match="m:1: 'duration' wants seconds"):
        run.score_file(hyp, manifest=tmp_path / "m")
    (tmp_path / "m").write_text('{"id": "0", \n')
    with pytest.raises(ValueError, match="m:1: not JSON.*; mend it$"):
        run.score_file(hyp, manifest=tmp_path / "m")


def test_an_id_of_several_lines_stays_one_line_for_sclite(tmp_path):
    hyp = write(tmp_path / "h", [{"id": "a\nb (c)", "hyp": "x", "ref": "x"}])
    run.score_file(hyp, out_dir=tmp_path / "s")
    assert (tmp_path / "s/hyp.trn").read_text() == "x (unknown-a_b_[c])\n"


@pytest.mark.parametrize(
    "hyps, said", [(("", ""), True), (("", "a b"), True), (("a", "a b"), False)]
)
def test_a_model_that_answers_nothing_is_named(tmp_path, hyps, said, capsys):
    """100 % of deletions is no rate of mistakes: silence is said beside it."""
    rows = [{"id": str(k), "ref": "a b", "hyp": hyp} for k, hyp in enumerate(hyps)]
    path = write(tmp_path / "hyp.jsonl", rows)
    assert main(["score", str(path)]) == 0
    told = capsys.readouterr()
    text = (tmp_path / "score_wer/score.txt").read_text()
    shown = f"{hyps.count('')} of 2 answers are empty: the model said nothing"
    assert (shown in text, shown in told.out + told.err) == (said, said)
