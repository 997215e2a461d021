"""The health monitor: it sees a model that does not listen, and one that does."""

import pytest
import torch

from speechllm.data.collate import collate
from speechllm.media.audio import nothing as silence_frame
from speechllm.train import health
from speechllm.train.phases import Learner, phases
from speechllm.train.validate import validate


def batch_of(run):
    examples = run.examples(phases(run.system.preset)[1], run.manifests["train"], False)
    made = [examples.make(0, i) for i in range(4)]
    return collate(made, run.system.tokenizer.pad_token_id)


def test_shuffled_gives_each_the_next_ones_audio_at_its_own_length(make_run, tmp_path):
    batch = batch_of(make_run(tmp_path))
    other, real = health.shuffled(batch).media["audio"], batch.media["audio"]
    assert torch.equal(other.lengths, real.lengths)
    for i, n in enumerate(real.lengths.tolist()):
        donor, there = real.x[i - 1], int(real.lengths[i - 1])
        same = min(n, there)
        assert torch.equal(other.x[i, :same], donor[:same])
        assert other.x[i, n:].abs().sum() == 0


def test_a_medium_alone_says_nothing_of_listening(make_run, tmp_path):
    """Shuffled it would be itself, and the model would seem deaf."""
    run = make_run(tmp_path)
    phase, batch = phases(run.system.preset)[1], batch_of(run)
    learner = Learner(run.system.build())
    learner.begin(phase, "test", [list(phase.train)])
    examples = run.examples(phase, run.manifests["train"], learning=False)
    alone = collate([examples.make(0, 0)], run.system.tokenizer.pad_token_id)
    parts = ({"audio": silence_frame(run.system.extractor)}, "cpu", run.autocast)
    assert "health" not in validate(learner, phase, [alone], *parts)
    found, both = (validate(learner, phase, b, *parts) for b in ([batch], [alone, batch]))
    assert found["health"] == pytest.approx(both["health"])
    assert found["valid"]["loss"] != pytest.approx(both["valid"]["loss"])


def test_silence_is_what_the_front_end_makes_of_zeros(make_run, tmp_path):
    run = make_run(tmp_path)
    frame = silence_frame(run.system.extractor)
    quiet = health.silent(batch_of(run), {"audio": frame})
    x, _ = run.system.extractor(torch.zeros(8000))
    assert torch.equal(quiet.media["audio"].x[0, 0], x[5])


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
