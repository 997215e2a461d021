"""What is said before training: rows, rates, LoRAs and answers that nothing will be learned of."""

import json

import pytest

from speechllm.data.manifest import Manifest, write
from speechllm.train import loop


def train(run, capsys):
    found = loop.train(run)
    lines = capsys.readouterr().out.splitlines()
    assert [line.removeprefix("note: ") for line in lines if line.startswith("note: ")] == [
        line for line in found.notices if "left out of loss" not in line
    ]
    return found.notices, lines


QUICK = tuple(
    f"phase.{name}.{key}={value}"
    for name in ("encoder", "tune")
    for key, value in {"steps": 1, "valid_every": 1, "warmup_steps": 0}.items()
)


def test_nothing_to_say(make_run, tmp_path, capsys):
    assert train(make_run(tmp_path, *QUICK), capsys)[0] == []


def test_rows_outside_the_usable_length_are_counted(make_run, tmp_path, capsys):
    """Of training and validation, once each, whichever phases share them."""
    run = make_run(tmp_path, *QUICK, "data.max_duration_s=0.6", "data.min_duration_s=0.3")
    counts = {}
    for name, manifest in run.manifests.items():
        durations = [row["duration"] for row in manifest]
        counts[name] = (
            len(durations),
            sum(d < 0.3 for d in durations),
            sum(d > 0.6 for d in durations),
        )
    said, _ = train(run, capsys)
    wanted = [
        f"{name}.jsonl: {short + long} of {n} rows are left out, outside 0.3 to 0.6 s "
        f"({short} shorter, {long} longer)"
        for name, (n, short, long) in counts.items()
    ]
    assert counts["train"][1] and counts["train"][2] and len(said) == len(wanted)
    assert all(text in line for text, line in zip(wanted, said, strict=True))


def test_a_rate_that_never_arrives(make_run, tmp_path, capsys):
    said, _ = train(make_run(tmp_path, *QUICK, "phase.tune.warmup_steps=4"), capsys)
    assert said == [
        "phase tune: warmup_steps = 4 of 1 steps: the rate 0.001 never arrives, the last step has "
        "0.00025"
    ]


def test_a_lora_that_no_phase_trains(make_run, tmp_path, capsys):
    run = make_run(tmp_path, *QUICK, "phase.tune.train=['adapter.*']")
    assert ["llm.lora 'default': no phase trains it" in s for s in train(run, capsys)[0]] == [True]


WAVLM = """encoder={name="wavlm",config={hidden_size=32,num_hidden_layers=1,num_attention_heads=2,
intermediate_size=32,conv_dim=[16,16],conv_kernel=[400,10],conv_stride=[320,2],
num_conv_pos_embeddings=4,num_conv_pos_embedding_groups=2},lora={r=2,targets=["q_proj"]}}"""


def test_a_lora_that_its_layer_is_read_past(make_run, tmp_path):
    """WavLM's attention takes the weights of its projections and never calls them."""
    front = "frontend={name='wave16k'}"
    learn = "phase.encoder.train=['encoder.*lora_*']"
    run = make_run(tmp_path, *QUICK, front, WAVLM.replace("\n", ""), learn, "augment={}")
    (line,) = (n for n in loop.train(run, until="encoder").notices if "gradient" in n)
    assert "phase encoder: 2 LoRA weights never had a gradient, encoder." in line


@pytest.mark.parametrize("texts", [["привет", "мир"], ["low", "мир"]])
def test_answers_outside_the_vocabulary(make_run, tmp_path, capsys, texts):
    run = make_run(tmp_path / "exp", *QUICK)
    rows = [{**row, "text": texts[i % 2]} for i, row in enumerate(run.manifests["train"])]
    write(tmp_path / "train.jsonl", rows)
    run.manifests["train"] = Manifest(tmp_path / "train.jsonl")
    (line,) = (line for line in train(run, capsys)[0] if "tokenizer" in line)
    wrong = sum(row["text"] != "low" for row in rows)
    first = next(row for row in rows if row["text"] != "low")
    assert f"{wrong} of {len(rows)} answers hold nothing that the tokenizer knows" in line
    assert f"such as {first['text']!r} ({first['id']})" in line


def test_targets_longer_than_their_steps(make_run, tmp_path, capsys):
    """Named once, counted in the log and in the summary, and not in the loss."""
    run = make_run(tmp_path / "exp", *QUICK, "phase.encoder.steps=2")
    for name in ("train", "valid"):
        row = {**run.manifests[name][0], "id": "toolong", "text": "low mid high say write " * 8}
        write(tmp_path / f"{name}.jsonl", [row, *list(run.manifests[name])[1:3]])
        run.manifests[name] = Manifest(tmp_path / f"{name}.jsonl")
    found = loop.train(run, until="encoder")
    lines = capsys.readouterr().out.splitlines()
    assert sum("ctc: toolong has more target tokens than steps" in line for line in lines) == 1
    log = [json.loads(line) for line in (tmp_path / "exp/log.jsonl").read_text().splitlines()]
    valid = [line["valid"] for line in log if "valid" in line]
    assert [v["ctc/left_out"] for v in valid] == [1] * len(valid) and valid[-1]["ctc"] > 1
    (line,) = found.notices
    assert line.startswith("phase encoder: targets left out of loss and count") and "ctc " in line
