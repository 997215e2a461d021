"""Several seeds of one experiment, and decodes of which rows are missing, in reports."""

import json
import statistics

import pytest

from speechllm import report
from speechllm.cli import main
from speechllm.score import run
from speechllm.score.spread import Spread

WRONG = {"a": 4, "b": 1, "c": 2}  # words of twenty that each run has wrong


def experiment(folder, wrong, seed, preset="mini", data="d", n=20):
    """Write an experiment with one scored decode."""
    decode = folder / "decode_test"
    decode.mkdir(parents=True)
    rows = [{"id": str(k), "ref": "w", "hyp": "x" if k < wrong else "w"} for k in range(n)]
    (decode / "hyp.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    facts = {"seed": seed, "preset": preset}
    (folder / "run.json").write_text(json.dumps(facts | {"data": {"train": data}}))
    run.score_file(decode / "hyp.jsonl", "wer", "none", decode / "score", facts | {"commit": data})
    return folder


@pytest.fixture
def runs(tmp_path):
    return [experiment(tmp_path / name, n, k) for k, (name, n) in enumerate(WRONG.items())]


def test_mean_and_deviation_of_three_seeds(runs, tmp_path):
    text = report.results(runs, page=tmp_path / "p.html")
    row = "| a, b, c | test | WER | 0, 1, 2 | 11.67 ± 7.64 | 20.00, 5.00, 10.00 | the same |"
    assert "## Over seeds" in text and row in text
    assert statistics.stdev([20, 5, 10]) == pytest.approx(7.64, abs=0.005)
    page = (tmp_path / "p.html").read_text()
    assert "<h2>Over seeds</h2>" in page and "11.67 ± 7.64" in page
    assert "Over seeds" not in report.results(runs[:1])


def test_what_differs_in_more_than_its_seed_is_not_averaged(runs, tmp_path):
    """Another preset, the same seed again; data of a seed's own are said to differ."""
    other = experiment(tmp_path / "d", 1, 3, preset="large")
    again = experiment(tmp_path / "e", 1, 0)
    assert "Over seeds" not in report.results([runs[0], other])
    assert "Over seeds" not in report.results([runs[0], again])
    own = experiment(tmp_path / "f", 1, 4, data="x")
    assert "| a, f | test | WER | 0, 4 | 12.50 ± 10.61 | 20.00, 5.00 | differ |" in report.results(
        [runs[0], own]
    )


def test_the_commands(runs, tmp_path, capsys):
    folders = [str(folder) for folder in runs]
    assert not main(["report", *folders, "--seeds"])
    assert "11.67 ± 7.64" in capsys.readouterr().out
    other = str(experiment(tmp_path / "d", 1, 3, preset="large"))
    assert main(["report", *folders, other, "--seeds"]) == 2
    said = capsys.readouterr().err
    assert "--seeds wants one configuration" in said and "d: preset large, seed 3" in said
    decodes = [f"{folder}/decode_test" for folder in folders]
    assert not main(["score", *decodes, "--normaliser", "none"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "%WER 11.67 ± 7.64 (3 runs: 20.00, 5.00, 10.00)" and len(lines) == 7
    assert main(["score", *decodes, "--out", str(tmp_path / "x")]) == 2
    assert "--out and --against are for one decode, got 3" in capsys.readouterr().err


def test_a_spread_wants_two_defined_values():
    assert str(Spread.of([4.85, 2.35, 2.01])) == "3.07 ± 1.55 (3 runs: 4.85, 2.35, 2.01)"
    for values in ([1.0], [1.0, float("nan")]):
        with pytest.raises(ValueError, match="two runs or more"):
            Spread.of(values)


def test_rows_that_are_missing_are_said_beside_the_number(runs, tmp_path):
    decode = runs[0] / "decode_test"
    manifest = tmp_path / "m.jsonl"
    manifest.write_text("".join(json.dumps({"id": str(k), "text": "w"}) + "\n" for k in range(20)))
    (decode / "decode.json").write_text(json.dumps({"manifest": str(manifest)}))
    run.score_file(decode / "hyp.jsonl", "wer", "none", decode / "score")
    text = report.results(runs[:1])
    assert "decoded 20 of 20 rows of the manifest" in text and "INCOMPLETE" not in text
    with open(manifest, "a") as file:
        file.writelines(json.dumps({"id": str(k), "text": "w"}) + "\n" for k in range(20, 24))
    run.score_file(decode / "hyp.jsonl", "wer", "none", decode / "score")
    text = report.results(runs[:1], page=tmp_path / "p.html")
    assert "| 20.00 (INCOMPLETE: 20 of 24 rows of the manifest) |" in text
    assert "**INCOMPLETE: 20 of 24 rows of" in text and "|rows=20/24" in text
    assert "INCOMPLETE: 20 of 24 rows" in (tmp_path / "p.html").read_text()
    run.score_file(
        decode / "hyp.jsonl", "wer", "none", decode / "score", manifest=manifest, missing="delete"
    )
    text = report.results(runs[:1])
    assert "INCOMPLETE" not in text and "|missing=4" in text


def test_paired_tests_are_listed_also_where_nothing_is_defined(runs, tmp_path):
    other = tmp_path / "other/decode_test"
    other.mkdir(parents=True)
    (other / "hyp.jsonl").write_text((runs[1] / "decode_test/hyp.jsonl").read_text())
    assert not main(["score", str(runs[0] / "decode_test"), "--against", str(other)])
    text = report.results(runs[:1])
    assert "| WER | test | other/decode_test | 20.00 | 5.00 | +15.00 |" in text
    for folder in (runs[0] / "decode_test", other):
        (folder / "hyp.jsonl").write_text('{"id": "0", "ref": "", "hyp": "w"}\n')
    assert not main(["score", str(runs[0] / "decode_test"), "--against", str(other)])
    assert "| undefined | undefined | undefined | undefined to undefined |" in report.results(
        runs[:1]
    )
