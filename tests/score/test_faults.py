"""Loops and bursts: what is one and what is not."""

import json

import pytest

from speechllm.score import faults, run


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("", 0),
        ("a", 1),
        ("a b c", 1),
        ("a b a", 1),
        ("a a", 2),
        ("x a b a b a b y", 3),
        ("a a b a a b", 2),
        ("of the of the of the of", 3),
        ("a b c d e f g h a b c d e f g h", 2),
        ("a b c d e f g h i a b c d e f g h i", 1),
    ],
)
def test_repeats(text, times):
    assert faults.repeats(text.split(), longest=8) == times


def test_loop_is_measured_against_the_reference():
    assert faults.loops("no".split(), "no no no no".split(), 8)
    assert not faults.loops("no no no".split(), "no no no no".split(), 8)
    assert not faults.loops("no".split(), "no no no".split(), 8)


def test_longest_insertion():
    assert faults.longest_insertion("a b".split(), "a x y z b q".split()) == 3
    assert faults.longest_insertion("a b".split(), "a x y z b q".split(), at_least=5) == 0
    assert faults.longest_insertion([], list("abc")) == 3
    assert faults.longest_insertion(list("ab"), list("ab")) == 0


def test_more_words_than_can_be_said():
    """Eleven words a second and two to spare; not where the reference is as fast."""
    assert faults.too_fast(5, 25, 2.0, 11.0) and not faults.too_fast(5, 24, 2.0, 11.0)
    assert not faults.too_fast(25, 26, 2.0, 11.0), "the duration is wrong, not the hypothesis"
    assert not faults.too_fast(1, 2, 0.0, 11.0) and faults.too_fast(0, 3, 0.0, 11.0)
    assert not faults.too_fast(5, 1000, None, 11.0)


def test_they_are_counted_apart(tmp_path):
    spoken = {"id": "a", "ref": "so it goes", "hyp": "so it goes", "duration": 1}
    invented = spoken | {"id": "b", "hyp": " ".join(map(str, range(100, 120)))}
    rows = [spoken, invented, invented | {"id": "c", "duration": None}]
    (tmp_path / "h").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for metric in ("wer", "cer"):
        result = run.score_file(tmp_path / "h", metric, "none")
        assert [("fast" in s.faults) for s in result.utterances] == [False, True, False]
        assert result.counts["fast"] == 1
        assert "1 with more words than can be said in their time" in result.to_text()
