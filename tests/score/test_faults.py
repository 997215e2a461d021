"""Loops and bursts: what is one and what is not."""

import pytest

from speechllm.score import faults


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
