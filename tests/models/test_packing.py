"""Packed = unpacked: the same loss and gradients, whatever stands in a row beside an example."""

import pytest
import torch

from speechllm.data.collate import collate
from speechllm.data.manifest import Manifest, write
from speechllm.models.tiny import wake
from speechllm.objectives import ctc, language_modelling
from speechllm.train.phases import phases

GEMMA = """llm.config={model_type="gemma2",hidden_size=32,intermediate_size=64,head_dim=16,
num_hidden_layers=2,num_attention_heads=2,num_key_value_heads=1,sliding_window=12}"""
GPT2 = """llm.config={model_type="gpt2",n_embd=32,n_layer=2,n_head=2,n_positions=256}"""
QWEN = """llm.config={model_type="qwen2",hidden_size=32,intermediate_size=64,num_hidden_layers=2,
num_attention_heads=2,num_key_value_heads=1}"""
CASES = {
    "interleave": [],
    "cross_attention": ["fusion={name='cross_attention',every=1}"],
    "last of them": ["fusion={name='cross_attention',every=1,sees='last'}"],
    "flamingo": ["fusion={name='flamingo',every=1,gate='vector'}"],
    "fewer tokens than slots": ["adapter={name='ctc_compress',blank='average'}"],
    "qwen2": [QWEN],
    "gemma2, sliding window": [GEMMA, "llm.attention='eager'"],
    "gpt2": [GPT2, "llm.lora={r=2,targets=['c_attn']}"],
}


@pytest.fixture(params=CASES)
def made(request, make_run, tiny, tmp_path):
    """A model whose parts all do something, and examples of no, one and two media."""
    run = make_run(tmp_path, *(change.replace("\n", "") for change in CASES[request.param]))
    rows = [run.manifests["train"][i] for i in range(6)]
    parts = [{"type": "audio", "audio": row["audio"], "duration": row["duration"]} for row in rows]
    says = {"role": "assistant", "content": rows[0]["text"]}
    two = [{"role": "user", "content": [parts[4], {"type": "text", "text": "say"}, parts[5]]}, says]
    none = [{"role": "user", "content": "write low"}, says]
    rows += [{"id": "two", "messages": two}, {"id": "none", "messages": none}]
    write(tmp_path / "m.jsonl", rows)
    phase = phases(run.system.preset)[1]
    examples = run.examples(phase, Manifest(tmp_path / "m.jsonl"), learning=False)
    model = wake(run.system.build().eval()).requires_grad_(True)
    return model, [examples.make(0, i) for i in range(8)], run.system.tokenizer.pad_token_id


def half(examples):
    """Positions a row for about two rows."""
    return sum(len(e.encoded.ids) for e in examples) * 2 // 3


def norm(gradients):
    """Length of all gradients together."""
    return sum(float(g.double().square().sum()) for g in gradients.values()) ** 0.5


def loss_and_gradients(model, batches):
    """Sum over batches of both losses' sums and counts; gradients of all parameters."""
    torch.manual_seed(0)
    learn, align = language_modelling.Config().build(model), ctc.Config(on="adapter").build(model)
    model.zero_grad(set_to_none=True)
    totals = []
    for batch in batches:
        result = model(batch)
        (loss, count), (other, tokens) = (
            learn(result),
            (align(result) if batch.media else (torch.tensor(0.0), torch.tensor(0))),
        )
        assert count == learn.count(batch)
        ((loss + 0.1 * other) / 50).backward()  # about the mean over tokens
        totals.append([loss.item(), int(count), other.item(), int(tokens)])
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return torch.tensor(totals).sum(0), found


def test_packed_is_as_unpacked(made):
    model, examples, pad = made
    packed = collate(examples, pad, pack=half(examples))
    assert packed.packed and 1 < len(packed.ids) < len(examples)
    alone, wanted = loss_and_gradients(model, [collate([e], pad) for e in examples])
    for batch in (packed, collate(examples, pad, pack=10_000), collate(examples, pad)):
        together, found = loss_and_gradients(model, [batch])
        torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
        assert found.keys() == wanted.keys()
        difference = {name: found[name] - gradient for name, gradient in wanted.items()}
        assert norm(difference) < 1e-5 * norm(wanted)
        for name, gradient in wanted.items():
            torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=5e-5, msg=name)


def test_an_example_does_not_see_its_neighbour(made):
    """Changed ids of one leave the logits of all others as they were, bit for bit."""
    model, examples, pad = made
    batch = collate(examples, pad, pack=10_000)
    assert len(batch.ids) == 1
    with torch.no_grad():
        before = model(batch)
        logits, (_, columns) = before.logits, before.places
        segments = before.layout.segments[0, columns]
        changed = batch.segments == 3
        batch.ids[changed & (batch.kinds == 1)] = 7
        after = model(batch).logits
    assert torch.equal(after[segments != 3], logits[segments != 3])
    assert not torch.equal(after[segments == 3], logits[segments == 3])


def test_flash_attention_of_several_packed_rows_is_refused(made):
    model, examples, pad = made
    model.llm.config._attn_implementation = "flash_attention_2"
    with pytest.raises(ValueError, match=r"\[data\] pack with attention 'flash_attention_2' wants"):
        model(collate(examples, pad, pack=half(examples))).attention  # noqa: B018
