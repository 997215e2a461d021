"""LoRA that is there only with its media: rows and examples without have the plain LLM's logits."""

import copy
from dataclasses import replace

import pytest
import torch

from speechllm import config
from speechllm.data.batch import IGNORE, Batch, Kind
from speechllm.data.collate import collate
from speechllm.models import lora, store
from speechllm.models.llm import Config
from speechllm.models.system import System
from speechllm.train.phases import Learner, phases

LLAMA = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
TWO = {
    "speech": {"r": 4, "alpha": 8, "targets": ["all-linear"], "media": ["audio"]},
    "vision": {"r": 2, "alpha": 8, "targets": ["q_proj", "mlp.up_proj"], "media": ["image"]},
}


def make(table: dict, **more):
    """Build a tiny LLM from seed 0 whose LoRAs all do something."""
    torch.manual_seed(0)
    llm = config.fill(Config, {"config": LLAMA, "lora": table, **more}, "test [llm]").build(50)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in llm.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return llm.eval()


def without(llm, *names: str):
    """Copy an LLM with the named LoRAs set to nothing."""
    made = copy.deepcopy(llm)
    for key, parameter in made.named_parameters():
        if "lora_B" in key and any(f".{name}." in key for name in names):
            torch.nn.init.zeros_(parameter)
    return made


def batch_of(segments: list[list[int]], slots: list, modalities=()) -> Batch:
    """Make a batch of random text; slots are (row, start, count)."""
    segments = torch.tensor(segments)
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(0, 50, segments.shape, generator=generator)
    return Batch(
        ids=ids,
        labels=ids.masked_fill(segments == 0, IGNORE),
        positions=((segments > 0).cumsum(1) - 1).clamp(min=0),
        segments=segments,
        kinds=torch.full(segments.shape, int(Kind.ANSWER), dtype=torch.int8),
        media={},
        slots=torch.tensor(slots, dtype=torch.long).reshape(-1, 3),
        names=tuple("abc"[: len(segments)]),
        modalities=modalities,
    )


def run(llm, batch: Batch, **more):
    """Logits of the LLM for a batch's ids, its LoRAs chosen for the batch."""
    lora.choose(llm, batch)
    mask = batch.segments if batch.segments.max() < 2 else blocks(batch.segments)
    return llm(batch.ids, attention_mask=mask, position_ids=batch.positions, **more).logits


def blocks(segments):
    """Attention within each example of a row: (B, 1, S, S)."""
    size = segments.shape[1]
    same = segments[:, :, None] == segments[:, None]
    return (same & torch.ones(size, size, dtype=torch.bool).tril())[:, None]


THREE = [[0, 0, 1, 1, 1, 1, 1, 1], [1] * 8, [0, 1, 1, 1, 1, 1, 1, 1]]


@torch.no_grad()
def test_a_row_without_media_has_the_plain_logits_bit_for_bit():
    """Beside rows with media; those have what an LLM whose LoRA is always on gives."""
    gated, always = make({**TWO["speech"]}), make({**TWO["speech"], "media": []})
    plain = make({})
    batch = batch_of(THREE, [(1, 2, 3), (1, 6, 1)])
    found, with_lora, untouched = run(gated, batch), run(always, batch), run(plain, batch)
    valid = batch.segments > 0
    for row in (0, 2):
        assert torch.equal(found[row][valid[row]], untouched[row][valid[row]])
    assert torch.equal(found[1], with_lora[1])
    assert (found[1] - untouched[1]).abs().max() > 0.1
    text = replace(batch, slots=batch.slots[:0])
    assert torch.equal(run(gated, text), run(plain, text))


@torch.no_grad()
def test_the_media_of_a_row_choose_its_lora():
    """Speech, vision, both and none in one batch, each as if only its LoRAs had been made."""
    llm = make(TWO)
    batch = batch_of(
        [[1] * 6] * 4,
        [(0, 1, 2), (1, 0, 1), (2, 0, 1), (2, 3, 2)],
        ("audio", "image", "image", "audio"),
    )
    found = run(llm, batch)
    rows = [("vision",), ("speech",), (), ("speech", "vision")]
    both = replace(batch, slots=torch.tensor([[r, 0, 1] for r in range(4)] * 2))
    both = replace(both, modalities=("audio",) * 4 + ("image",) * 4)
    for row, off in enumerate(rows):
        assert torch.equal(found[row], run(without(llm, *off), both)[row]), row
    assert (found[0] - found[1]).abs().max() > 0.1


@torch.no_grad()
def test_examples_of_one_row_do_not_share_a_lora():
    """A text packed behind speech: the LoRA stays with the example that has the medium."""
    llm, plain = make({"speech": TWO["speech"]}), make({})
    batch = batch_of([[0, 1, 1, 1, 2, 2, 2, 2]], [(0, 2, 1)])
    found = run(llm, batch)
    first = batch_of([[1, 1, 1]], [(0, 1, 1)])
    first = replace(first, ids=batch.ids[:, 1:4])
    second = replace(batch_of([[1] * 4], []), ids=batch.ids[:, 4:])
    torch.testing.assert_close(found[:, 1:4], run(llm, first), rtol=0, atol=1e-5)
    torch.testing.assert_close(found[:, 4:], run(plain, second), rtol=0, atol=1e-5)


@pytest.mark.parametrize("beams", [1, 3])
@torch.no_grad()
def test_generated_alone_as_in_a_mixed_batch(beams):
    """With the cache, and with beams side by side; text as without any LoRA."""
    llm, plain = make({"speech": TWO["speech"]}), make({})
    batch = batch_of(THREE, [(1, 2, 3)])
    options = {"max_new_tokens": 9, "do_sample": False, "num_beams": beams, "pad_token_id": 0}

    def answer(model, batch):
        lora.choose(model, batch)
        embeddings = model.get_input_embeddings()(batch.ids)
        found = model.generate(
            inputs_embeds=embeddings, attention_mask=batch.segments, **options, output_logits=True,
            return_dict_in_generate=True,
        )  # fmt: skip
        return found.sequences, torch.stack(found.logits, 1)

    together, logits = answer(llm, batch)
    for row, model in enumerate((plain, llm, plain)):
        keep = batch.segments[row] > 0
        alone = batch_of([[1] * int(keep.sum())], [(0, 2, 3)] * (row == 1))
        alone = replace(alone, ids=batch.ids[row : row + 1, keep])
        ids, one = answer(model, alone)
        assert torch.equal(ids[0], together[row]), row
        if beams == 1:
            torch.testing.assert_close(one[0], logits[row], rtol=0, atol=1e-4)


def test_each_lora_learns_by_pattern(make_run, tmp_path):
    """`llm.*lora_*speech*` is one of them; gradients reach it from rows with its media only."""
    preset = make_run(tmp_path).system.preset
    tables = copy.deepcopy(preset.tables)
    tables["llm"]["lora"] = TWO
    tables["phase"][1] |= {
        "train": ["llm.*lora_*speech*"],
        "objectives": {"language_modelling": {}},
    }
    system = System(config.Preset(tables, preset.source), make_run(tmp_path).system.tokenizer)
    learner = Learner(system.build())
    phase = phases(system.preset)[1]
    learner.check(phase, "test")
    learning = learner.begin(phase, "test", [phase.patterns])
    assert learning and all(".speech." in name for name in learning)
    examples = examples_of(make_run(tmp_path))
    batch = collate(examples, system.tokenizer.pad_token_id)
    assert batch.modalities == ("audio",) * len(examples)
    learner.model(batch).logits.square().sum().backward()
    assert all(p.grad.any() for name, p in learning.items() if "lora_B" in name)
    for p in learning.values():
        p.grad = None
    text = replace(batch, modalities=("image",) * len(examples))
    learner.model(text).logits.square().sum().backward()
    assert not any(p.grad.any() for p in learning.values())


def examples_of(run):
    """Three examples of the tiny corpus."""
    made = run.examples(phases(run.system.preset)[1], run.manifests["train"], learning=False)
    return [made.make(0, i) for i in range(3)]


@torch.no_grad()
def test_saved_and_loaded_is_as_before(make_run, tmp_path):
    """All LoRAs come back, by name; one that is missing is an error that says so."""
    first = make_run(tmp_path)
    tables = copy.deepcopy(first.system.preset.tables)
    tables["llm"]["lora"] = TWO
    system = System(config.Preset(tables, "tiny.toml"), first.system.tokenizer)
    model = system.build().eval()
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.normal_()
    kept = store.state(system, model, [["*"]])
    store.save(tmp_path / "m", system, {"model": kept}, {"trained": [["*"]]})
    again_system, again = store.load(tmp_path / "m")
    assert again_system.llm.loras == system.llm.loras
    batch = collate(examples_of(first), system.tokenizer.pad_token_id)
    assert torch.equal(model(batch).logits, again(batch).logits)
    text = replace(
        system.preset,
        tables={**tables, "llm": {**tables["llm"], "lora": {"speech": TWO["speech"]}}},
    )
    (tmp_path / "m" / "preset.toml").write_text(text.dump())
    (tmp_path / "m" / "checkpoint.json").write_text('{"trained": [["*"]]}')  # changed on purpose
    with pytest.raises(ValueError, match=r"unexpected: llm\.\S*lora_A\.vision"):
        store.load(tmp_path / "m")


def test_recomputed_layers_find_the_gates_as_they_were():
    """Two passes before one backward pass: gradients as without gradient checkpointing."""
    found = []
    for on in (False, True):
        llm = make({"speech": TWO["speech"]}, gradient_checkpointing=on).train()
        one = run(llm, batch_of(THREE, [(1, 2, 3)])).square().sum()
        two = run(llm, batch_of([[1] * 6] * 4, [(0, 1, 1), (3, 2, 2)])).square().sum()
        (one + two).backward()
        found.append([p.grad for p in llm.parameters() if p.requires_grad])
    for plain, again in zip(*found, strict=True):
        torch.testing.assert_close(plain, again)


@torch.no_grad()
def test_the_wrong_number_of_rows_is_refused():
    """A batch that nobody chose for is not answered with another's gates."""
    llm = make(TWO)
    lora.choose(llm, batch_of(THREE, [(1, 2, 3)]))
    with pytest.raises(ValueError, match="chosen for 3 rows, but the LLM is given 2"):
        llm(torch.zeros(2, 8, dtype=torch.long))


@torch.no_grad()
def test_switched_off_and_on():
    """All LoRAs together, as a frozen reference wants them; before any choice they are silent."""
    llm, plain = make(TWO), make({})
    batch = batch_of(THREE, [(1, 2, 3)])
    ids = batch.ids
    assert torch.equal(llm(ids).logits, plain(ids).logits)
    on = run(llm, batch)
    lora.switch(llm, False)
    assert torch.equal(run(llm, batch), run(plain, batch))
    lora.switch(llm, True)
    assert torch.equal(run(llm, batch), on)


@pytest.mark.parametrize(
    "table,message",
    [
        ({"speech": {"rank": 4}}, r"lora\.speech.*'rank'"),
        ({"speech": {"media": ["sound"]}}, "media.*known: audio.*'sound'"),
        ({"speech": {"targets": ["query"]}}, "no layer is called 'query'.*q_proj"),
        ({"a.b": {"r": 4}}, "one word of letters, got 'a.b'"),
        ({"speech": {"r": 4}, "r": 8}, "'speech'"),
        ({"r": 0}, "r: wanted a number at least 1"),
    ],
)
def test_errors(table, message):
    """One line each, before any weight is made."""
    with pytest.raises(ValueError, match=message):
        make(table)


def test_targets_of_a_second_lora_are_the_llms_layers():
    """Not the layers of the first one; every one of them where all are wanted."""
    llm = make({"a": {"r": 2, "targets": ["q_proj"]}, "b": {"r": 2, "targets": ["all-linear"]}})
    names = [name for name, _ in llm.named_parameters() if "lora_" in name]
    assert not any(name.count("lora_") > 1 for name in names)
    ends = {name.split(".lora_A.b")[0].rsplit(".", 1)[-1] for name in names if "lora_A.b" in name}
    assert ends == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    with pytest.raises(ValueError, match="no layer is called 'lora_A'"):
        make({"a": {"r": 2}, "b": {"targets": ["lora_A"]}})
