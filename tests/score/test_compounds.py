"""Words written together: the errors of kaldialign, a slow reference, alignments that add up."""

import json
import random
from functools import cache

import pytest

from speechllm.score import compounds, edit, run
from speechllm.score.counting import named


def pairs(number, letters="abc", longest=9, seed=0):
    """Texts of words of one to four letters, so that many of them spell one another."""
    rng = random.Random(seed)
    for _ in range(number):
        words = (rng.randint(0, longest), rng.randint(0, longest))
        yield tuple(
            ["".join(rng.choices(letters, k=rng.randint(1, 4))) for _ in range(n)] for n in words
        )


def slow(ref, hyp):
    """Fewest errors by trying everything: the specification."""

    @cache
    def errors(i, j):
        if not i or not j:
            return i + j
        best = min(errors(i - 1, j), errors(i, j - 1), errors(i - 1, j - 1)) + 1
        for a in range(1, i + 1):
            if "".join(ref[i - a : i]) == hyp[j - 1]:
                best = min(best, errors(i - a, j - 1))
        for b in range(1, j + 1):
            if "".join(hyp[j - b : j]) == ref[i - 1]:
                best = min(best, errors(i - 1, j - b))
        return best

    return errors(len(ref), len(hyp))


def test_errors_are_the_fewest():
    fewer = 0
    for ref, hyp in pairs(1500, "ab"):
        correct, *errors = compounds.counts(ref, hyp)
        assert sum(errors) == slow(ref, hyp), (ref, hyp)
        assert correct + errors[0] + errors[1] == len(ref) and min(correct, *errors) >= 0
        fewer += sum(errors) < sum(edit.counts(ref, hyp)[1:])
    assert fewer > 200


@pytest.mark.parametrize("letters", ["ab", "abc", "abcdef"])
def test_errors_are_those_of_kaldialign(letters):
    kaldialign = pytest.importorskip("kaldialign")
    for ref, hyp in pairs(3000, letters, 14, seed=1):
        theirs = kaldialign.edit_distance(ref, hyp, merge_compounds=True)
        assert sum(compounds.counts(ref, hyp)[1:]) == theirs["total"], (ref, hyp)


def test_real_texts_with_words_joined_and_split(transcripts):
    kaldialign = pytest.importorskip("kaldialign")
    rng = random.Random(2)
    refs, hyps = [], []
    for text in transcripts[:600]:
        hyp = [part for word in text.split() for part in pieces(word, rng)]
        refs.append(text.split())
        hyps.append([word for word in hyp if rng.random() > 0.05])
    theirs = kaldialign.batch_error_rate(refs, hyps, merge_compounds=True)
    merged = named("wer:merged")
    stats = [merged.stats(" ".join(r), " ".join(h)) for r, h in zip(refs, hyps, strict=True)]
    total = [sum(column) for column in zip(*stats, strict=True)]
    assert merged.score(total) == pytest.approx(100 * theirs["err_rate"])
    apart = sum(sum(edit.counts(r, h)[1:]) for r, h in zip(refs, hyps, strict=True))
    assert sum(total[1:]) == theirs["total"] < apart / 2


def pieces(word, rng):
    """Split some words in two."""
    if len(word) < 4 or rng.random() > 0.2:
        return [word]
    return [word[: len(word) // 2], word[len(word) // 2 :]]


def test_alignments_spell_both_texts():
    for ref, hyp in pairs(400, seed=3):
        r, h, steps = compounds.align(ref, hyp)
        assert " ".join(r).split() == ref and " ".join(h).split() == hyp
        assert [r[i] for kind, i, _ in steps if kind != "I"] == r
        assert [h[j] for kind, _, j in steps if kind != "D"] == h
        same = [(r[i], h[j]) for kind, i, j in steps if kind == "="]
        assert all(a.replace(" ", "") == b.replace(" ", "") for a, b in same)


def test_the_metric(tmp_path):
    row = {"id": "a", "ref": "a white paper on ice cream", "hyp": "a whitepaper on i scream now"}
    (tmp_path / "h").write_text(json.dumps(row) + "\n")
    apart = run.score_file(tmp_path / "h", "wer", "none")
    merged = run.score_file(tmp_path / "h", "wer:merged", "open-asr", tmp_path / "s")
    assert apart.line.startswith("%WER 83.33 [ 5 / 6,")
    assert merged.line.startswith("%WER 50.00 [ 3 / 6, 1 ins, 0 del, 2 sub ]")
    assert merged.signature == "compounds:merged|norm=open-asr:2026-08"
    text = (tmp_path / "s/alignments.txt").read_text()
    assert "white paper" in text and "whitepaper" in text
    assert "sclite" not in (tmp_path / "s/score.txt").read_text()
    with pytest.raises(ValueError, match="wer:joined: compounds are 'apart' or 'merged'"):
        named("wer:joined")
    with pytest.raises(ValueError, match="cer has no options"):
        named("cer:merged")
