"""Any number of experiments on one page: what is laid over each other, tested, counted."""

import json
import re
import xml.etree.ElementTree as ElementTree

import pytest

from speechllm import report
from speechllm.report import collect, confusions, pairs, svg, together, worst
from speechllm.score import run

WORDS = "one two three four five six seven eight".split()


def experiment(folder, wrong: int, normaliser="none", n=24):
    """Write an experiment in which every so many-th utterance has an error."""
    decode = folder / "decode_test"
    decode.mkdir(parents=True)
    rows = []
    for k in range(n):
        said = [*WORDS]
        if k % 6 < wrong:
            said[2] = "tree"
        rows.append({"id": f"u{k}", "ref": " ".join(WORDS), "hyp": " ".join(said),
                     "duration": 1.0 + k % 3 * 6})  # fmt: skip
    (decode / "hyp.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run.score_file(decode / "hyp.jsonl", "wer", normaliser, decode / "score")
    log = [{"phase": "tune", "step": s, "loss": wrong / (s + 1)} for s in range(9)]
    log.append({"phase": "tune", "step": 9, "valid": {"loss": wrong}})
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    facts = {"seconds": 100.0, "audio_s": 3600.0, "energy_j": 7.2e6, "tflop": 5.0, "mfu": 0.25}
    (folder / "run.json").write_text(json.dumps(facts))
    return folder


@pytest.fixture
def many(tmp_path):
    return [experiment(tmp_path / name, n) for name, n in (("b", 3), ("a", 1), ("c", 5))]


def test_each_is_tested_against_the_best(many):
    rows = pairs.rows(collect.read_all(many))
    assert [row[:4] for row in rows] == [("test", "WER", "b", "a"), ("test", "WER", "c", "a")]
    assert rows[0][4:7] == ("6.25", "2.08", "+4.17")
    assert all(float(chance) < 0.05 for chance in rows[0][8:])


def test_the_last_validation_of_each_phase_is_told(many):
    """Its loss first; that of several manifests by their names."""
    lines = ({"loss": 2.0}, {"clip/zero_shot": 0.97, "loss": 0.5, "dev": {"loss": 1, "why": "x"}})
    with (many[0] / "log.jsonl").open("a") as log:
        for step, valid in enumerate(lines):
            print(json.dumps({"phase": "see", "step": step, "valid": valid}), file=log)
    told = collect.facts(collect.read(many[0]))
    assert told["validation of tune"] == "loss 3"
    assert told["validation of see"] == "loss 0.5, clip/zero_shot 0.97, dev/loss 1"


def test_what_was_not_scored_alike_is_not_compared(many, tmp_path):
    other = experiment(tmp_path / "d", 0, normaliser="basic")
    (many[2] / "decode_test/hyp.jsonl").write_text('{"id": "x", "ref": "a", "hyp": "b"}\n')
    rows = pairs.rows(collect.read_all([*many, other]))
    assert [row[2] for row in rows] == ["b"]
    assert pairs.rows(collect.read_all(many[:1])) == []


def test_curves_lie_over_each_other(many):
    experiments = collect.read_all(many)
    drawn = dict(together.curves(experiments))
    assert list(drawn) == ["<b>validation loss</b> tune", "<b>training loss</b> tune"]
    for picture in drawn.values():
        texts = [one.text for one in ElementTree.fromstring(picture).iter("text")]
        assert {"a", "b", "c"} <= set(texts)
    ((caption, picture),) = together.lengths(experiments)
    assert caption == "<b>WER in %</b> by length, test"
    texts = [one.text for one in ElementTree.fromstring(picture).iter("text")]
    assert {"0-2", "5-10", "10-15"} <= set(texts)
    assert not [*together.curves(experiments[:1])] and not [*together.lengths(experiments[:1])]


def test_many_curves_have_names_that_do_not_meet():
    lines = [svg.Line(f"experiment {k}", [0, 1], [1, 1], k) for k in range(40)]
    picture = svg.lines(lines, "step", **together._size(lines))
    names = re.findall(r'<text class="name k\d" x="[\d.]+" y="([-\d.]+)"', picture)
    heights = sorted(map(float, names))
    assert len(heights) == 40 and heights[0] > 0
    assert all(b - a >= 12.9 for a, b in zip(heights, heights[1:], strict=False))


def test_frequent_errors(many):
    utterances = worst.read(many[0] / "decode_test/score/alignments.txt")
    assert confusions.rows(utterances) == [("three", "tree", "12")]
    words = ((("the", ""),), (("the", ""),), (("", "uh"),), (("", "uh"),), (("a", "b"),))
    some = [worst.Utterance("x", 1, one) for one in words]
    assert confusions.rows(some) == [("(nothing)", "uh", "2"), ("the", "(nothing)", "2")]


def test_cost(many, tmp_path):
    (experiment,) = collect.read_all(many[:1])
    shown = ("1 min 40 s", "1.00 h", "36.0", "", "2 kWh", "5.00e+12", "25.0 %", "")
    assert [*together.cost(experiment)] == [("b", *shown)]
    (tmp_path / "empty").mkdir()
    assert not [*together.cost(collect.read(tmp_path / "empty"))]


def test_experiments_of_one_name_are_told_apart(tmp_path):
    folders = [experiment(tmp_path / day / "mini", 1) for day in ("monday", "tuesday")]
    folders.append(experiment(tmp_path / "large", 2))
    names = [one.name for one in collect.read_all(folders)]
    assert names == ["monday/mini", "tuesday/mini", "large"]
    assert "| tuesday/mini | test | WER |" in report.results(folders)


def test_the_page_has_them_all(many, tmp_path):
    report.results(many, page=tmp_path / "p.html")
    page = (tmp_path / "p.html").read_text()
    heads = re.findall("<h2>(.*?)</h2>", page)
    assert heads == ["Paired tests", "Side by side", "Cost", "b", "a", "c"]
    assert page.count("<h3>Most frequent errors</h3>") == 3 and "<td>tree</td>" in page
