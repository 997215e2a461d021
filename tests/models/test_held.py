"""What a pass leaves in the model's modules is given back; two passes of one model do not mix."""

import pytest
import torch

from speechllm.data.collate import collate
from speechllm.decode import search
from speechllm.models import held, tiny
from speechllm.objectives import language_modelling
from speechllm.train.phases import phases

HOLDING = ["fusion={name='cross_attention',every=1}", "llm.lora.media=['audio']"]


@pytest.fixture
def made(make_run, tmp_path):
    """A model with both kinds of holders, and batches of other sounds and sizes."""

    def make(*changes):
        run = make_run(tmp_path, *HOLDING, *changes)
        model = tiny.wake(run.system.build().eval(), std=0.3)
        phase, pad = phases(run.system.preset)[1], run.system.tokenizer.pad_token_id
        examples = run.examples(phase, run.manifests["train"], learning=False)
        batches = [collate([examples.make(0, i) for i in n], pad) for n in ((0, 1, 2), (3, 4))]
        return model, batches, pad

    return make


def values(model):
    return [getattr(holder, holder.HELD) for holder in held.holders(model.llm)]


@torch.no_grad()
def test_nothing_is_left_behind(made):
    model, (batch, _), pad = made()
    assert len(values(model)) == 2
    result = model(batch)
    with result.joined() as embeddings:
        assert embeddings.shape[:2] == result.layout.ids.shape
        assert all(value is not None for value in values(model))
    assert values(model) == [None, None]
    _ = model(batch).logits
    search.answers(model(batch), [5, 2, 9], (), pad)
    search.answers(model(batch), [5, 2, 9], (), pad, search.Config(num_beams=3))
    assert values(model) == [None, None] and not model.under_way


@torch.no_grad()
def test_what_fails_leaves_nothing_behind(made, monkeypatch):
    model, (batch, other), _ = made()
    wanted = model(other).logits
    with pytest.raises(KeyError), model(batch).joined():
        raise KeyError
    monkeypatch.setattr(model.fusion, "join", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model(batch).logits  # noqa: B018
    monkeypatch.undo()
    assert values(model) == [None, None]
    assert torch.equal(model(other).logits, wanted)


@torch.no_grad()
def test_two_passes_do_not_mix(made):
    model, (batch, other), pad = made()
    wanted = model(other).logits
    with model(batch).joined():
        with pytest.raises(ValueError, match="another pass of this model has not ended"):
            model(other).logits  # noqa: B018
    steps = search.said(model(batch), [9, 9, 9], (), pad)
    next(steps)
    with pytest.raises(ValueError, match="another pass of this model has not ended"):
        search.answers(model(other), [3, 3], (), pad)
    assert next(steps)  # and it goes on as if nothing had been tried
    steps.close()
    assert torch.equal(model(other).logits, wanted) and values(model) == [None, None]


def test_layers_computed_again_see_what_they_saw(made):
    """Gradient checkpointing, with another pass between forward and backward."""
    found = {}
    for on in ("true", "false"):
        model, (batch, other), _ = made(
            f"llm.gradient_checkpointing={on}", "encoder.dropout=0.0", "llm.lora.dropout=0.0"
        )
        model.train().requires_grad_(True)
        objective = language_modelling.Config().build(model)
        loss, _ = objective(model(batch))
        with torch.no_grad():
            _ = model(other).logits
        loss.backward()
        found[on] = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        assert values(model) == [None, None]
    assert found["true"].keys() == found["false"].keys()
    for name, gradient in found["true"].items():
        torch.testing.assert_close(gradient, found["false"][name], rtol=1e-5, atol=1e-6, msg=name)
