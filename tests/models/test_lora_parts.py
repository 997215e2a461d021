"""LoRA in encoder and adapter, by the table that the LLM has; on a folder that had none."""

import pytest
import torch

from speechllm import config
from speechllm.models import anatomy, filling, heads, lora, store, tiny, whole
from speechllm.models.inject import chosen, linear
from speechllm.models.system import System
from speechllm.models.tokens import load_tokenizer
from speechllm.train import loop, memory, start
from speechllm.train.phases import Learner, phases

PARTS = ("encoder.lora.r=2", "adapter.lora.r=2", 'encoder.lora.targets=["*.0.*_proj"]')
LEARN = "phase.tune.train=['encoder.*lora_*', 'adapter.*lora_*']"


def learned(model):
    return {n.split(".")[0] for n, p in model.named_parameters() if "lora_B" in n and p.any()}


def test_saved_and_loaded_as_before_and_nothing_else_moved(make_run, tiny, tmp_path):
    first = ("phase.encoder.steps=1", "phase.encoder.train=['encoder.*', '!*lora_*']")
    run = make_run(tmp_path, *PARTS, LEARN, *first, "phase.tune.lr=1e-2", "llm.lora={}")
    loop.train(run)
    _, first = store.load(store.find(tmp_path / "encoder"))
    _, last = store.load(store.find(tmp_path))
    assert learned(first) == set() and learned(last) == {"encoder", "adapter"}
    for name, tensor in last.state_dict().items():
        if "lora_" not in name and not name.startswith("heads."):  # a head learns in both phases
            assert torch.equal(tensor, first.state_dict()[name]), name


@pytest.mark.parametrize("pretrained", [False, True])
def test_a_folder_goes_on_with_a_lora_it_had_not(make_run, tmp_path, tiny, pretrained):
    """Weights to the bit under their new names; what LoRA stands for no longer learns."""
    quick = [f"phase.{s}.{k}={v}" for s in ("encoder", "tune") for k, v in
             {"steps": 1, "valid_every": 1, "warmup_steps": 0}.items()]  # fmt: skip
    more = ["llm.lora={}", "phase.tune.train=['adapter.*', 'llm.*']"]
    loop.train(make_run(tmp_path / "whole", *quick, *more))
    if pretrained:  # a borrowed LLM is not in the folder at all
        _, model = store.load(store.find(tmp_path / "whole"))
        model.llm.save_pretrained(tmp_path / "llm")
        more = ["llm.lora={}", f"llm.pretrained={tmp_path / 'llm'}", "llm.config={}"]
        loop.train(make_run(tmp_path / "whole2", *quick, *more, "phase.tune.train=['adapter.*']"))
    folder = tmp_path / ("whole2" if pretrained else "whole")
    _, before = store.load(store.find(folder))
    preset, found = start.read(folder, ["llm.lora.r=2", "encoder.lora.r=2"])
    assert found == store.find(folder)
    added = ("encoder.*lora_*.default.*", "llm.*lora_*.default.*")
    assert [phase.train for phase in phases(preset)] == [added, ("adapter.*", *added)]
    system = System(preset, load_tokenizer(tiny / "bpe"))
    learner = Learner(system.build())
    facts = whole.facts(found)
    heads.attach(learner.model, facts, "test")
    wanted = store.state(system, learner.model, facts["trained"])
    filling.fill(learner.model, wanted, found / "model.safetensors", added=True)
    ours = learner.model.state_dict()
    for name, tensor in before.state_dict().items():
        assert torch.equal(tensor, ours.get(name, ours.get(base(name)))), name


def base(name: str) -> str:
    """Give the name of a weight beside a LoRA."""
    stem, last = name.rsplit(".", 1)
    return f"{stem}.base_layer.{last}"


def test_a_lora_half_there_is_refused(make_run, tmp_path, tiny):
    """Only a LoRA of which a folder has nothing is made anew."""
    loop.train(make_run(tmp_path, "phase.encoder.steps=1"), until="encoder")
    preset, found = start.read(tmp_path, ["llm.lora.targets=['q_proj', 'v_proj', 'k_proj']"])
    system = System(preset, load_tokenizer(tiny / "bpe"))
    model = system.build()
    with pytest.raises(ValueError, match=r"missing: llm\..*k_proj.*lora_A"):
        filling.fill(model, store.state(system, model, []), found / "model.safetensors", added=True)


def test_settings_beside_named_loras_are_one_more():
    """`--set llm.lora.r=8` on what has a LoRA "speech" keeps that, and adds "default"."""
    found = start._apart({"speech": {"r": 4}, "r": 8})
    assert {name: one.r for name, one in lora.read(found).items()} == {"speech": 4, "default": 8}
    assert start._apart({"r": 8}) == {"r": 8}


def test_targets():
    """Ends, longer ends, patterns, none; never what torch reads past its layer."""
    model = torch.nn.ModuleDict({
        "layers": torch.nn.ModuleList(
            torch.nn.ModuleDict({n: torch.nn.Linear(2, 2) for n in ("q_proj", "v_proj", "up")})
            for _ in range(2)
        ),
        "attention": torch.nn.MultiheadAttention(2, 1),
        "out": torch.nn.Linear(2, 2),
    })  # fmt: skip
    assert "attention.out_proj" not in linear(model)
    layers = [f"layers.{i}.{n}" for i in (0, 1) for n in ("q_proj", "v_proj")]
    assert sorted(chosen(model, (), "x")) == layers
    assert chosen(model, ("1.up", "out"), "x") == ["layers.1.up", "out"]
    assert chosen(model, ("*.0.*_proj",), "x") == layers[:2]
    assert chosen(model, ("all-linear",), "x") == linear(model) and len(linear(model)) == 7
    with pytest.raises(ValueError, match=r"x no layer is called '\*.7.\*'; .*q_proj"):
        chosen(model, ("up", "*.7.*"), "x")
    assert chosen(torch.nn.ModuleDict({"mlp": torch.nn.Linear(2, 2)}), (), "x") == ["mlp"]


def test_media_are_for_the_llm_alone(make_run, tmp_path):
    run = make_run(tmp_path, "adapter.lora.media=['audio']", "adapter.lora.r=2")
    with pytest.raises(ValueError, match=r"adapter.lora\] media: only LoRA of the LLM"):
        run.system.build()


def test_counted_at_full_size_and_in_memory():
    """Each LoRA of r stands for r x (in + out) of each of its layers."""
    changes = ("encoder.lora.r=8", "adapter.lora.r=4", "llm.lora={}")
    preset = config.load("slam_asr_whisper", [*changes, 'phase=[{name="x", train=["*lora_*"], '
                         'objectives={language_modelling={}}, steps=1, lr=1e-4}]'])  # fmt: skip
    system, whole = anatomy.outline(preset)
    encoder = 32 * 2 * 8 * (1280 + 1280)  # queries and values of 32 layers
    linears = [m for n, m in whole.adapter.named_modules() if isinstance(m, torch.nn.Linear)]
    adapter = sum(m.weight.numel() for m in linears if 4 in m.weight.shape)
    assert adapter and anatomy.count(whole)["lora"] == encoder + adapter
    small = tiny.system(preset)
    phase, little = next(memory.each_phase(small, small.build()))
    _, large = next(memory.each_phase(system, whole))
    found = memory.training(little, large, phase, memory.batch_of(small, phase, 1, 2.0), True)
    assert found.optimizer == 8 * (encoder + adapter) == 2 * found.gradients
