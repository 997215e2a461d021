"""The LLM that reads teaches the LLM that listens: against KL by hand, and what stays as it was."""

import json

import pytest
import torch

from speechllm.data import chat
from speechllm.objectives.distillation import Config
from speechllm.train import loop

FUSIONS = {"interleave": [], "cross_attention": ["fusion={name='cross_attention',every=1}"]}
ONLY = "{distillation={}}"


@pytest.mark.parametrize("fusion", FUSIONS)
def test_equals_kl_by_hand(pairs, batch_of, fusion):
    """Row by row, the teacher a plain text model that was never given LoRA; T = 2 and T = 1."""
    run = pairs(ONLY, *FUSIONS[fusion])
    model, batch = batch_of(run)
    plain = pairs(ONLY, "llm.lora={r=2}", *FUSIONS[fusion]).system.build().eval().llm
    plain.load_state_dict(model.llm.state_dict(), strict=False)
    for name, parameter in plain.named_parameters():
        if "lora_" in name:
            torch.nn.init.zeros_(parameter)
    words, result = batch.words, model(batch)
    assert not words.media and (words.kinds != 2).all()
    for temperature in (1.0, 2.0):
        wanted, place = 0.0, 0
        with torch.no_grad():
            for ids, labels, segments in zip(words.ids, words.labels, words.segments, strict=True):
                ids, labels = ids[segments > 0], labels[segments > 0]
                logits = plain(input_ids=ids[None]).logits[0, :-1][labels[1:] >= 0]
                p = (logits / temperature).softmax(-1)
                found = (result.logits[place : place + len(p)] / temperature).log_softmax(-1)
                wanted += (p * (p.log() - found)).sum()
                place += len(p)
        objective = Config(temperature=temperature).build(model)
        loss, count = objective(result)
        mean = torch.nn.functional.kl_div(  # as Ultravox's `_compute_kl_loss` writes it
            (result.logits / temperature).log_softmax(-1),
            (objective.teacher(result) / temperature).softmax(-1),
            reduction="batchmean",
        )
        torch.testing.assert_close(loss / count, mean, rtol=1e-4, atol=1e-6)
        assert loss > 0.01 and count == place == Config().build(model).count(batch)
        torch.testing.assert_close(loss, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_the_student_goes_on_as_if_nobody_had_taught(pairs, batch_of, fusion):
    """LoRA, what learns, modes and what cross-attention joined are as before; gradients flow."""
    model, batch = batch_of(pairs(ONLY, "llm.gradient_checkpointing=true", *FUSIONS[fusion]))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name or name.startswith("adapter."))
    model.llm.train()
    learns = {name for name, p in model.named_parameters() if p.requires_grad}
    result = model(batch)
    plain = torch.autograd.grad(result.logits.square().sum(), model.adapter.parameters())
    result = model(batch)
    loss = result.logits.square().sum()
    Config().build(model)(result)
    assert model.llm.training and learns == {
        n for n, p in model.named_parameters() if p.requires_grad
    }
    for a, b in zip(torch.autograd.grad(loss, model.adapter.parameters()), plain, strict=True):
        torch.testing.assert_close(a, b)
    assert torch.equal(model(batch).logits, result.logits)
    Config().build(model)(model(batch))[0].backward()
    assert all(model.get_parameter(name).grad is not None for name in learns)


def test_a_student_that_reads_the_words_has_nothing_to_learn(pairs, batch_of):
    run = pairs(ONLY)
    model, batch = batch_of(run, wake=False)
    from dataclasses import replace

    read = replace(batch.words, words=batch.words)
    assert Config().build(model)(model(read))[0].abs() < 1e-4


def test_it_trains(pairs):
    """Its loss falls, and what is trained is what the phase names."""
    run = pairs(
        ONLY, "phase.encoder.steps=1", "data.pack=120", "augment={}", "encoder.dropout=0.0",
        "phase.tune.steps=8", "phase.tune.lr=1e-2",
    )  # fmt: skip
    loop.train(run)
    lines = [json.loads(line) for line in (run.out / "log.jsonl").read_text().splitlines()]
    losses = [line["distillation"] for line in lines if "distillation" in line]
    assert len(losses) == 8 and losses[-1] < 0.9 * losses[0]


def test_words_come_from_the_part_the_transcript_or_the_text():
    audio = {"type": "audio", "audio": "a.wav"}
    ask = {"type": "text", "text": "what?"}
    messages = [{"role": "user", "content": [audio, ask]}, {"role": "assistant", "content": "yes"}]

    def said(messages, row):
        return [part["text"] for part in chat.spoken(messages, row)[0]["content"]]

    assert said(messages, {"text": "low"}) == ["low", "what?"]
    assert said(messages, {"text": "low", "transcript": "mid"}) == ["mid", "what?"]
    named = [{"role": "user", "content": [{**audio, "text": "one"}, {**audio, "text": "two"}]}]
    assert said(named, {"text": "low"}) == ["one", "two"]
    with pytest.raises(ValueError, match="wants the words of each medium"):
        said([{"role": "user", "content": [audio, audio]}], {"text": "low"})
    with pytest.raises(ValueError, match="temperature: wanted a number above 0"):
        Config(temperature=0)
