"""Gated cross-attention: a loop over positions, many LLMs, gates at zero, caches, packing."""

import copy

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from speechllm import config
from speechllm.decode.run import Options, decode
from speechllm.models import store
from speechllm.models.fusion.cross_attention import Config
from speechllm.models.llm import Config as LLMConfig
from speechllm.train import loop

H, V = 32, 60
PLAIN = {"hidden_size": H, "intermediate_size": 48, "num_hidden_layers": 4}
HEADS = {**PLAIN, "num_attention_heads": 4}
GROUPED = {**HEADS, "num_key_value_heads": 2}
GEMMA = {**GROUPED, "head_dim": 8}
LLMS = {
    "llama": GROUPED,
    "qwen2": GROUPED,
    "qwen3": {**GROUPED, "head_dim": 8},
    "mistral": GROUPED,
    "gemma2": GEMMA,
    "gemma3_text": GEMMA,
    "phi3": GROUPED,
    "olmo2": GROUPED,
    "granite": GROUPED,
    "gpt_neox": HEADS,
    "gpt2": {"n_embd": H, "n_layer": 4, "n_head": 4, "n_positions": 64},
    "opt": {
        "hidden_size": H,
        "ffn_dim": 48,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "word_embed_proj_dim": H,
        "max_position_embeddings": 64,
    },
    "bloom": {"hidden_size": H, "n_layer": 4, "n_head": 4},
    "falcon": {"hidden_size": H, "num_hidden_layers": 4, "num_attention_heads": 4},
    "mixtral": {**GROUPED, "num_local_experts": 4},
}
# row 1 has no media; row 0 has two, the later one first
SLOTS = torch.tensor([[2, 4, 3], [0, 6, 5], [0, 1, 2]])


def make_llm(family: str = "llama", **options):
    """Build a tiny LLM of four layers."""
    table = {"config": {"model_type": family, **LLMS[family]}, **options}
    torch.manual_seed(0)
    return config.fill(LLMConfig, table, "test").build(V).eval()


def attached(llm, opened: bool = True, **options):
    """Attach a fusion; `opened` lets its gates do something."""
    torch.manual_seed(1)
    fusion = Config(**{"every": 2, **options}).build()
    fusion.attach(llm)
    if opened:
        open_gates(fusion)
    return fusion.eval()


def open_gates(fusion) -> None:
    for layer in fusion.layers:
        nn.init.constant_(layer.cross_attn_attn_gate, 1.0)
        nn.init.constant_(layer.cross_attn_mlp_gate, -0.7)


def text(rows: int = 3, size: int = 10):
    """Make embeddings (rows, size, H)."""
    return torch.randn(rows, size, H, generator=torch.Generator().manual_seed(2))


def tokens(number: int = 3, size: int = 5):
    """Make soft tokens (number, size, H)."""
    return torch.randn(number, size, H, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("sees", ["all", "last"])
@torch.no_grad()
def test_against_a_loop(sees):
    """Each position by itself over the soft tokens that it sees, without any mask."""
    fusion = attached(make_llm(), sees=sees)
    soft = tokens()
    soft[0, 3:] = float("nan")  # beyond its count
    fusion.join(text(), soft, SLOTS)
    hidden = text() + 1
    (layer, _) = fusion.layers
    found = fusion._media.read(layer, hidden)
    for row in range(3):
        for place in range(10):
            begun = [m for m, (r, s, _) in enumerate(SLOTS.tolist()) if r == row and s <= place]
            begun.sort(key=lambda m: int(SLOTS[m, 1]))
            begun = begun[-1:] if sees == "last" else begun
            wanted = hidden[row : row + 1, place : place + 1]
            if begun:
                states = torch.cat([soft[m, : SLOTS[m, 2]] for m in begun])[None]
                wanted = layer(wanted, states, None, None, None)
            got = found[row : row + 1, place : place + 1]
            torch.testing.assert_close(got, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", LLMS)
@torch.no_grad()
def test_with_gates_at_zero_the_llm_is_untouched(family, dtype):
    """Bit for bit, on the same embeddings; with open gates, text without media still is."""
    llm = make_llm(family, dtype=dtype)
    fusion = attached(llm, opened=False)
    assert len(fusion.layers) == 2
    empty, none = torch.zeros(0, 0, H), torch.zeros(0, 3, dtype=torch.long)
    x = text().to(llm.dtype)
    joined = fusion.join(x, tokens().to(llm.dtype), SLOTS)
    silent = llm(inputs_embeds=joined).logits
    assert torch.equal(silent, make_llm(family, dtype=dtype)(inputs_embeds=joined).logits)
    open_gates(fusion)
    fusion.join(x, tokens().to(llm.dtype), SLOTS)
    moved = (llm(inputs_embeds=joined).logits != silent).any(-1)
    assert moved.tolist() == [[False] + [True] * 9, [False] * 10, [False] * 4 + [True] * 6]
    assert torch.equal(fusion.join(x, empty, none), x)
    assert torch.equal(llm(inputs_embeds=joined).logits, silent)


@torch.no_grad()
def test_slots_hold_the_learned_embedding():
    """As long as text embeddings; all else stays."""
    llm = make_llm()
    fusion = attached(llm)
    x = text()
    before = x.clone()
    joined = fusion.join(x, tokens(), SLOTS)
    for row, start, _ in SLOTS.tolist():
        assert torch.equal(joined[row, start], fusion.place)
        x[row, start] = fusion.place
    assert torch.equal(joined, x) and not torch.equal(x, before)
    scale = llm.get_input_embeddings().weight.square().mean().sqrt()
    assert fusion.place.square().mean().sqrt() == pytest.approx(float(scale), rel=0.4)


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
@torch.no_grad()
def test_cached_is_uncached_and_batched_is_single(family, beams):
    """Generation with left padding: the same tokens, and audio decides which."""
    llm = make_llm(family)
    fusion = attached(llm)
    x, soft = text(), tokens() * 3
    mask = torch.ones(3, 10, dtype=torch.long)
    mask[2, :3] = 0
    options = {"max_new_tokens": 8, "do_sample": False, "num_beams": beams, "pad_token_id": 0}

    def answers(rows, media, cached=True):
        slots = SLOTS[media].clone()
        for new, row in enumerate(rows):
            slots[SLOTS[media][:, 0] == row, 0] = new
        joined = fusion.join(x[rows], soft[media], slots)
        found = llm.generate(
            inputs_embeds=joined, attention_mask=mask[rows], use_cache=cached, **options
        )
        return found.tolist()

    together = answers([0, 1, 2], [0, 1, 2])
    assert answers([0, 1, 2], [0, 1, 2], cached=False) == together
    assert answers([2, 0, 1], [0, 1, 2]) == [together[i] for i in (2, 0, 1)]
    for row, media in enumerate([[1, 2], [], [0]]):
        assert answers([row], media) == [together[row]]
    soft = soft.roll(1, 0)
    other = answers([0, 1, 2], [0, 1, 2])
    assert other[1] == together[1] and other != together


@torch.no_grad()
def test_cached_logits_are_uncached_logits():
    """Prompt, then position after position over the LLM's cache: as the whole at once."""
    llm = make_llm()
    fusion = attached(llm)
    x = fusion.join(text(size=14), tokens(), SLOTS)
    whole = llm(inputs_embeds=x).logits
    fusion.join(x[:, :9], tokens(), SLOTS)
    out = llm(inputs_embeds=x[:, :9], use_cache=True)
    found = [out.logits]
    for i in range(9, 14):
        step = x[:, i : i + 1]
        out = llm(inputs_embeds=step, past_key_values=out.past_key_values, use_cache=True)
        found.append(out.logits)
    torch.testing.assert_close(torch.cat(found, 1), whole, rtol=0, atol=1e-5)


@torch.no_grad()
def test_packed_is_unpacked():
    """Two examples in one row: each sees its own media only."""
    llm = make_llm()
    fusion = attached(llm)
    x, soft = text(2, 6), tokens(2)
    apart = torch.tensor([[0, 1, 5], [1, 2, 4]])
    wanted = llm(inputs_embeds=fusion.join(x, soft, apart)).logits
    segments = torch.tensor([[1] * 6 + [2] * 6])
    slots = torch.tensor([[0, 1, 5], [0, 8, 4]])
    joined = fusion.join(x.reshape(1, 12, H), soft, slots, segments)
    same = segments[:, None, :, None] == segments[:, None, None]
    mask = torch.zeros(1, 1, 12, 12).masked_fill(~(same & torch.ones(12, 12).tril().bool()), -1e9)
    positions = torch.arange(6).repeat(1, 2)
    found = llm(inputs_embeds=joined, attention_mask=mask, position_ids=positions).logits
    torch.testing.assert_close(found.reshape(2, 6, V), wanted, rtol=0, atol=1e-5)


def loss_of(llm, fusion, soft):
    """Sum logits with fixed random weights."""
    logits = llm(inputs_embeds=fusion.join(text(), soft, SLOTS)).logits
    return (logits * torch.randn(logits.shape, generator=torch.Generator().manual_seed(4))).sum()


@pytest.mark.parametrize("opened", [False, True])
def test_gradients(opened):
    """To all with open gates, to the gates first; into the soft tokens, never beyond counts."""
    llm = make_llm().requires_grad_(False)
    fusion = attached(llm, opened)
    soft = tokens().requires_grad_()
    loss_of(llm, fusion, soft).backward()
    for name, p in fusion.named_parameters():
        first = name.endswith("_gate") or name == "place"
        assert bool(p.grad.abs().max() > 0) == (opened or first), name
    assert soft.grad.any(2).tolist() == [
        [opened and k < n for k in range(5)] for n in SLOTS[:, 2].tolist()
    ]


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "gemma2", "mixtral"])
def test_gradient_checkpointing_gives_the_same_gradients(family):
    """The LLM's layers are computed twice, the fusion's once; two joins may stand open."""
    found = []
    for on in (False, True):
        llm = make_llm(family, gradient_checkpointing=on).train().requires_grad_(False)
        fusion = attached(llm)
        both = loss_of(llm, fusion, tokens()) + loss_of(llm, fusion, tokens().roll(1, 0))
        both.backward()
        found.append(torch.cat([p.grad.flatten() for p in fusion.parameters()]))
    torch.testing.assert_close(*found)


def test_lora_and_names():
    """LoRA finds the LLM's layers alone, and the LLM's names stay what they were."""
    llm = make_llm(lora={"r": 2, "targets": ["all-linear"]})
    names = set(llm.state_dict())
    fusion = attached(llm)
    assert set(llm.state_dict()) == names
    assert not any("lora_" in name for name in fusion.state_dict())
    loss_of(llm, fusion, tokens()).backward()
    assert all(p.grad.any() for n, p in llm.named_parameters() if "lora_B" in n)


def test_a_copy_stands_on_its_own():
    """Copied in training, while media are joined: it has its own layers, and no media yet."""
    pair = nn.ModuleDict({"llm": make_llm()})
    pair["fusion"] = attached(pair["llm"])
    joined = pair["fusion"].join(text(), tokens().requires_grad_() * 1, SLOTS)
    wanted = pair["llm"](inputs_embeds=joined).logits
    other = copy.deepcopy(pair)
    for p in pair["fusion"].parameters():
        nn.init.zeros_(p)
    other["fusion"].join(text(), tokens(), SLOTS)
    assert torch.equal(other["llm"](inputs_embeds=joined).logits, wanted)


def test_one_seed_one_set_of_weights_also_without_memory():
    """As parameters are counted at full size: on the meta device nothing is computed."""
    first, second = (attached(make_llm()).state_dict() for _ in range(2))
    assert all(torch.equal(v, second[k]) for k, v in first.items())
    with torch.device("meta"):
        fusion = attached(make_llm(), opened=False)
    assert {k: v.shape for k, v in fusion.state_dict().items()} == {
        k: v.shape for k, v in first.items()
    }


@pytest.mark.parametrize(
    "options,message",
    [
        ({"every": 5}, "every = 5, but the LLM has 4 layers"),
        ({"heads": 5}, "heads 5"),
        ({"kv_heads": 3}, "kv_heads 3"),
    ],
)
def test_an_llm_that_does_not_fit(options, message):
    """Refused where it is attached."""
    with pytest.raises(ValueError, match=message):
        attached(make_llm(), **options)


@pytest.mark.parametrize(
    "wrong", [{"every": 0}, {"heads": -1}, {"kv_heads": -1}, {"ff": -1}, {"sees": "first"}]
)
def test_bad_settings(wrong):
    """Settings that mean nothing are refused, by name."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Config(**wrong)


def test_errors():
    """Slots and media that do not match, a second LLM, text for which nothing was joined."""
    llm = make_llm()
    fusion = attached(llm)
    with pytest.raises(ValueError, match="attached to an LLM already"):
        fusion.attach(make_llm())
    with pytest.raises(ValueError, match="3 slots in the text for 0 media"):
        fusion.join(text(), tokens(0), SLOTS)
    with pytest.raises(ValueError, match="0 slots in the text for 3 media"):
        fusion.join(text(), tokens(), SLOTS[:0])
    with pytest.raises(ValueError, match="for 5 soft tokens, but there are 4"):
        fusion.join(text(), tokens(size=4), SLOTS)
    fusion.join(text(), tokens(), SLOTS)
    with pytest.raises(ValueError, match="joined for 3 rows, but the LLM is given 4"):
        llm(inputs_embeds=text(4))
    wide = make_llm("opt")
    wide.config.hidden_size = 2 * H
    with pytest.raises(ValueError, match="as wide as its layers, got 32 and 64"):
        attached(wide)
    wide.config.num_hidden_layers = 3
    with pytest.raises(ValueError, match="finds no list of 3 layers in OPTForCausalLM"):
        attached(wide)


def test_a_system_trains_saves_and_decodes(make_run, tmp_path):
    """Gates open, the checkpoint holds the fusion by name, and what is loaded is what was saved."""
    run = make_run(
        tmp_path / "run",
        "fusion={name='cross_attention',every=1}",
        "phase.tune.train=['adapter.*','fusion.*']",
    )
    loop.train(run)
    folder = store.find(tmp_path / "run")
    held = load_file(folder / "model.safetensors")
    gates = [name for name in held if name.startswith("fusion.") and name.endswith("_gate")]
    assert len(gates) == 4 and all(held[name].any() for name in gates)
    system, model = store.load(folder)
    assert all(torch.equal(v, held[k]) for k, v in model.state_dict().items() if k in held)
    manifest = run.manifests["valid"]
    decode(system, model, manifest, tmp_path, Options())
    assert len((tmp_path / "hyp.jsonl").read_text().splitlines()) == len(manifest)
