"""WER, CER and accuracy: totals of jiwer, empties, undefined rates, result lines."""

from types import SimpleNamespace

import jiwer
import numpy as np
import pytest

from speechllm.score.counting import metrics, named

wer, cer, accuracy = named("wer"), named("cer"), named("accuracy")


def total(metric, pairs):
    return np.sum([metric.stats(ref, hyp) for ref, hyp in pairs], 0)


@pytest.mark.parametrize("name", [name for name in metrics() if name != "comet"])  # has a model
def test_each_metric_keeps_what_it_promises(name):
    """Integers, one a field, that may be summed; scores of one total and of many; right is best."""
    metric = named(name)
    refs = ["the cat sat on a mat", "one two three four five", "yes it does rain today"]
    metric = metric.over(refs)
    wrong = ["the cat on a mat sits", "two one three", "no"]
    totals = []
    for hyps in (refs, wrong):
        cleaned = [([ref], hyp) for ref, hyp in zip(refs, hyps, strict=True)]
        told = [SimpleNamespace(words=[(word, 0.9) for word in hyp.split()], hotwords=("sat",))
                for hyp in hyps]  # fmt: skip  # of a metric of confidence, or of hotwords
        counts = list(metric.all_stats(told, cleaned))
        assert all(len(row) == len(metric.fields) for row in counts)
        assert all(isinstance(n, (int, np.integer)) for row in counts for n in row)
        totals.append(np.sum(counts, 0))
        assert metric.describe(totals[-1]) and metric.size(totals[-1]) > 0
    right, worse = (float(metric.score(one)) for one in totals)
    assert (right < worse) == metric.lower_is_better and right != worse
    assert metric.score(np.array(totals)) == pytest.approx([right, worse])


@pytest.mark.parametrize("rate", [0.03, 0.15, 0.5, 0.95])
def test_wer_and_cer_are_those_of_jiwer(spoiled, rate):
    refs, hyps = (texts[:600] for texts in spoiled[rate])
    pairs = list(zip(refs, hyps, strict=True))
    assert wer.score(total(wer, pairs)) == pytest.approx(100 * jiwer.wer(refs, hyps), abs=1e-9)
    assert cer.score(total(cer, pairs)) == pytest.approx(100 * jiwer.cer(refs, hyps), abs=1e-9)


def test_empty_texts():
    assert wer.stats("", "") == (0, 0, 0, 0)
    assert wer.stats("", "two words") == (0, 0, 0, 2)
    assert wer.stats("two words", "") == (0, 0, 2, 0)
    assert np.isnan(wer.score(wer.stats("", "two words")))
    assert wer.score(total(wer, [("", "a"), ("b c", "b c")])) == 50
    assert accuracy.stats("", "") == (1, 0) and accuracy.stats("", "a") == (0, 1)
    assert np.isnan(accuracy.score((0, 0)))


def test_white_space():
    assert wer.stats(" a  b ", "a\tb") == (2, 0, 0, 0)
    assert cer.stats(" ab  c ", "abc") == (3, 0, 1, 0)
    assert cer.tokens(" ab  c ") == list("ab c")


def test_many_totals_at_once():
    totals = np.array([[[9, 1, 0, 0], [0, 0, 0, 3]], [[4, 0, 0, 4], [0, 1, 1, 0]]])
    expected = [[10, np.nan], [100, 100]]
    np.testing.assert_allclose(wer.score(totals), expected)
    np.testing.assert_allclose(accuracy.score([[3, 1], [0, 2]]), [75, 0])


def test_described():
    assert wer.describe((50883, 1392, 301, 210)) == "1903 / 52576, 210 ins, 301 del, 1392 sub"
    assert accuracy.describe((291, 9)) == "291 / 300"
    assert wer.size((5, 2, 1, 9)) == 8
