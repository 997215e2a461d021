"""Framewise classification against torch's cross entropy, state by state."""

from types import SimpleNamespace

import pytest
import torch

from speechllm.data.batch import Kind
from speechllm.models.adapters import name_posterior
from speechllm.objectives import framewise

V, D = 11, 6


def result_of(lengths=(3, 2), answers=([4, 5, 6], [7, 7]), adapter=None):
    """A pass over pictures of some states each, with an answer each, padded on the left."""
    size = 2 + max(map(len, answers))
    ids = torch.zeros(len(answers), size, dtype=torch.long)
    kinds = torch.full((len(answers), size), int(Kind.PAD))
    slots = []
    for row, answer in enumerate(answers):
        begin = size - len(answer) - 2
        kinds[row, begin] = Kind.SLOT
        kinds[row, begin + 1 : -1] = Kind.ANSWER
        kinds[row, -1] = Kind.CLOSE
        ids[row, begin + 1 : -1] = torch.tensor(answer)
        slots.append([row, begin, 1])
    states = torch.randn(len(answers), max(lengths), D, generator=torch.Generator().manual_seed(0))
    batch = SimpleNamespace(
        ids=ids, kinds=kinds, segments=(kinds > 0).long(), slots=torch.tensor(slots), packed=False,
        names=("first", "second"), media={"image": None}, which=lambda _: torch.arange(len(slots)),
    )  # fmt: skip
    branch = SimpleNamespace(encoder_dim=D, adapter=adapter, encoder=None)
    model = SimpleNamespace(branches={"image": branch}, vocab_size=V)
    found = (states, torch.tensor(lengths))
    return SimpleNamespace(batch=batch, model=model, states_of=lambda _: found)


def made(result, **options):
    torch.manual_seed(0)
    return framewise.Config(medium="image", **options).build(result.model).eval()


def test_against_a_loop():
    result = result_of()
    objective = made(result)
    logits = objective.head(result.states_of("image")[0])
    pairs = [(0, 0, 4), (0, 1, 5), (0, 2, 6), (1, 0, 7), (1, 1, 7)]
    wanted = sum(-logits[i, t].log_softmax(-1)[token] for i, t, token in pairs)
    loss, count = objective(result)
    torch.testing.assert_close(loss, wanted)
    assert int(count) == objective.count(result.batch) == 5
    right = sum(int(logits[i, t].argmax()) == token for i, t, token in pairs)
    assert [int(x) for x in objective.metrics(result)["accuracy"]] == [right, 5]


def test_windows_of_the_adapter_are_named():
    """Two soft tokens, of three states and of one: two tokens of an answer."""
    torch.manual_seed(1)
    embedding = torch.nn.Embedding(V, 8)
    adapter = name_posterior.Config(window=3).build(D, embedding)
    result = result_of(lengths=(4,), answers=([4, 5],), adapter=adapter)
    objective = made(result, on="posterior")
    states = result.states_of("image")[0]
    heard = torch.stack([states[0, :3].mean(0), states[0, 3]])
    wanted = torch.nn.functional.cross_entropy(adapter.head(heard), torch.tensor([4, 5]))
    torch.testing.assert_close(objective(result)[0], 2 * wanted)


def test_another_number_of_words_is_named():
    result = result_of(answers=([4, 5, 6], [7, 7, 7]))
    with pytest.raises(ValueError, match="second: framewise wants .* each of its 2 states, got 3"):
        made(result)(result)


def test_text_alone_costs_nothing():
    result = result_of()
    result.batch.media = {}
    objective = made(result)
    assert [float(x) for x in objective(result)] == [0, 0] and objective.metrics(result) == {}


def test_an_adapter_without_a_head_is_refused():
    result = result_of(adapter=torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="wants the adapter name_posterior"):
        made(result, on="posterior")
