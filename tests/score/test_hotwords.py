"""Hotwords and calibration: counted by hand, from files, at the command."""

import json

import numpy as np
import pytest

from speechllm import cli
from speechllm.score.metrics import calibration, hotwords
from speechllm.score.run import score_file


def write(path, rows):
    path.write_text("".join(json.dumps({"id": str(i), **row}) + "\n" for i, row in enumerate(rows)))
    return path


def test_biased_unbiased_and_leaked_words():
    count = hotwords.Config().counts
    names = ("anna", "bob", "new york", "carl")
    # said: anna, new york; bob is made up, york is lost, and one other word is wrong
    counts = count("anna went to new york today", "anna bob went to new today x", names)
    assert counts == (2, 0, 1, 1, 3, 0, 0, 1, 1, 2)
    assert count("bob", "carl", names) == (0, 1, 0, 0, 0, 0, 0, 0, 1, 3)
    assert count("a b", "a c", ()) == (0, 0, 0, 0, 1, 1, 0, 0, 0, 0)
    assert count("", "new york", names)[-2:] == (1, 4)


def test_lists_of_rows_and_of_all_are_normalised(tmp_path):
    rows = [
        {"hyp": "Mr. Smith's here", "ref": "mister smith's here", "hotwords": ["SMITH'S", "!?"]},
        {"hyp": "zoe is here", "ref": "so is here", "lang": "en"},
    ]
    path = write(tmp_path / "hyp.jsonl", rows)
    (tmp_path / "names.txt").write_text("Zoe\n\nquilter\n")
    own = score_file(path, "hotwords")
    assert own.value == 0 and own.total["leaked"] == 0 and own.total["unsaid"] == 0
    both = score_file(path, f"hotwords:{tmp_path / 'names.txt'}")
    assert both.total["leaked"] == 1 and both.total["unsaid"] == 4
    assert "leaked 1 of 4 unsaid" in both.line and "U-WER" in both.line
    plain = write(tmp_path / "plain.jsonl", [{"hyp": "a", "ref": "a"}])
    with pytest.raises(ValueError, match="give a file of them"):
        score_file(plain, "hotwords")
    with pytest.raises(ValueError, match="cannot be read"):
        score_file(path, "hotwords:no.txt")


def test_words_are_judged_where_they_stand():
    words = [("mister", 0.9), ("do not", 0.8), ("", 0.1), ("gone", 0.4)]
    found = calibration.judged("mister do not go", "mister do not gone", words)
    assert found == [(0.9, True), (0.8, True), (0.4, False)]
    assert calibration.judged("do nut", "do not", [("do not", 0.8)]) == [(0.8, False)]


def spoken(rng, n: int, sharp: float):
    """Make rows whose words are right as often as their true confidence says, and tell another."""
    rows = []
    for _ in range(n):
        true = rng.beta(4, 1, 20)
        told = calibration.warmed(true, 1 / sharp)  # too sure: odds to the power of `sharp`
        right = rng.random(20) < true
        hyp = " ".join("right" if r else "wrong" for r in right)
        words = [{"word": w, "start": 0, "end": 1, "confidence": float(p)}
                 for w, p in zip(hyp.split(), told, strict=True)]  # fmt: skip
        rows.append({"hyp": hyp, "ref": " ".join(["right"] * 20), "words": words, "lang": "en"})
    return rows


def test_a_temperature_takes_out_what_is_too_sure(tmp_path, capsys):
    rng = np.random.default_rng(0)
    dev = write(tmp_path / "dev.jsonl", spoken(rng, 300, 2.0))
    test = write(tmp_path / "test.jsonl", spoken(rng, 300, 2.0))
    before = score_file(dev, "calibration")
    total = list(before.total.values())[1:]
    temperature = calibration.fit(total)
    assert temperature == pytest.approx(2.0, rel=0.1)
    assert before.value > 5 and calibration.at(total, temperature) < 1.5
    after = score_file(test, f"calibration:{temperature:.3f}")
    assert after.value < 2 and f"temperature:{temperature:.3f}" in after.line
    assert calibration.fit(list(after.total.values())[1:]) == pytest.approx(1.0, abs=0.12)
    assert cli.main(["score", str(test), "--metric", "calibration", "--out", str(tmp_path)]) == 0
    assert "%ECE" in capsys.readouterr().out
    page = (tmp_path / "reliability.html").read_text()
    assert page.count("<polyline") == 3 and "fitted" in page


def test_what_has_no_confidence(tmp_path):
    path = write(tmp_path / "hyp.jsonl", [{"hyp": "a", "ref": "a"}])
    with pytest.raises(ValueError, match="no line has words"):
        score_file(path, "calibration")
    for wrong in ("0", "warm", "-1"):
        with pytest.raises(ValueError, match="temperature"):
            score_file(path, f"calibration:{wrong}")
    odd = write(tmp_path / "odd.jsonl", [{"hyp": "a", "ref": "a", "words": [{"confidence": 2}]}])
    with pytest.raises(ValueError, match="confidence"):
        score_file(odd, "calibration")


def test_words_of_segments_count_too(tmp_path):
    word = {"word": "a", "start": 0.0, "end": 0.1, "confidence": 0.5}
    rows = [{"hyp": "a a", "ref": "a b", "segments": [{"words": [word]}, {"words": [word]}]}]
    result = score_file(write(tmp_path / "hyp.jsonl", rows), "calibration")
    assert result.value == pytest.approx(0.0, abs=0.01) and "2 words" in result.line
