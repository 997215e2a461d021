"""Scoring a file: the line, the files, the faults, sclite's verdict on the export, bad input."""

import json
import re
import subprocess
import sys
from itertools import islice

import pytest

from speechllm.score import counting, run
from speechllm.score.formats import sclite as formats

ROWS = [
    {"id": "a-1", "ref": "The colour was red.", "hyp": "the color was read", "speaker": "a"},
    {"id": "a-2", "ref": "HELLO THERE", "hyp": "hello there", "speaker": "a", "duration": 1.5},
    {"id": "b-1", "ref": "", "hyp": "thank you", "speaker": "b", "duration": 2},
    {"id": "b-2", "ref": "say something now", "hyp": "", "speaker": "b", "stop": "eos"},
    {"id": "c-1", "ref": "so it goes", "hyp": "so it " + "goes on " * 6, "stop": "length"},
]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.fixture
def hyp(tmp_path):
    return write(tmp_path / "hyp.jsonl", ROWS)


def test_line_counts_and_tables(hyp):
    result = run.score_file(hyp, context={"seed": 0, "preset": "slam_asr", "commit": "abc1234"})
    assert re.fullmatch(
        r"%WER 141\.67 \[ 17 / 12, 13 ins, 3 del, 1 sub \] ci95=\[[\d.]+, [\d.]+\] "
        r"norm=whisper-en:1\|seed=0\|preset=slam_asr\|commit=abc1234",
        result.line,
    )
    assert result.counts == {
        **{"utterances": 5, "empty_ref": 1, "empty_hyp": 1, "loop": 1, "burst": 1, "cut": 1},
        **{"missing": 0, "fast": 0, "empty_ref_tokens": 2},
    }
    speakers = {row["name"]: row["value"] for row in result.tables["speaker"]}
    assert speakers == {"a": pytest.approx(100 / 6), "b": pytest.approx(500 / 3)}
    assert [row["name"] for row in result.tables["words"]] == ["0", "1-5"]
    assert result.tables["words"][0]["value"] is None
    assert [row["name"] for row in result.tables["duration_s"]] == ["0-2"]


def test_files(hyp, tmp_path):
    result = run.score_file(hyp, out_dir=tmp_path / "score")
    files = {f.name: f.read_text() for f in (tmp_path / "score").iterdir()}
    wanted = "score.json score.txt alignments.txt alignments.html ref.trn hyp.trn"
    assert sorted(files) == sorted(wanted.split())
    stored = json.loads(files["score.json"])
    assert stored["line"] == result.line and stored["total"]["ins"] == 13
    assert files["score.txt"].startswith(result.line)
    assert "(unknown-c-1)" in files["hyp.trn"] and "thank you (b-1)" in files["hyp.trn"]
    assert "HYP:  the color was read\nEval:               S\n" in files["alignments.txt"]
    page = files["alignments.html"]
    assert '<ruby class="s">read<rt>red</rt></ruby>' in page and "http" not in page
    assert page.index("c-1") < page.index("b-2") < page.index("a-2")  # worst first


def test_other_metrics_and_normalisers(hyp):
    assert {"accuracy", "bleu", "cer", "chrf", "wer"} <= set(counting.metrics())
    assert run.score_file(hyp, "accuracy").line.startswith("%ACC 20.00 [ 1 / 5 ] ci95=[")
    assert "norm=none:1" in run.score_file(hyp, "cer", "none").line
    with pytest.raises(ValueError, match="no metric called 'wre'; did you mean 'wer'"):
        run.score_file(hyp, "wre")


def test_markup_in_texts_is_only_text(tmp_path):
    rows = [{"id": "<i>", "ref": "<b>x</b> & y", "hyp": "</script> & z", "speaker": "&s"}]
    run.score_file(write(tmp_path / "h", rows), "cer", "none", tmp_path / "s")
    page = (tmp_path / "s/alignments.html").read_text()
    assert "<b>&lt;i&gt;</b>" in page and "</script> &" not in page


def test_sclite_reads_the_export_and_prints_our_alignments(sclite, spoiled, tmp_path):
    rows = [
        {"id": f"s{k % 7}-{k:05d}", "speaker": f"s{k % 7}", "ref": ref, "hyp": hyp}
        for rate in spoiled
        for k, (ref, hyp) in enumerate(
            islice(zip(*spoiled[rate], strict=True), 400), int(1e5 * rate)
        )
    ]
    rows += [{"id": "x-1", "ref": "", "hyp": "a b"}, {"id": "x-2", "ref": "é a", "hyp": ""}]
    rows += [{"id": "o (d) d", "ref": "{ a ; b @ \\ ;; * (x) }", "hyp": "{ a @ b (x)"}]
    result = run.score_file(write(tmp_path / "h", rows), "wer", "none", tmp_path)
    theirs, _ = sclite(tmp_path / "ref.trn", tmp_path / "hyp.trn")
    assert len(theirs) == len(rows)
    sums = [sum(column) for column in zip(*theirs.values(), strict=True)]
    expected = result.sclite or result.total
    assert sums == [expected[k] for k in ("correct", "sub", "del", "ins")]
    if result.sclite:
        assert f"which will count {sums[0]} correct" in (tmp_path / "score.txt").read_text()


def test_alignments_are_those_of_sclite_to_the_letter(sclite, spoiled, tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "WIDTH", 10**6)
    refs, hyps = (texts[:500] for texts in spoiled[0.15])
    rows = [{"id": f"s-{k}", "speaker": "s", "ref": r, "hyp": h}
            for k, (r, h) in enumerate(zip(refs, hyps, strict=True)) if len(r) < 400]  # fmt: skip
    run.score_file(write(tmp_path / "h", rows), "wer", "none", tmp_path)
    _, text = sclite(tmp_path / "ref.trn", tmp_path / "hyp.trn")
    theirs = [line.rstrip() for line in text.split("#utts:")[1].splitlines()[1:] if line.strip()]
    theirs = [line for line in theirs if not line.startswith("Attributes")]
    ours = [x for x in (tmp_path / "alignments.txt").read_text().splitlines() if x.strip()]
    assert ours == theirs


BAD = {
    '{"id": "a", "hyp": ': r"h:1: not JSON.*cut off\? resume",
    '{"id": "a", "hyp": \n': "h:1: not JSON.*remove the line",
    "[1]\n": r"h:1: wanted an object \{...\}, got",
    '{"hyp": "x", "ref": "x"}\n': "h:1: has no 'id'; it has hyp, ref",
    '{"id": "a", "ref": "x"}\n': "h:1: has no 'hyp'",
    '{"id": "a", "hyp": 3, "ref": "x"}\n': "h:1: 'hyp' wants text, got 3",
    '{"id": "a", "hyp": "x"}\n': "h: no 'ref' for 1: a",
    '{"id": "a", "hyp": "x", "ref": "x", "duration": "1"}\n': "h:1: 'duration' wants seconds",
    "": "h: holds no utterance",
    '{"id":"a","hyp":"","ref":""}\n\n{"id":"a","hyp":"","ref":""}\n': r"a \(lines 1 and 3\)",
}


@pytest.mark.parametrize("text", BAD)
def test_bad_lines(tmp_path, text):
    (tmp_path / "h").write_text(text)
    with pytest.raises(ValueError, match=BAD[text]) as caught:
        run.score_file(tmp_path / "h")
    assert "\n" not in str(caught.value)


def test_bad_files(tmp_path):
    with pytest.raises(ValueError, match="nothing: cannot be read: No such file"):
        run.score_file(tmp_path / "nothing")
    (tmp_path / "h").write_bytes(b'{"id": "a"}\n\xff\xfe\n')
    with pytest.raises(ValueError, match="h:1: has no 'hyp'"):
        run.score_file(tmp_path / "h")
    (tmp_path / "h").write_bytes(b"\xff\xfe\n")
    with pytest.raises(ValueError, match="h:1: not UTF-8"):
        run.score_file(tmp_path / "h")


def test_against_a_manifest(tmp_path, hyp):
    wanted = [{"id": row["id"], "text": row["ref"]} for row in ROWS]
    late = [{"id": "d-1", "text": "never decoded at all", "speaker": "d"}, *wanted]
    manifest = write(tmp_path / "m.jsonl", late)
    with pytest.raises(ValueError, match=r"no hypothesis for 1: d-1 of .*m\.jsonl; resume"):
        run.score_file(hyp, manifest=manifest)
    result = run.score_file(hyp, manifest=manifest, missing="delete")
    assert result.total["del"] == 7 and result.counts["missing"] == 1
    assert result.line.endswith("norm=whisper-en:1|missing=1")
    assert result.utterances[0].utterance.id == "d-1"
    short = write(tmp_path / "s.jsonl", wanted[1:])
    with pytest.raises(ValueError, match="not in .*s.jsonl: 1: a-1; is it the right manifest"):
        run.score_file(hyp, manifest=short)
    bare = write(tmp_path / "bare.jsonl", [{"id": r["id"], "hyp": r["hyp"]} for r in ROWS])
    whole = write(tmp_path / "w.jsonl", wanted)
    assert run.score_file(bare, manifest=whole).total == run.score_file(hyp).total


def test_a_full_disk_leaves_the_old_score(hyp, tmp_path, monkeypatch):
    run.score_file(hyp, out_dir=tmp_path / "score")
    before = (tmp_path / "score/score.txt").read_text()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run.files.os, "fsync", full)
    with pytest.raises(OSError, match="ref.trn: cannot be written: No space left"):
        run.score_file(hyp, "cer", out_dir=tmp_path / "score")
    assert (tmp_path / "score/score.txt").read_text() == before
    assert not list((tmp_path / "score").glob(".*"))


def test_scoring_needs_no_torch():
    code = (
        "import sys; from speechllm.score import counting, run\n"
        "print([counting.named(m) for m in counting.metrics()], *sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "jiwer", "matplotlib"} & set(out.stdout.split())


def test_another_part_of_the_answer_is_scored_by_its_fields(tmp_path):
    """A chain's transcript against what was said, and its signature says so."""
    rows = [{"id": k, "hyp": "x", "ref": "y", "transcript": "a b", "source": "a c"} for k in "ab"]
    hyp = write(tmp_path / "hyp.jsonl", rows)
    result = run.score_file(hyp, "wer@transcript:source", "none", tmp_path / "score", {"seed": 0})
    assert result.line.startswith("%WER 50.00 [ 2 / 4, 0 ins, 0 del, 2 sub ]")
    assert result.line.endswith("norm=none:1|of=transcript:source|seed=0")
    assert (tmp_path / "score/hyp.trn").read_text().startswith("a b (")
    assert run.score_file(hyp, "wer", "none").value == 100
    with pytest.raises(ValueError, match="no 'said' for 2: a, b"):
        run.score_file(hyp, "wer@transcript:said")
    with pytest.raises(ValueError, match="hyp.jsonl:1: has no 'heard'; it has id, hyp, ref"):
        run.score_file(hyp, "wer@heard:source")
    with pytest.raises(ValueError, match="wanted METRIC@FIELD:FIELD"):
        run.score_file(hyp, "wer@transcript")
