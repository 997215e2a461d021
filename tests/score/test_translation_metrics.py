"""BLEU and chrF++: sacrebleu's numbers, signatures and p-values; several references; bad input."""

import json
import random
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.significance import PairedTest

from speechllm.score import compare, intervals, run
from speechllm.score.counting import named

bleu, chrf, accuracy = named("bleu"), named("chrf"), named("accuracy")

WORDS = (
    "das ist ein Haus, und der Hund: „schläft“ nicht! Warum? 3,5 Euro U.S. 你好 don't (a)".split()
)
PEERS = {
    "bleu": BLEU(),
    "bleu:zh": BLEU(tokenize="zh"),
    "bleu:char": BLEU(tokenize="char"),
    "chrf": CHRF(word_order=2),
    "chrf:0": CHRF(),
}


def drop(text, share, rng):
    return " ".join(word for word in text.split() if rng.random() >= share)


@pytest.fixture(scope="module")
def texts():
    """References (two each) and the outputs of two systems, some of them empty."""
    rng = random.Random(3)
    refs = [[" ".join(rng.choices(WORDS, k=rng.randint(1, 14))) for _ in "ab"] for _ in range(200)]
    return refs, [drop(r[0], 0.3, rng) for r in refs], [drop(r[0], 0.36, rng) for r in refs]


def write(path, refs, hyps):
    rows = [
        {"id": str(k), "ref": r, "hyp": h} for k, (r, h) in enumerate(zip(refs, hyps, strict=True))
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.mark.parametrize("n_refs", [1, 2])
@pytest.mark.parametrize("metric", PEERS)
def test_score_and_signature_are_those_of_sacrebleu(texts, tmp_path, metric, n_refs):
    refs, hyps, _ = texts
    refs = [r[:n_refs] for r in refs]
    result = run.score_file(write(tmp_path / "h", refs, hyps), metric)
    theirs = PEERS[metric].corpus_score(hyps, list(zip(*refs, strict=True)))
    assert result.value == pytest.approx(theirs.score, abs=1e-9)
    assert result.signature.startswith(f"{PEERS[metric].get_signature()}|norm=none:1")
    assert f"nrefs:{n_refs}|" in result.line and result.line.startswith(f"%{theirs.name} ")
    if metric.startswith("bleu"):
        assert f"{theirs.score:.2f} [ {str(theirs).split(' ', 3)[3]} ]" in result.line
    assert result.interval[0] < result.value < result.interval[1]


def test_many_totals_at_once_are_scored_as_one_by_one(texts):
    """Bootstrap corpora of one to three utterances: orders without n-grams, nothing right."""
    refs, hyps, _ = texts
    rng = np.random.default_rng(0)
    for module, peer in ((bleu, PEERS["bleu"]), (chrf, PEERS["chrf"])):
        stats = np.array([module.stats(r, h) for r, h in zip(refs, hyps, strict=True)])
        totals = np.stack([stats[rng.integers(200, size=1 + k % 3)].sum(0) for k in range(300)])
        theirs = [peer._compute_score_from_stats(list(map(int, total))).score for total in totals]
        assert min(theirs) == 0 or module is chrf
        np.testing.assert_allclose(module.score(totals), theirs, atol=1e-9)
        assert module.score(stats[:0].sum(0)) != module.score(stats[:0].sum(0))  # nan


@pytest.mark.parametrize("metric", ["bleu", "chrf"])
def test_paired_tests_agree_with_sacrebleu(texts, tmp_path, metric):
    refs, hyps, others = texts
    a, b = write(tmp_path / "a", refs, hyps), write(tmp_path / "b", refs, others)
    found = compare.compare_files(a, b, metric).paired
    columns = list(zip(*refs, strict=True))
    # sacrebleu's bootstrap counts the draws beyond the difference on one side only, ours on both
    for kind, ours, samples in (("bs", found.p / 2, 2000), ("ar", found.p_ar, 4000)):
        systems = [("b", others), ("a", hyps)]
        test = PairedTest(systems, {metric: PEERS[metric]}, columns, kind, samples)
        p = test()[1][PEERS[metric].corpus_score(hyps, columns).name][1].p_value
        assert 0.005 < p < 0.2  # there is something to agree about
        assert ours == pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) / samples) + 0.005)


def test_randomisation_finds_a_difference_and_none_where_there_is_none():
    rng = np.random.default_rng(1)
    right = rng.random((300, 2)) < [0.9, 0.8]
    a, b = (np.stack([column, ~column], 1).astype(int) for column in right.T)
    assert intervals.randomised(a, b, accuracy.score) < 0.01
    assert intervals.randomised(a, a[::-1], accuracy.score) == 1
    ps = [intervals.randomised(a, a[rng.permutation(300)], accuracy.score, 50) for _ in range(5)]
    assert ps == [1.0] * 5  # the same total: every trial is as far


def test_sacrebleu_reads_the_files_and_prints_our_number(texts, tmp_path):
    refs, hyps, _ = texts
    result = run.score_file(write(tmp_path / "h", refs, hyps), "bleu", out_dir=tmp_path / "s")
    assert "sacrebleu ref*.txt -i hyp.txt -m bleu" in (tmp_path / "s/score.txt").read_text()
    files = sorted(str(f) for f in (tmp_path / "s").glob("ref*.txt"))
    call = [sys.executable, "-m", "sacrebleu", *files, "-i", str(tmp_path / "s/hyp.txt"), "-w", "4"]
    theirs = json.loads(subprocess.run(call, capture_output=True, check=True).stdout)
    assert len(files) == 2 and round(result.value, 4) == theirs["score"]


def test_references_come_from_the_manifest_s_translation(tmp_path):
    (tmp_path / "h").write_text('{"id": "a", "hyp": "ein Hund schläft hier"}\n', "utf-8")
    row = {"id": "a", "text": "a dog", "translation": "ein Hund schläft hier"}
    (tmp_path / "m").write_text(json.dumps(row) + "\n")
    assert run.score_file(tmp_path / "h", "bleu", manifest=tmp_path / "m").value == pytest.approx(
        100
    )
    assert run.score_file(tmp_path / "h", "wer", manifest=tmp_path / "m").value == 200


def test_comet_says_what_it_wants(tmp_path, monkeypatch):
    rows = [{"id": "a", "hyp": "x", "ref": "y"}]
    (tmp_path / "h").write_text(json.dumps(rows[0]) + "\n")
    monkeypatch.delenv("COMET_MODEL", raising=False)
    with pytest.raises(ValueError, match="COMET wants a model: set COMET_MODEL"):
        run.score_file(tmp_path / "h", "comet")
    monkeypatch.setitem(sys.modules, "comet", None)
    with pytest.raises(ValueError, match="pip install unbabel-comet"):
        run.score_file(tmp_path / "h", "comet:Unbabel/wmt22-comet-da")


def test_comet_gets_source_hypothesis_and_reference(texts, tmp_path, monkeypatch):
    """A stand-in for the package: its judgement is the share of the reference's length."""

    class Model:
        def predict(self, rows, batch_size, gpus, progress_bar):
            assert all(set(row) == {"src", "mt", "ref"} and row["src"] == "said" for row in rows)
            return SimpleNamespace(scores=[len(row["mt"]) / len(row["ref"]) for row in rows])

    found = SimpleNamespace(
        download_model=lambda name: f"{name}.ckpt", load_from_checkpoint=lambda path: Model()
    )
    monkeypatch.setitem(sys.modules, "comet", found)
    refs, hyps, _ = texts
    refs = [" ".join(r[0].split()) for r in refs]
    write(tmp_path / "h", refs, hyps)
    with pytest.raises(ValueError, match="wants the source of each utterance; 200 have none"):
        run.score_file(tmp_path / "h", "comet:a/model")
    lines = [json.loads(line) | {"source": "said"} for line in open(tmp_path / "h")]
    (tmp_path / "h").write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = run.score_file(tmp_path / "h", "comet:a/model", out_dir=tmp_path / "s")
    pairs = zip(refs, hyps, strict=True)
    assert result.value == pytest.approx(
        100 * np.mean([len(h) / len(r) for r, h in pairs]), abs=1e-3
    )
    assert result.line.startswith("%COMET ") and "model:model|norm=none:1" in result.line


@pytest.mark.parametrize(
    ("rows", "metric", "says"),
    [
        ([{"id": "a", "hyp": "x"}], "bleu", "no 'ref' for 1: a; decode a manifest with text"),
        (
            [{"id": "a", "hyp": "x", "ref": ["x", "y"]}, {"id": "b", "hyp": "x", "ref": ["x"]}],
            "chrf",
            r"wanted as many references for each utterance.* some have 2.* fewer: 1: b \(1\)",
        ),
        (
            [{"id": "a", "hyp": "x", "ref": ["x", "y"]}],
            "wer",
            "WER takes one reference, but a has 2",
        ),
        ([{"id": "a", "hyp": "x", "ref": []}], "bleu", "'ref' wants a text or a list of texts"),
        (
            [{"id": "a", "hyp": "x", "ref": "x"}],
            "bleu:13b",
            "no such tokeniser; did you mean '13a'",
        ),
        ([{"id": "a", "hyp": "x", "ref": "x"}], "chrf:3", "wanted the order of word n-grams"),
        ([{"id": "a", "hyp": "x", "ref": "x"}], "cer:13a", "cer has no options"),
    ],
)
def test_bad_input(tmp_path, rows, metric, says):
    (tmp_path / "h").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ValueError, match=says):
        run.score_file(tmp_path / "h", metric)
