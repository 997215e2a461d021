"""Model-wide promises: batched = single = any order, saved and loaded = before, loud loading."""

import importlib
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from speechllm import config
from speechllm.data import chat
from speechllm.data.batch import IGNORE
from speechllm.data.collate import collate
from speechllm.decode import search
from speechllm.models import filling, store
from speechllm.models.grouping import encode
from speechllm.models.system import System, has_learned, matches
from speechllm.models.tiny import wake
from speechllm.models.tokens import load_tokenizer
from speechllm.train.phases import phases

TRANSFORMER = """hidden_size=16,num_hidden_layers=1,num_attention_heads=2,intermediate_size=32,
conv_dim=[8,8],conv_kernel=[10,8],conv_stride=[80,4],num_feat_extract_layers=2,
num_conv_pos_embeddings=4,num_conv_pos_embedding_groups=2"""
STABLE = 'do_stable_layer_norm=true,feat_extract_norm="layer"'
WHISPER = """d_model=16,encoder_layers=1,encoder_attention_heads=2,encoder_ffn_dim=32,
num_mel_bins=80,max_source_positions=1500"""
DATA2VEC = """hidden_size=16,num_hidden_layers=1,num_attention_heads=2,intermediate_size=32,
conv_dim=[8,8],conv_kernel=[10,8],conv_stride=[80,4],
num_conv_pos_embeddings=2,conv_pos_kernel_size=5,num_conv_pos_embedding_groups=2"""
AST = """hidden_size=16,num_hidden_layers=1,num_attention_heads=2,intermediate_size=32,
frequency_stride=16,max_length=200,num_mel_bins=80"""
BEATS = """embed_dim=8,encoder_layers=1,encoder_embed_dim=16,encoder_ffn_embed_dim=32,conv_pos=4,
encoder_attention_heads=2,conv_pos_groups=2,num_mel_bins=80"""
FBANK = "name='kaldi_fbank80',offset=-15.41663,divisor=13.11164"
GRANITE = """input_dim=160,num_layers=2,hidden_dim=16,num_heads=2,context_size=10,max_pos_emb=16,
output_dim=12,conv_kernel_size=5"""
PHI4 = """input_size=80,num_blocks=1,hidden_size=16,intermediate_size=24,num_attention_heads=2,
ext_pw_out_channel=16,depthwise_separable_out_channel=16,nemo_conv_channels=4"""
QWEN3 = """d_model=16,encoder_layers=1,encoder_attention_heads=2,encoder_ffn_dim=32,
num_mel_bins=80,downsample_hidden_size=4"""
WAVE, MEL = "frontend={name='wave16k'}", "frontend={name='whisper80'}"
ENCODERS = {
    "conformer": [],
    "ast": [f"frontend={{{FBANK}}}", f"encoder={{name='ast',config={{{AST}}}}}"],
    "beats": [f"frontend={{{FBANK}}}", f"encoder={{name='beats',config={{{BEATS}}}}}"],
    "dual": [
        WAVE,
        f"""encoder={{name='dual',branch=[
{{name='whisper',config={{{WHISPER}}},frontend={{name='whisper80',pad_to_s=30.0}}}},
{{name='beats',config={{{BEATS}}},patches='mean',repeat=8,frontend={{{FBANK}}}}}]}}""",
    ],
    "granite_conformer": [MEL, f"encoder={{name='granite_conformer',config={{{GRANITE}}}}}"],
    "phi4_conformer": [MEL, f"encoder={{name='phi4_conformer',config={{{PHI4}}}}}"],
    "qwen3_asr": [MEL, f"encoder={{name='qwen3_asr',config={{{QWEN3}}}}}"],
    "data2vec_audio": [WAVE, f"encoder={{name='data2vec_audio',config={{{DATA2VEC}}}}}"],
    "whisper": [MEL, f"encoder={{name='whisper',window='variable',config={{{WHISPER}}}}}"],
    "whisper 30 s": [
        "frontend={name='whisper80',pad_to_s=30.0}",
        f"encoder={{name='whisper',window='30s',config={{{WHISPER}}}}}",
    ],
    **{
        f"{name} {norm}": [WAVE, f"encoder={{name='{name}',config={{{TRANSFORMER},{extra}}}}}"]
        for name in ("wav2vec2", "hubert", "wavlm")
        for norm, extra in (("layer", STABLE), ("group", 'feat_extract_norm="group"'))
    },
}
# every adapter of the room with the last of the settings that its own file tries
ADAPTERS = {
    name: importlib.import_module(f"speechllm.models.adapters.{name}").TINY[-1]
    for name in config.names("models.adapters")
}
FUSIONS = {
    "interleave": {},
    "cross_attention": {"every": 1},
    "flamingo": {"every": 1, "head_norm": True},
    "hybrid": {"every": 1, "thumbnail": 2},
    "expert": {},
}


# a fusion knows no encoder: two of them are tried with each, the others with the first
PAIRS = [
    (encoder, fusion)
    for encoder in ENCODERS
    for fusion in FUSIONS
    if fusion in ("interleave", "cross_attention") or encoder == next(iter(ENCODERS))
]


def one_line(text):
    return text.replace("\n", "")


def part(noun, name, settings):
    """Say which part a preset is changed to."""
    words = [f"{key}={json.dumps(value)}" for key, value in {"name": name, **settings}.items()]
    return f"{noun}={{{','.join(words)}}}"


@pytest.fixture(params=ENCODERS)
def encoder(request):
    return [one_line(change) for change in ENCODERS[request.param]]


@pytest.fixture
def make(make_run, tmp_path):
    """Return a function that makes (run, model in evaluation mode) of the tiny preset, changed."""

    def build(*changes):
        run = make_run(tmp_path, *changes)
        return run, run.system.build().eval()

    return build


def examples_of(run, answer=True):
    made = run.examples(phases(run.system.preset)[1], run.manifests["train"], learning=False)
    made.answer = answer
    return [made.make(0, i) for i in range(5)]


def test_every_fusion_is_tried():
    assert sorted(FUSIONS) == config.names("models.fusion"), "add small settings of each fusion"


@pytest.mark.parametrize(("encoder", "fusion"), PAIRS, indirect=["encoder"])
@torch.no_grad()
def test_alone_is_as_in_any_batch_in_any_order(make_run, tmp_path, encoder, fusion):
    """With every adapter; the encoder, which knows none of them, is built and runs once."""
    model = states = None
    for adapter, settings in ADAPTERS.items():
        parts = (part("adapter", adapter, settings), part("fusion", fusion, FUSIONS[fusion]))
        run = make_run(tmp_path, *encoder, *parts)
        model = model or wake(run.system.build().eval())
        embedding = model.llm.get_input_embeddings()
        model.adapter = run.system.adapter.build(run.system.encoder.dim, embedding).eval()
        examples, pad = examples_of(run), run.system.tokenizer.pad_token_id
        assert len({e.lengths[0] for e in examples}) > 1, (
            "lengths must differ for this to be a test"
        )
        orders = [*([i] for i in range(5)), [0, 1, 2, 3, 4], [4, 2, 0, 3, 1]]
        batches = [collate([examples[i] for i in order], pad) for order in orders]
        states = states or [encode(model.encoder, *b.media["audio"]) for b in batches]
        alone = {}
        for order, batch, known in zip(orders, batches, states, strict=True):
            result = model(batch)
            result._states = {"audio": known}
            for place, i in enumerate(order):
                found = result.logits[result.places[0] == place]
                wanted = alone.setdefault(i, found)
                say = f"{adapter}: {{}}".format
                torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4, msg=say)


@pytest.mark.parametrize("fusion", FUSIONS)
@torch.no_grad()
def test_generated_alone_is_as_generated_in_a_batch(make, fusion):
    run, model = make(part("fusion", fusion, FUSIONS[fusion]))
    wake(model)
    pad, builder = run.system.tokenizer.pad_token_id, run.builder()
    examples = examples_of(run, answer=False)
    bounds = [4, 9, 6, 12, 5]
    for beams in (1, 3):
        config = search.Config(num_beams=beams)
        together = search.answers(model(collate(examples, pad)), bounds, builder.stops, pad, config)
        for example, bound, answer in zip(examples, bounds, together, strict=True):
            result = model(collate([example], pad))
            assert search.answers(result, [bound], builder.stops, pad, config) == [answer]
            assert len(answer.ids) <= bound


@torch.no_grad()
def test_a_loop_is_cut(make):
    run, model = make()
    pad, builder = run.system.tokenizer.pad_token_id, run.builder()
    prompt = collate(examples_of(run, answer=False)[:1], pad)
    table = torch.zeros_like(model.llm.get_input_embeddings().weight)
    model.llm.get_input_embeddings().weight.copy_(table)  # all logits are 0: the first id, for ever
    answer = search.answers(model(prompt), [60], builder.stops, pad)[0]
    assert (len(answer.ids), answer.stop) == (10, "loop")
    unguarded = search.Config(max_repeats=0)
    answer = search.answers(model(prompt), [60], builder.stops, pad, unguarded)[0]
    assert (len(answer.ids), answer.stop) == (60, "length")


def test_logits_stand_only_where_they_are_wanted(make):
    run, model = make()
    batch = collate(examples_of(run), run.system.tokenizer.pad_token_id)
    result = model(batch)
    assert len(result.logits) == len(result.targets) == (batch.labels != IGNORE).sum()
    with result.joined() as embeddings:
        whole = model.llm(
            inputs_embeds=embeddings,
            attention_mask=batch.segments,
            position_ids=batch.positions,
        ).logits
    torch.testing.assert_close(result.logits, whole[result.places])


@pytest.fixture(params=FUSIONS)
def saved(request, make, tmp_path):
    run, model = make(part("fusion", request.param, FUSIONS[request.param]))
    wake(model)
    trained = [["*"]]
    tensors = {"model": store.state(run.system, model, trained)}
    store.save(tmp_path / "m", run.system, tensors, {"trained": trained})
    return run, model, tmp_path / "m"


@torch.no_grad()
def test_saved_and_loaded_is_as_before(saved):
    run, model, folder = saved
    system, again = store.load(folder)
    batch = collate(examples_of(run), run.system.tokenizer.pad_token_id)
    assert torch.equal(model(batch).logits, again(batch).logits)
    assert system.preset.tables == {**run.system.preset.tables, "preset": "tiny"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.pop("adapter.linear1.bias"), "missing: adapter.linear1.bias"),
        (lambda t: t.update(more=torch.zeros(1)), "unexpected: more"),
        (
            lambda t: t.update({"adapter.linear1.bias": torch.zeros(3)}),
            r"other shape: adapter.linear1.bias \(3,\) for \(32,\)",
        ),
    ],
)
def test_keys_that_do_not_fit_are_listed(saved, change, says):
    folder = saved[2]
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    facts = json.loads((folder / "checkpoint.json").read_text())
    del facts["files"]  # their digests: the change is meant
    (folder / "checkpoint.json").write_text(json.dumps(facts))
    with pytest.raises(ValueError, match=says):
        store.load(folder)


def test_a_truncated_file_and_no_checkpoint_at_all(saved, tmp_path):
    file = saved[2] / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ValueError, match="damaged|cut short|cannot be read"):
        store.load(saved[2])
    with pytest.raises(ValueError, match="is not a checkpoint of speechllm"):
        store.load(tmp_path / "nothing")


def test_pretrained_parts_are_borrowed_and_come_back(make_run, tiny, tmp_path):
    """Frozen pretrained weights are not copied; LoRA and adapter are, and all comes back."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = load_tokenizer(tiny / "bpe")
    llm = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=2,
        )
    )  # fmt: skip
    llm.save_pretrained(tmp_path / "llm")
    tokenizer.save_pretrained(tmp_path / "llm")
    preset = config.load(
        tiny / "tiny.toml", [f"llm.pretrained={tmp_path / 'llm'}", "llm.config={}"]
    )
    system = System(preset, tokenizer)
    model = system.build()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_()
    kept = store.state(system, model, [["adapter.*", "*lora_*"]])
    assert {k.split(".")[0] for k in kept} == {"encoder", "adapter", "llm"}
    assert all("lora_" in k for k in kept if k.startswith("llm."))
    store.save(tmp_path / "m", system, {"model": kept}, {"trained": [["adapter.*", "*lora_*"]]})
    _, again = store.load(tmp_path / "m")
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    shutil.rmtree(tmp_path / "llm")
    with pytest.raises(ValueError, match="llm"):
        store.load(tmp_path / "m")


def test_patterns():
    phases = [["llm.*", "!*lora_*"], ["llm.*lora_*"]]
    assert has_learned("llm.a", phases[:1]) and not has_learned("llm.lora_A", phases[:1])
    assert has_learned("llm.lora_A", phases)
    assert matches("llm.a.lora_A", ["llm.*"])
    assert not matches("llm.a.lora_A", ["llm.*", "!*lora_*"])
    assert not matches("encoder.x", ["llm.*"])


def test_soft_tokens_start_at_the_norm_of_text(make):
    from speechllm.train.health import norms

    run, model = make()
    batch = collate(examples_of(run), run.system.tokenizer.pad_token_id)
    soft, text = norms(model(batch))
    assert soft == pytest.approx(text, rel=0.2)


def test_the_one_length_function_is_the_real_length(make, encoder):
    run, model = make(*encoder)
    batch = collate(examples_of(run), run.system.tokenizer.pad_token_id)
    lengths = model(batch).tokens[1].tolist()
    assert lengths == batch.slots[:, 2].tolist()


def test_chat_of_a_saved_model_is_that_of_training(saved):
    system = store.system_of(saved[2])
    assert system.preset.section("chat", chat.Config) == chat.Config(
        user="{}<unk>", assistant="{}</s>"
    )


def test_loading_draws_nothing():
    """Weights that are about to be read are zeros until then, not drawn."""
    with filling.Blank():
        model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Embedding(5, 6))
    assert isinstance(model[0].weight, torch.nn.Parameter)
    assert not any(parameter.any() for parameter in model.parameters())
