"""Pairs for DPO: wrong answers of the model, and right answers to another instruction."""

import json

import pytest

from speechllm.data.corpora import pairs
from speechllm.data.manifest import Manifest, write


@pytest.fixture
def decodes(tmp_path):
    """Two decodes of the same audio: transcripts (one wrong) and translations (all right)."""
    texts = {"asr": ["one", "two", "three"], "de": ["eins", "zwei", "drei"]}
    hyps = {"asr": ["One", "too", ""], "de": texts["de"]}
    for name in texts:
        rows = [
            {"id": f"u{i}", "audio": f"{i}.wav", "duration": 1.0, "text": text, "task": name}
            for i, text in enumerate(texts[name])
        ]
        write(tmp_path / f"{name}.jsonl", rows)
        folder = tmp_path / "exp" / name
        folder.mkdir(parents=True)
        entries = [
            {"id": row["id"], "ref": row["text"], "hyp": hyp}
            for row, hyp in zip(rows, hyps[name], strict=True)
        ]
        (folder / "hyp.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
        (folder / "decode.json").write_text(json.dumps({"manifest": f"{tmp_path}/{name}.jsonl"}))
    return [str(tmp_path / "exp" / name) for name in texts]


def found(path):
    return {row["id"]: (row["chosen"], row["rejected"]) for row in Manifest(path)}


def test_own_errors_and_answers_to_other_instructions(decodes, tmp_path):
    path = pairs.Config(decodes=decodes, out=str(tmp_path / "out")).prepare()["pairs"]
    assert found(path) == {
        "asr-u1-own": ("two", "too"),
        "asr-u0-other": ("one", "eins"),
        "asr-u1-other": ("two", "zwei"),
        "asr-u2-other": ("three", "drei"),
        "de-u0-other": ("eins", "one"),
        "de-u1-other": ("zwei", "two"),
        "de-u2-other": ("drei", "three"),
    }
    row = Manifest(path)[0]
    assert row["audio"].startswith(str(tmp_path)) and row["task"] in ("asr", "de")
    assert "hyp" not in row and row["duration"] == 1.0


def test_a_pair_keeps_the_task_it_was_decoded_under(decodes, tmp_path):
    path = tmp_path / "exp/de/decode.json"
    facts = json.loads(path.read_text()) | {"task": {"name": "translate"}, "task_of_all": True}
    path.write_text(json.dumps(facts))
    made = Manifest(pairs.Config(decodes=decodes, out=str(tmp_path / "out")).prepare()["pairs"])
    assert {row["id"].split("-")[0]: row["task"] for row in made} == {
        "asr": "asr",
        "de": "translate",
    }


def test_kinds_limit_and_seed(decodes, tmp_path):
    own = pairs.Config(decodes=decodes, out=str(tmp_path / "a"), kinds=("own",)).prepare()["pairs"]
    assert found(own) == {"asr-u1-own": ("two", "too")}
    few = [
        pairs.Config(decodes=decodes, out=str(tmp_path / f"b{s}"), limit=3, seed=s).prepare()
        for s in (0, 0, 1)
    ]
    ids = [Manifest(made["pairs"]).ids for made in few]
    assert len(ids[0]) == 3 and ids[0] == ids[1] != ids[2]


def test_bad_input(decodes, tmp_path):
    out = str(tmp_path / "out")
    with pytest.raises(ValueError, match="no --decodes"):
        pairs.Config(decodes=(), out=out).prepare()
    with pytest.raises(ValueError, match="no pairs called hers"):
        pairs.Config(decodes=decodes, out=out, kinds=("hers",)).prepare()
    with pytest.raises(ValueError, match="not a whole decode"):
        pairs.Config(decodes=(str(tmp_path),), out=out).prepare()
    with pytest.raises(ValueError, match="no pair: every answer is right"):
        pairs.Config(decodes=decodes[1:], out=out).prepare()


def test_separators_of_lines_inside_an_answer_end_none(decodes, tmp_path):
    path = tmp_path / "exp/asr/hyp.jsonl"
    rows = [json.loads(line) for line in path.read_text().split("\n")[:-1]]
    rows[1]["hyp"] = "t\u2028oo\u0085"
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\ufeff" + "\n".join(lines) + "\n", encoding="utf-8")
    made = pairs.Config(decodes=decodes, out=str(tmp_path / "out"), kinds=("own",)).prepare()
    assert found(made["pairs"])["asr-u1-own"] == ("two", "t oo")
    path.write_text('{"id": [], "hyp": 3}\n')
    with pytest.raises(ValueError, match="not a whole decode .*hyp.jsonl:1: 'hyp': wanted a text"):
        pairs.Config(decodes=decodes, out=str(tmp_path / "out")).prepare()
