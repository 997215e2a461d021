"""Classification: bags of tokens as targets, mixup that mixes both, heads of either place."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from speechllm import config
from speechllm.data.batch import Batch, Kind, Media
from speechllm.models.adapters import name_posterior
from speechllm.models.encoders import cnn
from speechllm.objectives import classification

V, H, F = 20, 8, 16


def batch(answers, frames=(40, 24, 40)):
    """Rows of one medium: a slot, a prompt token, the answer, its close; padded on the left."""
    size = 3 + max(map(len, answers))
    ids = torch.zeros(len(answers), size, dtype=torch.long)
    kinds = torch.full((len(answers), size), int(Kind.PAD))
    slots = []
    for row, answer in enumerate(answers):
        own = [Kind.SLOT, Kind.PROMPT, *[Kind.ANSWER] * len(answer), Kind.CLOSE]
        ids[row, -len(own) :] = torch.tensor([0, 1, *answer, 2])
        kinds[row, -len(own) :] = torch.tensor([int(k) for k in own])
        slots.append((row, size - len(own), 1))
    media = torch.randn(len(answers), max(frames), F, generator=torch.Generator().manual_seed(0))
    return Batch(
        ids=ids, labels=ids, positions=ids, segments=(kinds > 0).long(), kinds=kinds,
        media={"audio": Media(media, torch.tensor(frames))},
        slots=torch.tensor(slots), names=("a", "b", "c"),
    )  # fmt: skip


@pytest.fixture
def model():
    torch.manual_seed(0)
    encoder = cnn.Config(channels=(4, 8)).build(F)
    adapter = name_posterior.Config().build(16, torch.nn.Embedding(V, H))
    made = SimpleNamespace(encoder=encoder, adapter=adapter, encoder_dim=16, vocab_size=V)
    made.branches = {"audio": made}
    return made


def made(model, **table):
    return config.part("objectives", {"name": "classification", **table}, "x").build(model)


def run(model, b):
    states = model.encoder(*b.media["audio"])
    return SimpleNamespace(model=model, batch=b, states=states, states_of=lambda kind: states)


def test_the_target_is_the_bag_of_the_answer_s_tokens(model):
    targets = made(model).targets(batch([[5], [6, 7], [8, 8, 9]]))
    assert targets.shape == (3, V) and torch.allclose(targets.sum(1), torch.ones(3))
    assert targets[0, 5] == 1 and targets[1, 6] == targets[1, 7] == 0.5
    assert targets[2, 8] == pytest.approx(2 / 3)


def test_of_a_packed_row_each_medium_has_its_own_answer(model):
    b = batch([[5], [6], [7]])
    one = {k: getattr(b, k).reshape(1, -1) for k in ("ids", "kinds")}
    segments = torch.arange(1, 4).repeat_interleave(b.ids.shape[1])[None]
    slots = torch.stack(
        [torch.zeros(3).long(), b.slots[:, 1] + 4 * torch.arange(3), b.slots[:, 2]], 1
    )
    packed = replace(b, **one, segments=segments, slots=slots)
    assert torch.equal(made(model).targets(packed), made(model).targets(b))


@pytest.mark.parametrize("on", ["encoder", "posterior"])
@torch.no_grad()
def test_loss_is_the_cross_entropy_of_the_mean_state(model, on):
    """Against the plain formula, over valid states alone; sum and count."""
    objective, b = made(model, on=on).eval(), batch([[5], [6, 7], [8]])
    model.encoder.eval()
    result = run(model, b)
    total, count = objective(result)
    head = objective.head or model.adapter.head
    wanted = 0.0
    for row, answer in enumerate(([5], [6, 7], [8])):
        states = result.states[0][row, : result.states[1][row]]
        wanted -= head(states.mean(0)).log_softmax(-1)[answer].mean()
    assert count == objective.count(b) == 3 and total == pytest.approx(wanted.item(), rel=1e-5)


def test_mixup_mixes_sounds_and_targets_alike(model, monkeypatch):
    """With a share of 1 nothing is another's, with 0 everything, with a half both by half."""
    objective, b = made(model, mixup=0.5), batch([[5], [6], [7]], frames=(40, 40, 40))
    model.encoder.eval()
    result, targets, order = run(model, b), objective.targets(b), torch.tensor([1, 2, 0])
    monkeypatch.setattr(torch, "randperm", lambda n, device=None: order)
    for share in (1.0, 0.0, 0.5):
        beta = SimpleNamespace(sample=lambda n, share=share: torch.full(n, share))
        monkeypatch.setattr(torch.distributions, "Beta", lambda a, b, beta=beta: beta)
        (states, _), mixed = objective.mixed(result, targets)
        x, lengths = b.media["audio"]
        media = share * x + (1 - share) * x[order]
        assert torch.allclose(states, model.encoder(media, lengths)[0])
        assert torch.allclose(mixed, share * targets + (1 - share) * targets[order])


def test_of_an_encoder_that_does_not_learn_states_are_mixed(model, monkeypatch):
    """Those of the pass, which may be stored ones: the encoder is not asked again."""
    b, order, share = batch([[5], [6], [7]]), torch.tensor([1, 2, 0]), torch.tensor([0.2, 0.5, 0.9])
    result = run(model, b)
    (states, lengths), model.encoder = result.states, model.encoder.requires_grad_(False)
    monkeypatch.setattr(model.encoder, "forward", None)
    monkeypatch.setattr(torch, "randperm", lambda n, device: order)
    monkeypatch.setattr(torch.distributions.Beta, "sample", lambda self, size: share)
    objective = made(model, mixup=0.5)
    (x, n), _ = objective.mixed(result, objective.targets(b))
    own = [one[:k].sum(0) for one, k in zip(states, lengths.tolist(), strict=True)]
    for row, other in enumerate(order.tolist()):
        wanted = share[row] * own[row] + (1 - share[row]) * own[other]
        assert torch.allclose(x[row, : n[row]].sum(0), wanted, atol=1e-5)
    assert n.tolist() == torch.maximum(lengths, lengths[order]).tolist()


def test_a_tied_head_scores_by_the_llms_own_embeddings():
    """Logits are products with them, soft tokens their mean; the norm's batches are of clips."""
    torch.manual_seed(0)
    table = torch.nn.Embedding(V, H)
    adapter = name_posterior.Config(tied=True, norm="batch", window=4).build(16, table)
    states, lengths = torch.randn(3, 10, 16), torch.tensor([10, 8, 3])
    heard = torch.stack([one[:n].mean(0) for one, n in zip(states, lengths.tolist(), strict=True)])
    logits = adapter.name_logits(states, lengths)  # by this batch's own mean and deviation
    scaled = (heard - heard.mean(0)) / (heard.var(0, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(logits, adapter.head(scaled) @ table.weight.T)
    logits.sum().backward()
    assert table.weight.grad is None and adapter.head.weight.shape == (H, 16)
    before = adapter.norm.running_mean.clone()
    tokens, counts = adapter(states, lengths)  # by what has been learned, which it leaves alone
    assert counts.tolist() == [3, 2, 1] and torch.equal(adapter.norm.running_mean, before)
    adapter.eval()
    shares = adapter.name_logits(states[:, :4], torch.tensor([4, 4, 3])).softmax(-1)
    torch.testing.assert_close(tokens[:, 0], shares @ table.weight)
    with pytest.raises(ValueError, match="norm: wanted 'none' or 'batch'"):
        name_posterior.Config(norm="layer")


def test_nothing_is_mixed_outside_training(model, monkeypatch):
    b = batch([[5], [6], [7]])
    torch.manual_seed(1)
    mixing = made(model, mixup=0.5, label_smoothing=0.1)
    torch.manual_seed(1)
    plain = made(model)
    model.encoder.eval()
    assert torch.equal(mixing.eval()(run(model, b))[0], plain.eval()(run(model, b))[0])
    assert mixing.train()(run(model, b))[0] != plain.train()(run(model, b))[0]


def test_accuracy_counts_the_most_probable_token(model):
    objective, b = made(model, on="posterior").eval(), batch([[5], [6], [7]])
    torch.nn.init.zeros_(model.adapter.head.weight)
    with torch.no_grad():
        model.adapter.head.bias[6] = 3.0
    right, count = objective.metrics(run(model, b))["accuracy"]
    assert (int(right), int(count)) == (1, 3)


def test_it_learns(model):
    """Three sounds are told apart after forty steps."""
    objective, b = made(model, on="posterior", mixup=0.2), batch([[5], [6], [7]])
    parameters = [*model.encoder.parameters(), *model.adapter.parameters()]
    optimizer = torch.optim.Adam(parameters, 1e-2)
    for _ in range(40):
        loss = objective(run(model, b))[0]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    right, _ = objective.eval().metrics(run(model, b))["accuracy"]
    assert int(right) == 3


def test_bad_settings(model):
    with pytest.raises(ValueError, match="wanted 'encoder' or 'posterior'"):
        classification.Config(on="adapter")
    with pytest.raises(ValueError, match="mixup of 0 or more"):
        classification.Config(mixup=-1.0)
    model.adapter = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match="wants the adapter name_posterior"):
        made(model, on="posterior")


def test_text_alone_adds_nothing(model):
    """As in a mixture, where a batch may be of text."""
    text = SimpleNamespace(batch=SimpleNamespace(media={}, ids=torch.zeros(1, 3)))
    assert [float(x) for x in made(model)(text)] == [0, 0] and made(model).metrics(text) == {}
