"""The health monitor: it sees a model that does not listen, and one that does."""

import pytest
import torch

from speechllm.data.collate import collate
from speechllm.media.audio import nothing as silence_of
from speechllm.train import health
from speechllm.train.parallel import Alone
from speechllm.train.phases import Learner, phases
from speechllm.train.validate import validate


def batch_of(run):
    examples = run.examples(phases(run.system.preset)[1], run.manifests["train"], False)
    made = [examples.make(0, i) for i in range(4)]
    return collate(made, run.system.tokenizer.pad_token_id)


@torch.no_grad()
def test_shuffled_gives_each_the_next_ones_states_at_its_own_length(make_run, tmp_path):
    run = make_run(tmp_path)
    model, batch = run.system.build().eval(), batch_of(run)
    result = model(batch)
    other, (real, lengths) = health.shuffled(result).states, result.states
    assert torch.equal(other[1], lengths) and len(set(lengths.tolist())) > 1
    for i, n in enumerate(lengths.tolist()):
        donor, there = real[i - 1], int(lengths[i - 1])
        assert torch.equal(other[0][i, :n], torch.cat([donor[:there]] * 9)[:n])
        assert other[0][i, n:].abs().sum() == 0


def test_a_medium_alone_says_nothing_of_listening(make_run, tmp_path):
    """Shuffled it would be itself, and the model would seem deaf."""
    run = make_run(tmp_path)
    phase, batch = phases(run.system.preset)[1], batch_of(run)
    learner = Learner(run.system.build())
    learner.begin(phase, "test", [list(phase.train)])
    examples = run.examples(phase, run.manifests["train"], learning=False)
    alone = collate([examples.make(0, 0)], run.system.tokenizer.pad_token_id)
    parts = ({"audio": silence_of(run.system.extractor)}, "cpu", run.autocast)
    assert "health" not in validate(Alone(None, None, learner, {}), phase, [alone], *parts)
    found, both = (
        validate(Alone(None, None, learner, {}), phase, b, *parts)
        for b in ([batch], [alone, batch])
    )
    assert found["health"] == pytest.approx(both["health"])
    assert found["valid"]["loss"] != pytest.approx(both["valid"]["loss"])


@torch.no_grad()
def test_silence_is_what_the_front_end_makes_of_zeros(make_run, tmp_path):
    run = make_run(tmp_path)
    model, zeros = run.system.build().eval(), silence_of(run.system.extractor)
    quiet = health.encoded(model, {"audio": zeros})
    x, n = run.system.extractor(torch.zeros(16000))
    wanted, _ = model.encoder(x[None], torch.tensor([n]))
    assert torch.equal(quiet["audio"], wanted[0])
    result = model(batch_of(run))
    states, lengths = health.silent(result, quiet).states
    for one, n in zip(states, lengths.tolist(), strict=True):
        assert torch.equal(one[:n], torch.cat([wanted[0]] * 2)[:n])


def test_a_validation_runs_the_encoder_once_a_batch(make_run, tmp_path, monkeypatch):
    """And once for silence, whatever the number of batches."""
    run = make_run(tmp_path)
    phase = phases(run.system.preset)[1]
    learner = Learner(run.system.build())
    learner.begin(phase, "test", [list(phase.train)])
    passes = []
    learner.model.encoder.register_forward_hook(lambda *_: passes.append(1))
    batches, zeros = [batch_of(run)] * 2, {"audio": silence_of(run.system.extractor)}
    monkeypatch.setattr("speechllm.models.grouping.WORTH", 1.0)  # no batch is cut
    assert "health" in validate(
        Alone(None, None, learner, {}), phase, batches, zeros, "cpu", run.autocast
    )
    assert len(passes) == 3


@pytest.mark.parametrize("vocab_size", [40, 2**15 + 40])
def test_text_is_as_long_as_the_layers_get_it(make_run, tmp_path, vocab_size):
    """Gemma 3 scales inside its embedding, by the root of its width; a large one is sampled."""
    fields = "hidden_size=32,intermediate_size=64,num_hidden_layers=1,head_dim=16,"
    fields += f"num_attention_heads=2,num_key_value_heads=1,vocab_size={vocab_size}"
    run = make_run(tmp_path, f'llm.config={{model_type="gemma3_text",{fields}}}')
    model = run.system.build().eval()
    table = model.llm.get_input_embeddings().weight
    soft, text = health.norms(model(batch_of(run)))
    assert text == pytest.approx(32**0.5 * table.norm(dim=-1).mean().item(), rel=0.01)
    model.match()
    assert health.norms(model(batch_of(run)))[0] == pytest.approx(text, rel=0.5)


def test_advice():
    deaf = health.Health(3.0, 3.001, 3.0, 1.0, 1.0)
    assert "not listening yet" in deaf.advice()
    hears = health.Health(0.5, 3.0, 3.2, 1.0, 1.0)
    assert hears.advice() == ""
    loud = health.Health(0.5, 3.0, 3.2, 30.0, 1.0)
    assert "30 times as long" in loud.advice()
