"""The recipe egs/multi in a small way: three tasks, LoRA, pairs from decodes, DPO, what is told."""

import json

import pytest

from speechllm import cli
from speechllm.data.manifest import Manifest, write

TASKS = ("asr", "translate", "qa")
SMALL = (
    *("encoder.dim=16", "encoder.layers=1", "encoder.heads=2", "encoder.ff=32"),
    *("encoder.subsampling_channels=4", "frontend.num_mel_bins=20", "augment={}"),
    *("llm.config.hidden_size=32", "llm.config.intermediate_size=64"),
    *("llm.config.num_hidden_layers=1", "llm.config.num_attention_heads=2"),
    *("llm.config.num_key_value_heads=2", "llm.lora.r=2"),
    *(f"phase.{s}.{k}=2" for s in ("encoder", "text", "align", "tune") for k in ("steps",)),
    *("phase.prefer.steps=24", "phase.prefer.lr=1e-2", "phase.prefer.warmup_steps=0"),
    "phase.prefer.objectives.language_modelling.weight=0.1",  # 24 steps are for the preference
)
GERMAN = {"low": "tief", "mid": "mittel", "high": "hoch"}


def call(*words):
    assert not cli.main([str(word) for word in words])


@pytest.fixture
def corpus(tiny, tmp_path):
    """Manifests of tones by the names of the preset's sources: speech, sounds, questions, text."""
    made = {}
    for split, end in (("train", ""), ("valid", "_valid")):
        rows = [
            {**row, "lang": "en", "translation_lang": "de"}
            for row in Manifest(tiny / f"{split}.jsonl")
        ]
        for row in rows:
            row["translation"] = " ".join(GERMAN[word] for word in row["text"].split())
        bare = ("audio", "start", "duration", "speaker")
        texts = [{k: v for k, v in row.items() if k not in bare} for row in rows]
        asked = {"question": "is it low", "choices": ["yes", "no"]}
        answers = ["yes" if row["text"] == "low" else "no" for row in rows]
        questions = [{**row, **asked, "text": a} for row, a in zip(rows, answers, strict=True)]
        named = [
            {**t, **asked, "heard": [t["text"]], "text": a}
            for t, a in zip(texts, answers, strict=True)
        ]
        sets = {"speech": rows, "transcripts": rows, "sounds": rows, "questions": questions,
                "text": texts, "text_questions": named}  # fmt: skip
        for name, part in sets.items():
            made[name + end] = tmp_path / f"{name}{end}.jsonl"
            write(made[name + end], part)
    return made


def test_from_manifests_to_the_report(corpus, tmp_path, capsys):
    out, bpe, asked = tmp_path / "exp", tmp_path / "bpe", ("--workers", 0, "--device", "cpu")

    def train(*words):
        data = [f"--data={name}={path}" for name, path in corpus.items()]
        call("train", "multi", "--tokenizer", bpe, *data, "--out", out, *asked, *words,
             *(word for change in SMALL for word in ("--set", change)))  # fmt: skip

    call("data", "tokenizer", corpus["text"], corpus["questions"], "--vocab-size", 60,
         "--out", bpe, "--also", "English: German:")  # fmt: skip
    train("--until", "tune")  # the pairs of the phase after it are not there yet
    assert (out / "tune").is_dir() and not (out / "prefer").exists()
    for split in ("", "_valid"):
        folders = []
        for task in TASKS:
            manifest = corpus[("questions" if task == "qa" else "speech") + split]
            folders.append(out / f"learned{split}_{task}")
            call("decode", out / "tune", manifest, "--task", task, "--out", folders[-1], *asked,
                 "--max-tokens-per-s", 2)  # fmt: skip
        call("data", "prepare", "pairs", "--decodes", *folders, "--out", tmp_path / f"pairs{split}")
        corpus[f"pairs{split}"] = tmp_path / f"pairs{split}/pairs.jsonl"
    pairs = list(Manifest(corpus["pairs"]))
    assert {row["task"] for row in pairs} == set(TASKS)
    whole = {
        row["chosen"]: row["rejected"] for row in pairs if row["id"].endswith("asr-train0-other")
    }
    row = Manifest(corpus["speech"])[0]
    assert whole in ({row["text"]: row["translation"]}, {row["text"]: "no"}, {row["text"]: "yes"})

    train()
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    first, *_, last = [v for v in log if v["phase"] == "prefer" and "valid" in v]
    valid = first["valid"]
    assert "health" not in first
    assert first["step"] == 0 and valid["pairs_valid"]["preference"] == pytest.approx(
        0.6931, abs=1e-3
    )
    assert valid["text_valid"]["preference"] == 0 < valid["text_valid"]["language_modelling"]
    assert last["valid"]["pairs_valid"]["preference"] < valid["pairs_valid"]["preference"] - 1e-3
    kept = [v for v in log if v["phase"] == "tune" and "valid" in v]
    assert [v["step"] for v in kept] == [0, 2]

    folders = [out / f"learned_valid_{task}" for task in TASKS]
    for folder in folders:
        call("score", folder)
    capsys.readouterr()
    call("following", *(f"{task}={folder}" for task, folder in zip(TASKS, folders, strict=True)),
         "--out", out / "following_tune")  # fmt: skip
    assert capsys.readouterr().out.count("%FOLLOWED") == 3
    call("report", out, "--out", tmp_path / "R.md", "--page", tmp_path / "p.html")
    text = (tmp_path / "R.md").read_text()
    assert text.count("| exp | tune | ") == 3 + 4 and "## Does it do what is asked?" in text
    for set_name in ("speech", "transcripts", "questions", "text"):
        assert f"| exp | tune | {set_name}_valid | " in text
    assert "What each phase changed" in (tmp_path / "p.html").read_text()
