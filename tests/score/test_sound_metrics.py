"""Captions and answers: CIDEr-D and ROUGE-L as COCO counts them, macro F1 as scikit-learn does."""

import json
import random

import numpy as np
import pytest

from speechllm.score import compare, run
from speechllm.score.counting import named

cider, macro_f1, rouge_l = named("cider"), named("macro_f1"), named("rouge_l")

CLASSES = ["dog", "rain", "waves", "fire"]


@pytest.fixture(scope="module")
def captions():
    """Two hundred utterances with three references each, and hypotheses near one of them."""
    rng = random.Random(3)
    words = "a dog barks while rain falls on the roof and people talk nearby water runs".split()
    made = []
    for _ in range(200):
        base = rng.choices(words, k=rng.randint(5, 14))
        refs = [changed(base, rate, rng, words) for rate in (0.1, 0.3, 0.6)]
        made.append((refs, changed(base, 0.4, rng, words)))
    return made


def changed(base: list[str], rate: float, rng: random.Random, words: list[str]) -> str:
    """Replace some words, and perhaps cut or lengthen the text."""
    out = [rng.choice(words) if rng.random() < rate else word for word in base]
    return " ".join(out[: rng.randint(3, len(out))] + rng.choices(words, k=rng.randint(0, 3)))


def coco(scorer, captions) -> tuple[float, list[float]]:
    refs = {k: refs for k, (refs, _) in enumerate(captions)}
    value, each = scorer.compute_score(refs, {k: [hyp] for k, (_, hyp) in enumerate(captions)})
    return float(value), list(each)


def test_cider_is_that_of_coco(captions):
    theirs = pytest.importorskip("pycocoevalcap.cider.cider").Cider()
    value, each = coco(theirs, captions)
    ours = np.array(list(cider.all_stats([], captions)))
    np.testing.assert_allclose(ours[:, 0] / 1e6, each, atol=1e-6)
    assert cider.score(ours.sum(0)) == pytest.approx(100 * value, abs=1e-3)
    assert 5 < cider.score(ours.sum(0)) < 1000


def test_rouge_is_that_of_coco(captions):
    theirs = pytest.importorskip("pycocoevalcap.rouge.rouge").Rouge()
    value, each = coco(theirs, captions)
    ours = np.array([rouge_l.stats(*pair) for pair in captions])
    np.testing.assert_allclose(ours[:, 0] / 1e6, each, atol=1e-6)
    assert rouge_l.score(ours.sum(0)) == pytest.approx(100 * value, abs=1e-4)


def test_captions_at_the_ends_of_the_scale():
    same = [
        (["a dog barks loudly now"], "a dog barks loudly now"),
        (["rain on a roof"], "rain on a roof"),
    ]
    assert cider.score(np.sum(list(cider.all_stats([], same)), 0)) == pytest.approx(1000)
    assert rouge_l.stats("a dog barks", "a dog barks") == (1_000_000, 1)
    other = [(["a dog barks"], "wind"), (["rain"], "")]
    assert np.sum(list(cider.all_stats([], other)), 0).tolist() == [0, 2]
    assert rouge_l.stats("a dog", "") == rouge_l.stats("", "a dog") == (0, 1)
    assert np.isnan(rouge_l.score((0, 0)))


def test_macro_f1_is_that_of_scikit_learn():
    f1_score = pytest.importorskip("sklearn.metrics").f1_score
    rng = random.Random(5)
    refs = rng.choices(CLASSES, [8, 4, 2, 1], k=300)
    hyps = [ref if rng.random() < 0.6 else rng.choice([*CLASSES, "cat", ""]) for ref in refs]
    metric = macro_f1.over(refs)
    total = np.sum([metric.stats(r, h) for r, h in zip(refs, hyps, strict=True)], 0)
    wanted = 100 * f1_score(refs, hyps, labels=CLASSES, average="macro", zero_division=0)
    assert metric.score(total) == pytest.approx(wanted)
    assert metric.size(total) == 300 and metric.describe(total) == "4 classes, 300 answers"
    both = np.stack([total, total * 0])
    assert metric.score(both)[0] == pytest.approx(wanted) and np.isnan(metric.score(both)[1])
    # a constant answer scores a quarter of its own class's F-score, however frequent that class is
    constant = np.sum([metric.stats(r, "dog") for r in refs], 0)
    share = refs.count("dog") / 300
    assert metric.score(constant) == pytest.approx(100 * 2 * share / (1 + share) / 4)


ROWS = [
    {"id": "1", "kind": "yes_no", "choices": ["yes", "no"], "ref": "yes", "hyp": "Yes."},
    {"id": "2", "kind": "yes_no", "choices": ["yes", "no"], "ref": "no", "hyp": "dog"},
    {"id": "3", "kind": "yes_no", "choices": ["yes", "no"], "ref": "no", "hyp": "no"},
    {"id": "4", "kind": "open", "ref": "dog", "hyp": "cat"},
]


@pytest.fixture
def hyp(tmp_path):
    (tmp_path / "hyp.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return tmp_path / "hyp.jsonl"


def test_answers_outside_the_choices_are_counted_apart(hyp, tmp_path):
    result = run.score_file(hyp, "accuracy", "basic", tmp_path / "score")
    assert result.value == 50 and result.counts["outside"] == 1
    assert "1 with an answer that is none of the choices" in result.to_text()
    assert 'value="outside"' in (tmp_path / "score" / "alignments.html").read_text()
    exact = run.score_file(hyp, "accuracy", "none")
    assert exact.value == 25 and exact.counts["outside"] == 2  # "Yes." is not "yes"


def test_kinds_have_their_scores_and_that_of_the_best_constant_answer(hyp):
    kinds = {row["name"]: row for row in run.score_file(hyp, "accuracy", "basic").tables["kind"]}
    assert kinds["yes_no"]["value"] == pytest.approx(200 / 3) == kinds["yes_no"]["constant"]
    assert kinds["open"]["value"] == 0 and kinds["open"]["constant"] == 100
    f1 = run.score_file(hyp, "macro_f1", "basic")
    assert f1.value == pytest.approx(100 * (1 + 2 / 3 + 0) / 3)
    assert f1.total["no missed"] == 1 and f1.total["dog wrong"] == 1
    assert compare.compare_files(hyp, hyp, "macro_f1", "basic").paired.difference == 0


def test_choices_that_are_no_list_are_refused(tmp_path):
    (tmp_path / "h").write_text(json.dumps({**ROWS[0], "choices": [1, 2]}) + "\n")
    with pytest.raises(ValueError, match="'choices' wants a text or a list of texts"):
        run.score_file(tmp_path / "h", "accuracy")
