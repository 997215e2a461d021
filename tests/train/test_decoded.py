"""Validation also decodes some utterances and logs their score; training is what it was without."""

import json

import torch
from safetensors.torch import load_file

from speechllm.data.manifest import Manifest
from speechllm.decode.run import Options, decode
from speechllm.models import store
from speechllm.score.run import score_file
from speechllm.train import decoded, loop


def lines(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_logged_is_what_decode_and_score_say_of_the_saved_weights(make_run, tmp_path, tiny):
    run = make_run(tmp_path / "a", "phase.tune.valid_decode=3", "phase.tune.keep='last'")
    loop.train(run)
    loop.train(make_run(tmp_path / "b", "phase.tune.keep='last'"))
    for name in ("model", "optimizer"):
        a, b = (load_file(store.find(tmp_path / e) / f"{name}.safetensors") for e in "ab")
        assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
    valid = [line["valid"] for line in lines(tmp_path / "a") if "valid" in line]
    assert [v.get("decoded") for v in valid] == [None, None, 3, 3]
    system, model = store.load(store.find(tmp_path / "a"))
    part = decoded.some(Manifest(tiny / "valid.jsonl"), 3)
    decode(system, model, part, tmp_path / "again", Options(workers=0, max_batch_s=4.0))
    answers = tmp_path / "again/hyp.jsonl"
    assert valid[-1]["wer"] == score_file(answers, missing="leave").value
    kept = tmp_path / "a/tune/valid_decode/valid/hyp.jsonl"
    texts = [[json.loads(x)["hyp"] for x in f.read_text().splitlines()] for f in (kept, answers)]
    assert texts[0] == texts[1] and len(texts[0]) == 3


def test_rows_are_spread_and_no_more_than_there_are(tiny):
    manifest = Manifest(tiny / "valid.jsonl")
    ids = [row["id"] for row in manifest]
    assert [row["id"] for row in decoded.some(manifest, 3)] == [ids[0], ids[2], ids[4]]
    assert len(decoded.some(manifest, 50)) == 5
