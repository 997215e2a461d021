"""Reports: only what was run, each with how; broken files named; pictures that are pictures."""

import json
import re
import xml.etree.ElementTree as ElementTree

import pytest

from speechllm import report
from speechllm.report import collect, svg
from speechllm.score import run

FACTS = {
    "command": "speechllm train mini --data train=/home/me/data/train.jsonl --out exp/mini",
    "commit": "abc1234",
    "hardware": "A | B, 2 cores",
    "versions": {"torch": "2.9"},
    "seed": 3,
    "seconds": 432.4,
    "peak_memory_mb": 1234,
}


def log_lines():
    for phase, steps in (("adapter", 40), ("lora", 20)):
        for step in range(1, steps + 1):
            yield {"phase": phase, "step": step, "loss": 4 / step}
        health = {"real": 1.0, "shuffled": 3.0, "silent": 2.5, "soft_norm": 1.2, "text_norm": 1.1}
        yield {"phase": phase, "step": steps, "valid": {"loss": 0.5}, "health": health}


@pytest.fixture
def experiment(tmp_path):
    folder = tmp_path / "mini"
    (folder / "decode_test").mkdir(parents=True)
    rows = [{"id": f"{s}-1", "speaker": s, "ref": "a b <c>", "hyp": "a", "duration": 2}
            for s in "xyz"]  # fmt: skip
    hyp = folder / "decode_test/hyp.jsonl"
    hyp.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run.score_file(hyp, "wer", "none", folder / "decode_test/score", {"seed": 3})
    (folder / "decode_test/decode.json").write_text('{"rtfx": 12.5, "command": "speechllm decode"}')
    (folder / "run.json").write_text(json.dumps(FACTS))
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log_lines()))
    return folder


def test_results_say_how_each_number_was_come_by(experiment, tmp_path):
    text = report.results([experiment], out=tmp_path / "RESULTS.md")
    assert text == (tmp_path / "RESULTS.md").read_text()
    assert "    %WER 66.67 [ 6 / 9, 0 ins, 6 del, 0 sub ] ci95=[66.67, 66.67] norm=none:1" in text
    assert "| mini | test | WER | 66.67 | 66.67 to 66.67 | 7 min 12 s | abc1234 |" in text
    for fact in ("…/train.jsonl", "A \\| B, 2 cores", "| seed | 3 |", "1,234 MB", "12.5 audio"):
        assert fact in text
    assert "/home/me" not in text


def test_a_part_of_the_answer_is_named(experiment):
    line = {"id": "a", "hyp": "x", "ref": "y", "transcript": "a b", "source": "a c"}
    hyp = experiment / "decode_chain/hyp.jsonl"
    hyp.parent.mkdir()
    hyp.write_text(json.dumps(line) + "\n")
    run.score_file(hyp, "wer@transcript:source", "none", hyp.parent / "score_wer_transcript_source")
    (hyp.parent / "decode.json").write_text('{"rtfx": 0.0}')
    text = report.results([experiment], page=experiment / "p.html")
    assert "| mini | chain | WER of transcript | 50.00 |" in text and "0 audio seconds" not in text
    assert "norm=none:1|of=transcript:source" in text


def test_what_was_not_run_says_so(experiment, tmp_path):
    trained = tmp_path / "trained"
    trained.mkdir()
    (trained / "run.json").write_text(json.dumps(FACTS))
    declared = {"mini": "./run.sh", "full": "./run.sh --full", "planned": "./run.sh --planned"}
    folders = [experiment, trained, tmp_path / "planned", tmp_path / "empty"]
    text = report.results(folders, page=tmp_path / "r.html", declared=declared)
    assert "| full | not run: `./run.sh --full` |  |  |  |  |  |" in text
    assert "| planned | not run: `./run.sh --planned` |" in text and "| empty | not run |" in text
    assert "| trained | not scored |" in text and "Trained, not scored." in text
    assert text.count("./run.sh") == 2 and text.count("## ") == 2
    page = (tmp_path / "r.html").read_text()
    assert page.count("<section>") == 2 and "not run: ./run.sh --full" in page


def test_page_stands_alone_and_its_pictures_are_well_formed(experiment, tmp_path):
    report.results([experiment], page=tmp_path / "out.html", title="A <title>")
    page = (tmp_path / "out.html").read_text()
    assert "<title>A &lt;title&gt;</title>" in page
    assert not re.search(r'(src|href)="(http|//)|@import|url\(', page)
    assert 'href="mini/decode_test/score/alignments.html"' in page
    charts = re.findall(r"<svg.*?</svg>", page, re.S)
    assert len(charts) == 3 + 2 + 4  # duration, words, speaker; two phases; two of health each
    for chart in charts:
        ElementTree.fromstring(chart)


def test_scores_are_found_where_recipes_put_them(tmp_path):
    score = {"line": "%WER 1.00 [ ]", "value": 1.0, "ci95": [0.5, 1.5], "metric": "wer"}
    for place in ("score", "score_dev", "decode_test/score", "decode_a"):
        folder = tmp_path / "exp" / place
        folder.mkdir(parents=True)
        (folder / "score.json").write_text(json.dumps(score))
    found = collect.read(tmp_path / "exp")
    names = [s.name for s in found.scores]
    assert sorted(names) == ["decode_a", "decode_test/score", "score", "score_dev"]
    assert found.state == "scored" and "| a | WER | 1.00 |" in report.results([tmp_path / "exp"])


def test_broken_files_are_named(tmp_path):
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ValueError, match="run.json: not JSON"):
        report.results([tmp_path])
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(ValueError, match="run.json: wanted an object"):
        report.results([tmp_path])
    (tmp_path / "run.json").unlink()
    (tmp_path / "log.jsonl").write_text('{"phase": "a", "step": 1, "loss": 1}\n{"sta\n{}\n')
    with pytest.raises(ValueError, match="log.jsonl:2: not JSON.*remove the line"):
        report.results([tmp_path])
    (tmp_path / "log.jsonl").write_text('{"phase": "a", "step": 1, "loss": NaN}\n{"sta')
    assert "Trained, not scored" in report.results([tmp_path], page=tmp_path / "p.html")


def test_ticks_span_the_values_and_are_round():
    assert svg.ticks(0, 1) == [0, 0.25, 0.5, 0.75, 1]
    assert svg.ticks(0, 1500) == [0, 500, 1000, 1500]
    assert svg.ticks(3, 3) and svg.ticks(0, 0)[-1] > 0
    for low, high in ((0, 0.07), (-2, 9), (0, 123456), (5, 5.001)):
        values = svg.ticks(low, high)
        assert values[0] <= low and values[-1] >= high and len(values) <= 7


def test_thin_keeps_the_mean():
    x, y = svg.thin(range(1000), [v % 2 for v in range(1000)], 100)
    assert len(x) == 100 and set(y) == {0.5}


def test_paths_and_durations():
    assert collect.portable("a --x=/home/me/b.txt /c/d /e f/g") == "a --x=…/b.txt …/d /e f/g"
    assert [collect.duration(s) for s in (52.4, 432, 11100)] == ["52 s", "7 min 12 s", "3 h 05 min"]


def heard(folder, way):
    """Write what decode says of the audio; `way` as in the folder's name."""
    options = {"audio": way.strip("_") or "real"}
    (folder / "decode.json").write_text(json.dumps({"options": options}))


def test_scores_on_real_shuffled_and_silent_audio_stand_side_by_side(tmp_path):
    """By kind of question too, with what the best constant answer scores."""
    folder = tmp_path / "fold1"
    given = {"": "yes no dog cat", "_shuffled": "yes yes dog dog", "_silent": "no no dog dog"}
    for way, hyps in given.items():
        (folder / f"decode_test{way}").mkdir(parents=True)
        parts = zip("AABB", "yes no dog cat".split(), hyps.split(), strict=True)
        rows = [
            {"id": str(k), "kind": {"A": "yes_no", "B": "class"}[kind], "ref": ref, "hyp": hyp}
            for k, (kind, ref, hyp) in enumerate(parts)
        ]
        hyp = folder / f"decode_test{way}" / "hyp.jsonl"
        hyp.write_text("".join(json.dumps(row) + "\n" for row in rows))
        run.score_file(hyp, "accuracy", "basic", hyp.parent / "score_accuracy")
        heard(hyp.parent, way)
    text = report.results([folder], page=tmp_path / "p.html")
    head = "| configuration | set | metric | kind | real | shuffled | silent | constant answer |"
    assert head in text
    assert "| fold1 | test | ACCURACY | all | 100.00 (100.00 to 100.00) | 50.00 (" in text
    assert "| fold1 | test | ACCURACY | yes_no | 100.00 | 50.00 | 50.00 | 50.00 |" in text
    assert "| fold1 | test | ACCURACY | class | 100.00 | 50.00 | 50.00 | 50.00 |" in text
    assert "Does it listen?" in (tmp_path / "p.html").read_text()


def test_many_experiments_are_folded_and_no_score_is_lost(tmp_path):
    """One table of all; kinds of question and how each score was come by are behind a line."""
    names = ("fold1", "fold2", "fold3")
    for number, name in enumerate(names):
        for way in ("", "_shuffled", "_silent"):
            hyp = tmp_path / name / f"decode_test{way}" / "hyp.jsonl"
            hyp.parent.mkdir(parents=True)
            given = "yes" if way else "no" if number else "yes"
            kinds = ("yes_no", "same")
            rows = [{"id": k, "kind": k, "ref": "yes", "hyp": given} for k in kinds]
            hyp.write_text("".join(json.dumps(row) + "\n" for row in rows))
            for metric in ("accuracy", "macro_f1"):
                run.score_file(hyp, metric, "basic", hyp.parent / f"score_{metric}")
            heard(hyp.parent, way)
    text = report.results([tmp_path / name for name in names])
    assert text.count("<details>") == text.count("</details>") == 4
    shown = re.sub("<details>.*?</details>", "", text, flags=re.S)
    assert "| fold2 | test | ACCURACY | 0.00 |" in shown and "yes_no" not in shown
    assert "| fold2 | test | ACCURACY | all | 0.00 (0.00 to 0.00) | 100.00 (" in shown
    assert "| fold2 | test_silent |" not in text, "they stand beside the real ones"
    assert "| fold2 | test | ACCURACY | same | 0.00 | 100.00 | 100.00 |" in text
    assert text.count("\n    %") == 18
    assert "<details>" not in report.results([tmp_path / name for name in names[:2]])


def test_a_set_heard_in_one_way_alone_is_not_compared(experiment):
    """Nor is a manifest that happens to be called "silent": decode.json says what was heard."""
    assert "Does it listen?" not in report.results([experiment])
    silent = experiment / "decode_test_silent"
    silent.mkdir()
    (silent / "hyp.jsonl").write_text((experiment / "decode_test/hyp.jsonl").read_text())
    run.score_file(silent / "hyp.jsonl", "wer", "none", silent / "score")
    (silent / "decode.json").write_text('{"options": {"audio": "real"}}')
    text = report.results([experiment])
    assert "Does it listen?" not in text and "| mini | test_silent | WER |" in text
    (silent / "decode.json").write_text('{"options": {"audio": "silent"}}')
    text = report.results([experiment])
    assert "Does it listen?" in text and "| mini | test_silent |" not in text


def test_instructions_and_perplexities_stand_in_the_order_of_the_phases(experiment, tmp_path):
    """What was measured after the phase adapter comes before lora's, as trained, not as spelt."""
    entry = {
        "kind": "de",
        "rate": 25.0,
        "interval": [10, 40],
        "given": {"en": 3, "de": 1},
        "own": 99,
    }
    for phase, kind in (("lora", "de"), ("adapter", "en")):
        folder = experiment / f"following_{phase}"
        folder.mkdir()
        (folder / "following.json").write_text(json.dumps([entry | {"kind": kind}]))
    losses = [{"speech": {"language_modelling": v}, "text": {"loss": 1.0}} for v in (1.0, 0.0)]
    for step, loss in zip((0, 20), losses, strict=True):
        line = {"phase": "late", "step": step, "valid": {"loss": 1.0, **loss}}
        with open(experiment / "log.jsonl", "a") as file:
            file.write(json.dumps(line) + "\n")
    text = report.results([experiment], page=tmp_path / "p.html")
    first = text.index("| mini | adapter | en | 25.00 | 10.00 to 40.00 | de 1 |")
    assert first < text.index("| mini | lora | de | 25.00 | 10.00 to 40.00 | en 3 |")
    assert "| mini | late | speech | 2.718 | 1.000 |" in text and "| mini | late | text" not in text
    assert "Does it do what is asked?" in (tmp_path / "p.html").read_text()
    (experiment / "following_lora/following.json").write_text('[{"kind": "de"}]')
    with pytest.raises(ValueError, match="following_lora/following.json.*write it anew"):
        report.results([experiment])


def test_a_benchmark_stands_beside_the_experiments(experiment, tmp_path):
    sections = "## Results\n\n| model | WER |\n| --- | --- |\n| x | 5.90 |\n\n\n## By length\n\nrow"
    (tmp_path / "benchmark.md").write_text("# Benchmark\n\n" + sections + "\n")
    text = report.results([experiment], benchmark=tmp_path)
    table = "## Recognisers side by side\n\n| model | WER |\n| --- | --- |\n| x | 5.90 |\n\n"
    assert table + "<details><summary>By length</summary>\n\nrow\n\n</details>" in text
    with pytest.raises(ValueError, match="benchmark.md: no such file"):
        report.results([experiment], benchmark=tmp_path / "elsewhere")
    (tmp_path / "benchmark.md").write_text("")
    with pytest.raises(ValueError, match="benchmark.md: no results in it"):
        report.results([experiment], benchmark=tmp_path)
