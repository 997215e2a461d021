"""Ways out: LoRA beside and merged, parts, the mean of checkpoints; `tests/models/families` goes
out and back for each family."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch
import transformers
from peft import PeftModel

from speechllm import cli, config
from speechllm.cli import measured
from speechllm.data import manifest
from speechllm.data.manifest import Manifest
from speechllm.decode.speech import Speech
from speechllm.models import average, export, filling, quantised, store
from speechllm.models import tiny as forms
from speechllm.models.importing import bring
from speechllm.models.leaving import Leaving
from speechllm.models.system import System
from speechllm.models.tiny import wake
from tests.models.families import conftest as kit

SPECIALS = ["<|audio_bos|>", "<|AUDIO|>", "<|audio_eos|>"]
IDS = torch.arange(20, 60)[None]


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A small Qwen2-Audio as the Hub has it."""
    torch.manual_seed(0)
    tokenizer = kit.tokenizer_of(
        [*kit.CHATML, *SPECIALS], eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    made = transformers.Qwen2AudioForConditionalGeneration(
        transformers.Qwen2AudioConfig(
            audio_config={"model_type": "qwen2_audio_encoder", **kit.WHISPER},
            text_config={"model_type": "qwen2", **kit.TEXT, "hidden_size": 64},
            audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
        )
    )
    return kit.published(made, tmp_path_factory.mktemp("export") / "published", tokenizer)


@pytest.fixture(scope="module")
def tuned(published):
    """The same imported, with a LoRA that has learned; it does not say where it came from."""
    bring(str(published), published.parent / "ours")
    changes = ["llm.lora.r=4", "llm.lora.targets=['q_proj','v_proj','down_proj']"]
    preset = config.load(published.parent / "ours" / "preset.toml", changes)
    return keep(preset, published.parent / "ours", published.parent / "tuned")


def keep(preset, before, folder):
    """Save a model with the weights of a folder and a LoRA that says something."""
    system = System(preset, store.system_of(before).tokenizer)
    model = system.build()
    wanted = store.state(system, model, [["*"]])
    filling.fill(model, wanted, before / "model.safetensors", added=True)
    wake(model)
    store.save(folder, system, {"model": wanted}, {"trained": [["*"]]})
    return folder


def theirs(folder):
    kind = transformers.Qwen2AudioForConditionalGeneration
    model, told = kind.from_pretrained(folder, output_loading_info=True)
    assert not told["missing_keys"] and not told["unexpected_keys"]
    return model.eval()


@torch.no_grad()
def ours(folder):
    """Logits, and ten greedy tokens, of our LLM."""
    _, model = store.load(folder)
    return model.llm(input_ids=IDS).logits, greedy(model.llm)


@torch.no_grad()
def greedy(model):
    return model.generate(IDS, max_new_tokens=10, do_sample=False, eos_token_id=-1, pad_token_id=0)


@torch.no_grad()
def same(model, wanted) -> None:
    torch.testing.assert_close(model(input_ids=IDS).logits, wanted[0], atol=1e-4, rtol=0)
    assert torch.equal(greedy(model), wanted[1])


def test_lora_goes_out_merged_beside_and_alone(published, tuned, tmp_path, capsys):
    wanted, plain = ours(tuned), ours(published.parent / "ours")
    assert (wanted[0] - plain[0]).abs().max() > 0.01
    call = ["export", str(tuned), "--like", str(published), "--to"]
    assert cli.main([*call, "transformers", "--merge", "--out", str(tmp_path / "merged")]) == 0
    assert "LoRA default merged" in capsys.readouterr().out
    same(theirs(tmp_path / "merged"), wanted)
    assert cli.main([*call, "transformers", "--out", str(tmp_path / "base")]) == 0
    same(theirs(tmp_path / "base"), plain)
    beside = PeftModel.from_pretrained(theirs(tmp_path / "base"), tmp_path / "base" / "lora")
    same(beside, wanted)
    assert cli.main([*call, "peft", "--out", str(tmp_path / "lora")]) == 0
    same(PeftModel.from_pretrained(theirs(published), tmp_path / "lora"), wanted)
    settings = json.loads((tmp_path / "lora" / "adapter_config.json").read_text())
    assert settings["r"] == 4 and settings["base_model_name_or_path"] == str(published)
    # an end of a name would be the encoder's, too
    assert all("language_model" in name for name in settings["target_modules"])
    page = (tmp_path / "merged" / "README.md").read_text()
    assert page.startswith("---\n") and "Not scored." in page and str(tmp_path) not in page


def test_what_cannot_go_out_is_said(published, tuned, tmp_path, capsys):
    def refused(*words) -> str:
        assert cli.main(["export", *map(str, words), "--out", str(tmp_path / "x")]) == 2
        assert not (tmp_path / "x").exists()
        return capsys.readouterr().err

    assert "--like" in refused(tuned, "--to", "transformers")
    plain = published.parent / "ours"
    assert "no LoRA" in refused(plain, "--to", "peft", "--like", published)
    gated = config.load(plain / "preset.toml", ["llm.lora.r=2", "llm.lora.media=['audio']"])
    folder = keep(gated, plain, tmp_path / "gated")
    words = folder, "--to", "transformers", "--like", published, "--merge"
    assert "only beside its media" in refused(*words)
    small = {**kit.TEXT, "hidden_size": 24}
    other = transformers.Qwen2AudioConfig(
        audio_config={"model_type": "qwen2_audio_encoder", **kit.WHISPER},
        text_config={"model_type": "qwen2", **small},
    )
    transformers.Qwen2AudioForConditionalGeneration(other).save_pretrained(tmp_path / "other")
    said = refused(tuned, "--to", "transformers", "--like", tmp_path / "other")
    assert "is not what" in said and "was imported from" in said


@pytest.fixture
def small(tiny, tmp_path):
    """Make two checkpoints of a tiny system of our own."""
    system = System.open(config.load(tiny / "tiny.toml"), str(tiny / "bpe"))
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = wake(system.build())
        tensors = {"model": store.state(system, model, [["*"]])}
        store.save(tmp_path / f"m{seed}", system, tensors, {"trained": [["*"]]})
    return tmp_path / "m0", tmp_path / "m1"


def test_parts_are_what_auto_classes_read(small, tmp_path):
    done = export.to_parts(small[0], tmp_path / "merged")
    assert done.merged == ("default",)
    llm = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "merged" / "llm").eval()
    ids = IDS % 30
    with torch.no_grad():
        _, model = store.load(small[0])
        torch.testing.assert_close(llm(ids).logits, model.llm(ids).logits, atol=1e-5, rtol=0)
    words = transformers.AutoTokenizer.from_pretrained(tmp_path / "merged" / "llm")
    assert words.decode(words("low mid").input_ids) == "low mid"
    export.to_parts(small[0], tmp_path / "apart", merge=False)
    base = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "apart" / "llm")
    beside = PeftModel.from_pretrained(base, tmp_path / "apart" / "lora").eval()
    with torch.no_grad():
        torch.testing.assert_close(beside(ids).logits, model.llm(ids).logits, atol=1e-5, rtol=0)


def test_mean_of_checkpoints(small, tmp_path, capsys):
    out = tmp_path / "mean"
    assert cli.main(["merge", *map(str, small), "--out", str(out)]) == 0
    states = [store.load(folder)[1].state_dict() for folder in (*small, out)]
    for name, tensor in states[2].items():
        wanted = (states[0][name].double() + states[1][name].double()) / 2
        torch.testing.assert_close(tensor.double(), wanted, atol=1e-7, rtol=1e-6)
    assert cli.main(["merge", str(small[0]), "--out", str(tmp_path / "y")]) == 2
    assert "two checkpoints" in capsys.readouterr().err


def test_mean_of_another_model_is_refused(small, published, tuned, tmp_path):
    with pytest.raises(ValueError, match="not of the model"):
        average.average([small[0], tuned], tmp_path / "z")


def test_last_of_a_run(small, tmp_path):
    for step in (2, 4, 6):
        (tmp_path / "run" / f"step-{step:08d}").parent.mkdir(exist_ok=True)
        target = tmp_path / "run" / f"step-{step:08d}"
        target.mkdir()
        for path in small[0].rglob("*"):
            if path.is_file():
                (target / path.relative_to(small[0])).parent.mkdir(exist_ok=True)
                (target / path.relative_to(small[0])).write_bytes(path.read_bytes())
        facts = json.loads((target / "checkpoint.json").read_text())
        facts["progress"] = {"best_step": 2}
        (target / "checkpoint.json").write_text(json.dumps(facts))
    assert [p.name for p in average.last(tmp_path / "run", 2)] == ["step-00000004", "step-00000006"]
    with pytest.raises(ValueError, match="holds 3 checkpoints"):
        average.last(tmp_path / "run", 4)


def test_quantised_parts_are_scored_before_and_after(small, tiny, tmp_path, capsys):
    """As the card says; what is written is what is opened again, and less than half as large."""
    words = ["export", str(small[0]), "--to", "parts", "--quantize", "int8"]
    said = [*words, "--merge", "--measure", str(tiny / "valid.jsonl"), "--out", str(tmp_path / "q")]
    assert cli.main(said) == 0
    card = (tmp_path / "q/README.md").read_text()
    scores = re.findall(r"^\| (?:before|int8) \| ([\d.]+) MB \| WER ([\d.]+) % \|$", card, re.M)
    assert len(scores) == 2 and float(scores[1][0]) < 0.6 * float(scores[0][0])
    assert card.count("%WER ") == 2 and "before: %WER" in capsys.readouterr().out
    llm = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "q/llm").eval()
    _, model = store.load(small[0])
    with torch.no_grad():
        ours, theirs = model.llm(IDS % 30).logits, llm(IDS % 30).logits
    assert 0 < (ours - theirs).abs().max() < 0.05 * ours.abs().max()
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "q/llm")("low").input_ids
    refused = [*words, "--out", str(tmp_path / "x")]
    assert cli.main(refused) == 2
    assert "wants --merge" in capsys.readouterr().err and not (tmp_path / "x").exists()


@pytest.mark.parametrize("kind, step", [("int8", 1 / 127), ("int4", 1 / 7)])
def test_quantised_import_is_what_its_class_opens(published, tuned, tiny, tmp_path, kind, step):
    """Its LLM's layers are within a step of ours, all else the same; it computes what they say."""
    call = ["export", str(tuned), "--like", str(published), "--to", "transformers", "--merge"]
    assert cli.main([*call, "--out", str(tmp_path / "whole")]) == 0
    manifest.write(tmp_path / "few.jsonl", [Manifest(tiny / "valid.jsonl")[0]])
    more = ["--quantize", kind, "--measure", str(tmp_path / "few.jsonl")]
    assert cli.main([*call, *more, "--out", str(tmp_path / "few")]) == 0
    card = (tmp_path / "few/README.md").read_text()
    row = rf"^\| (?:before|{kind}) \| ([\d.]+) MB \| WER ([\d.]+) % \|$"
    sizes = [float(size) for size, _ in re.findall(row, card, re.M)]
    assert len(sizes) == 2 and sizes[1] < sizes[0]
    whole, opened = theirs(tmp_path / "whole"), theirs(tmp_path / "few")
    with torch.no_grad():
        logits, exact = opened(input_ids=IDS).logits, whole.state_dict()
        for name, weight in quantised.reopen(tmp_path / "few", type(whole)).state_dict().items():
            weight, before = quantised.dense(weight), exact[name].clone()
            exact[name].copy_(weight)
            if "language_model" not in name or not name.endswith("proj.weight"):
                assert torch.equal(weight, before), name
                continue
            assert 0 < (weight - before).abs().mean() < before.abs().max() * step / 2, name
        torch.testing.assert_close(logits, whole(input_ids=IDS).logits, atol=1e-4, rtol=1e-4)
        ours = Leaving(tuned, str(published))
        measured.take_weights(ours, quantised.reopen(tmp_path / "few", type(whole)))
        torch.testing.assert_close(ours.model.llm(IDS).logits, logits, atol=1e-4, rtol=1e-4)
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "few")("low").input_ids


RUN = """
import runpy, sys

class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("speechllm", "features"):
            raise ImportError(f"{name} is not here")

sys.meta_path.insert(0, Without())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("preset", ["slam_asr_whisper", "slam_asr_hubert"])
def test_parts_of_slam_speak_for_themselves(preset, tmp_path):
    """In a process that has neither speechllm nor features, for sounds of three lengths."""
    system = forms.system(config.changed(config.load(preset), ["adapter.norm=rms"]))
    model = wake(system.build())
    tensors = {"model": store.state(system, model, [["*"]])}
    store.save(tmp_path / "m", system, tensors, {"trained": [["*"]]})
    out = tmp_path / "parts"
    assert (
        cli.main(["export", str(tmp_path / "m"), "--to", "parts", "--merge", "--out", str(out)])
        == 0
    )
    speech, paths = Speech(system, model), []
    for k, seconds in enumerate((0.73, 1.5, 2.011)):
        rng = np.random.default_rng(k)
        paths.append(str(tmp_path / f"{k}.wav"))
        soundfile.write(paths[-1], rng.uniform(-0.5, 0.5, round(16000 * seconds)), 16000)
    wanted = [speech.ask(path, max_tokens=8) for path in paths]
    words = [sys.executable, "-c", RUN, str(out / "transcribe.py"), *paths, "--max-tokens", "8"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == "".join(f"{text}\n" for text in wanted) and any(wanted)


def test_other_shapes_say_why_they_have_no_script(small, tmp_path, capsys):
    assert cli.main(["export", str(small[0]), "--to", "parts", "--out", str(tmp_path / "o")]) == 0
    assert "no script that runs without speechllm: its" in capsys.readouterr().out
    assert not (tmp_path / "o/transcribe.py").exists()
