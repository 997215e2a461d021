"""`speechllm import`: what is refused and what is written; its folder lives like any other."""

import importlib
import json
import re
import shutil

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from speechllm import cli, config
from speechllm.data.chat import Builder
from speechllm.models import importing, shards, store
from speechllm.models.families._unread import unread
from speechllm.models.system import System

prove = importlib.import_module("speechllm.cli.import").prove

SPECIALS = ["<|audio_bos|>", "<|AUDIO|>", "<|audio_eos|>"]


@pytest.fixture(scope="module")
def published(kit, room):
    """A small Qwen2-Audio in three shards, in bfloat16."""
    torch.manual_seed(0)
    tokenizer = kit.tokenizer_of(
        [*kit.CHATML, *SPECIALS], eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    config = transformers.Qwen2AudioConfig(
        audio_config={"model_type": "qwen2_audio_encoder", **kit.WHISPER},
        text_config={"model_type": "qwen2", **kit.TEXT},
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
    )
    model = transformers.Qwen2AudioForConditionalGeneration(config).bfloat16()
    folder = room / "published"
    model.save_pretrained(folder, max_shard_size="90KB")
    tokenizer.save_pretrained(folder)
    assert len(list(folder.glob("*.safetensors"))) > 2
    return folder


@pytest.fixture
def broken(published, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(published, tmp_path / "broken")


def change(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def refused(folder, match):
    with pytest.raises(ValueError, match=match) as error:
        importing.bring(str(folder), folder.parent / "out")
    assert "\n" not in str(error.value)
    assert {p.name for p in folder.parent.iterdir()} == {"broken"}  # nothing half-written


def test_every_family_says_what_it_is():
    for name in config.names(importing.ROOM):
        module = importing.find(name, "x")
        if not hasattr(module, "read"):  # its config.json is transformers' own
            known = transformers.CONFIG_MAPPING
            name = name if name in known else name.replace("_", "-")
            assert known[name].model_type == name
        assert module.__doc__ and module.RENAME and isinstance(module.IGNORE, tuple)


def test_unknown_family_is_told_the_known_ones(broken):
    change(broken, model_type="qwen2_audi")
    refused(broken, "'qwen2_audi' is no family we can import; did you mean 'qwen2_audio'")
    with pytest.raises(ValueError, match="no such folder"):
        importing.bring(str(broken / "nowhere"), broken / "out")


def test_shards_that_are_missing_or_cut_short(broken):
    shard = sorted(broken.glob("*.safetensors"))[1]
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    refused(broken, f"{shard.name}: cut short")
    shard.unlink()
    refused(broken, f"{shard.name}: no such file")
    names = list(load_file(sorted(broken.glob("*.safetensors"))[0]))
    save_file({name: torch.zeros(1) for name in names}, shard)
    refused(broken, f"{shard.name} lacks ")


def test_checkpoint_of_another_size_lists_what_differs(broken):
    fields = json.loads((broken / "config.json").read_text())
    change(broken, text_config={**fields["text_config"], "intermediate_size": 80})
    refused(broken, r"other shape: llm.model.layers.0.mlp.down_proj.weight \(48, 64\) for \(48, 80")
    for layers, says in ((1, "left over: .*layers.1"), (3, r"missing: llm.model.layers.2.* more")):
        size = {"num_hidden_layers": layers, "layer_types": ["full_attention"] * layers}
        change(broken, text_config={**fields["text_config"], **size})
        refused(broken, says)
    change(broken, text_config={**fields["text_config"], "layer_types": ["full_attention"]})
    refused(broken, "config.json: .*layer_types")


def test_what_config_json_asks_for_and_an_import_would_pass_over(broken):
    fields = json.loads((broken / "config.json").read_text())
    change(broken, audio_config={**fields["audio_config"], "activation_function": "relu"})
    refused(broken, "another activation than gelu")
    # a field that no table is made of; today's families read all of theirs, so one is added
    published = importing.read(fields, "x")
    tables = importing.find("qwen2_audio", "x").tables
    assert not unread(published, tables)
    published.audio_config.max_source_positions = 1000
    assert not unread(published, tables)
    blind = unread(published, lambda config: tables(importing.read(fields, "x")))
    assert "audio_config.max_source_positions = 1000" in blind
    assert not any("dropout" in field or "token" in field for field in blind)


def test_an_import_ends_by_opening_what_it_wrote(published, tmp_path, capsys):
    cli.main(["import", str(published), "--out", str(tmp_path / "ours")])
    assert re.search(r"opened again: a prompt of one second is \d+ tokens", capsys.readouterr().out)
    preset = tmp_path / "ours" / "preset.toml"
    preset.write_text(preset.read_text().replace("<|im_start|>user", "<|AUDIO|>"))
    facts = tmp_path / "ours" / "checkpoint.json"
    facts.write_text(json.dumps({**json.loads(facts.read_text()), "files": {}}))
    with pytest.raises(ValueError, match="was written, but cannot be used: a text holds"):
        prove(tmp_path / "ours")
    weights = tmp_path / "ours" / "model.safetensors"
    save_file({"x": torch.ones(1)}, weights)
    with pytest.raises(ValueError, match="does not fit this preset .missing: adapter"):
        prove(tmp_path / "ours")


def test_out_that_exists(published, tmp_path):
    with pytest.raises(ValueError, match="exists; choose another --out"):
        importing.bring(str(published), tmp_path)


def test_dtypes_and_progress(published, tmp_path):
    """The LLM keeps its precision, or takes the one asked for; all else is float32."""
    seen = []
    importing.bring(str(published), tmp_path / "a", progress=lambda *now: seen.append(now))
    size = (tmp_path / "a" / "model.safetensors").stat().st_size
    assert seen == sorted(seen) and seen[-1][0] == seen[-1][1] < size
    dtypes = {
        n.split(".")[0]: t.dtype for n, t in load_file(tmp_path / "a/model.safetensors").items()
    }
    assert dtypes == {
        "encoder": torch.float32, "adapter": torch.float32, "llm": torch.bfloat16,
    }  # fmt: skip
    importing.bring(str(published), tmp_path / "b", dtype="float32")
    _, model = store.load(tmp_path / "b")
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_all_tokens_that_end_an_answer(broken, tmp_path):
    """Those of its generation settings; each ends an answer of ours."""
    (broken / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 0]}))
    importing.bring(str(broken), tmp_path / "ours")
    system = store.system_of(tmp_path / "ours")
    assert system.preset.table("chat")["stops"] == ["<|im_end|>", "<|endoftext|>"]
    assert Builder.of(system).stops == {2, 0}
    bad = config.changed(system.preset, ["chat.stops=['<|eot|>']"])
    with pytest.raises(ValueError, match="stops: '<|eot|>' is no token of the tokenizer"):
        Builder.of(System(bad, system.tokenizer))


def test_read_into_places_of_the_same_and_another_kind(tmp_path):
    """As safetensors reads them, whatever the dtype and the layout of the place."""
    tensors = {
        "a": torch.randn(3, 5), "b": torch.tensor(7), "c": torch.randn(2, 3).bfloat16(),
        "d": torch.randn(4, 2), "e": torch.randn(2, 6), "empty": torch.zeros(0, 4),
    }  # fmt: skip
    save_file(tensors, tmp_path / "x.safetensors")
    places = {name: torch.full_like(tensor, 9) for name, tensor in tensors.items()}
    places["d"], places["e"] = places["d"].double(), torch.zeros(6, 2).T
    shards.read_into(tmp_path / "x.safetensors", places)
    for name, tensor in tensors.items():
        assert torch.equal(places[name], tensor.to(places[name].dtype)), name


def test_stream_writes_what_safetensors_reads(tmp_path):
    tensors = {
        "a": torch.randn(3, 5), "b": torch.tensor(7), "empty": torch.zeros(0, 4),
        "c": torch.randn(2, 2).bfloat16(),
    }  # fmt: skip
    shards.stream(tmp_path / "x.safetensors", tensors, tensors.__getitem__)
    found = load_file(tmp_path / "x.safetensors")
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


def test_command_decodes_trains_and_loads(published, tiny, tmp_path, capsys):
    """The folder decodes; a tuning goes on from its weights, and what it saves decodes as well."""

    def call(*words):
        assert not cli.main([str(word) for word in words]), capsys.readouterr().err

    out, exp = tmp_path / "ours", tmp_path / "exp"
    call("import", published, "--out", out, "--dtype", "float32")
    said = capsys.readouterr().out
    assert "whisper128" in said and "qwen2_audio" in said and "pool" in said
    common = ("--workers", 0, "--device", "cpu")
    call("decode", out, tiny / "valid.jsonl", "--max-tokens-per-s", 4, *common)
    lines = (out / "decode_valid" / "hyp.jsonl").read_text().splitlines()
    assert len(lines) == 5
    data = [f"--data={name}={tiny / name}.jsonl" for name in ("train", "valid")]
    short = ("--set", "phase.tune.steps=2", "--set", 'phase.tune.train=["adapter.*"]')
    call("train", out, *data, *short, "--set", "phase.tune.lr=1e-6", "--out", exp, *common)
    before = load_file(out / "model.safetensors")
    after = load_file(sorted(exp.glob("tune/step-*"))[-1] / "model.safetensors")
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and all(name.startswith("adapter.") for name in moved)
    assert max((before[name] - after[name]).abs().max() for name in moved) < 1e-4
    call("decode", exp, tiny / "valid.jsonl", "--max-tokens-per-s", 4, *common)
