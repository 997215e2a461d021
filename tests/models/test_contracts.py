"""What every encoder and adapter promises, checked for each file that stands in the rooms.

A new part is tested because its file is there; the file's TINY says with which settings.
"""

import copy
import importlib
import re
from types import SimpleNamespace

import pytest
import torch

from speechllm import config
from speechllm.models import grouping

WIDTH, TOKEN_WIDTH, VOCAB = 32, 48, 60  # D of all tiny encoders, H, V


def tiny(room: str):
    """List the parts of a room with the settings that their files try: (name, TINY)."""
    for name in config.names(room):
        module = importlib.import_module(f"speechllm.{room}.{name}")
        assert getattr(module, "TINY", ()), f"{module.__file__}: add TINY, settings to test it with"
        yield name, module.TINY


def encoder_cases():
    """List every encoder of the room with its tiny settings."""
    for name, cases in tiny("models.encoders"):
        for number, (in_dim, table, *unit) in enumerate(cases):
            part = SimpleNamespace(
                name=name, in_dim=in_dim, table={"name": name, **table}, unit=unit[0] if unit else 1
            )
            yield pytest.param(part, id=f"{name}{number}")


def adapter_cases():
    """List every adapter of the room with the settings to try."""
    for name, cases in tiny("models.adapters"):
        for number, table in enumerate(cases):
            yield pytest.param({"name": name, **table}, id=f"{name}{number}")


def encoder(case, seed: int = 0):
    """Build a tiny encoder: (Config, module in evaluation mode)."""
    made = config.part("models.encoders", case.table, "test")
    torch.manual_seed(seed)
    return made, made.build(case.in_dim).eval()


def adapter(table, seed: int = 0):
    """Build an adapter: (Config, module in evaluation mode)."""
    made = config.part("models.adapters", table, "test")
    torch.manual_seed(7)
    embedding = torch.nn.Embedding(VOCAB, TOKEN_WIDTH)  # the LLM's
    torch.manual_seed(seed)
    return made, made.build(WIDTH, embedding).eval()


def media(case, *lengths: int, garbage: float = 0.0):
    """Make an input for an encoder, (x, lengths); what lies beyond the lengths is `garbage`.

    Lengths are in the case's units.
    """
    lengths = [n * case.unit for n in lengths]
    return media_of(case, lengths, garbage)


def media_of(case, lengths: list[int], garbage: float = 0.0):
    """Make an input for an encoder; lengths are in samples or frames."""
    generator = torch.Generator().manual_seed(1)
    size = 80 if fixed(case) else max(lengths)
    shape = (len(lengths), size) if case.in_dim == 1 else (len(lengths), size, case.in_dim)
    x = torch.randn(shape, generator=generator)
    for row, n in enumerate(lengths):
        x[row, n:] = 0.0 if fixed(case) else garbage
    return x, torch.tensor(lengths)


def fixed(case) -> bool:
    """Say whether the front end pads every example to one window, which is then no padding."""
    return any(
        table.get("name") == "whisper"
        and table.get("window") != "variable"
        and "frontend" not in table
        for table in case.table.get("branch", [case.table])
    )


def near(a, b, tolerance: float = 1e-4) -> bool:
    """Say whether two tensors agree to the promised tolerance."""
    return a.shape == b.shape and torch.allclose(a, b, atol=tolerance, rtol=0)


def largest(case) -> int:
    """Length of the longest input tried, in samples or frames."""
    return {"whisper": 80, "conformer": 40, "dual": 79}.get(case.name, 90) * case.unit


@pytest.mark.parametrize("case", encoder_cases())
@torch.no_grad()
def test_encoder_count_is_the_real_length(case):
    """`count(n)` is what comes out, for all n, as an integer and as a tensor."""
    made, model = encoder(case)
    step = max(1, case.unit - 1)
    for n in range(1, largest(case) + 1, step):
        states, lengths = model(*media_of(case, [n]))
        wanted = made.count(n)
        assert type(wanted) is int and lengths.tolist() == [wanted], n
        assert states.shape[1:] == (wanted or states.shape[1], made.dim), n
    assert made.count(0) == 0
    several = torch.arange(0, largest(case), step)
    assert made.count(several).tolist() == [made.count(n) for n in several.tolist()]


@pytest.mark.parametrize("table", adapter_cases())
@torch.no_grad()
def test_adapter_count_is_the_real_length(table):
    """`count(n)` is what comes out, for all n, and never 0 where something came in.

    It is the most that comes out where the adapter drops what says nothing.
    """
    made, model = adapter(table)
    for n in range(1, 61):
        tokens, lengths = model(torch.randn(1, n, WIDTH), torch.tensor([n]))
        wanted, real = made.count(n), int(lengths)
        assert type(wanted) is int and tokens.shape == (1, real, TOKEN_WIDTH), n
        assert 0 < real <= wanted and (getattr(made, "drops", False) or real == wanted), n
    several = torch.arange(60)
    assert made.count(several).tolist() == [made.count(n) for n in several.tolist()]
    assert made.count(0) == 0


@pytest.mark.parametrize("garbage", [3e4, float("nan")])
@pytest.mark.parametrize("case", encoder_cases())
@torch.no_grad()
def test_encoder_alone_is_as_in_any_batch(case, garbage):
    """Batched = single = any order, whatever stands in the padding."""
    made, model = encoder(case)
    batch = media(case, 79, 50, 33, 7, garbage=garbage)
    states, lengths = model(*batch)
    order = [2, 0, 3, 1]
    shuffled, _ = model(batch[0][order], batch[1][order])
    for row, n in enumerate(lengths.tolist()):
        alone = model(*media_alone(case, batch, row))[0]
        assert near(states[row, :n], alone[0, :n]), row
        assert near(states[row, :n], shuffled[order.index(row), :n]), row


@pytest.mark.parametrize("case", encoder_cases())
@torch.no_grad()
def test_encoder_in_groups_is_as_alone(case):
    """Items of similar length go through it together, the batch cut to the longest of them."""
    _, model = encoder(case)
    batch = media(case, 33, 79, 7, 50, garbage=3e4)
    assert len(grouping.groups(batch[1].tolist())) > 1
    states, lengths = grouping.encode(model, *batch)
    for row, n in enumerate(lengths.tolist()):
        alone, steps = model(*media_alone(case, batch, row))
        assert steps.tolist() == [n] and near(states[row, :n], alone[0, :n]), row


def media_alone(case, batch, row: int):
    """Give one utterance by itself: no padding but the front end's window."""
    x, lengths = batch
    size = x.shape[1] if fixed(case) else int(lengths[row])
    return x[row : row + 1, :size], lengths[row : row + 1]


@pytest.mark.parametrize("table", adapter_cases())
@pytest.mark.parametrize("case", encoder_cases())
@torch.no_grad()
def test_encoder_with_adapter_alone_is_as_in_any_batch(case, table):
    """The promise holds through each pair, to 1e-4 in fp32."""
    _, front = encoder(case)
    made, back = adapter(table)
    batch = media(case, 79, 50, 33, garbage=1e3)
    tokens, lengths = back(*front(*batch))
    for row, n in enumerate(lengths.tolist()):
        alone, m = back(*front(*media_alone(case, batch, row)))
        assert m.tolist() == [n] and near(tokens[row, :n], alone[0, :n]), row


def loss_of(model, batch):
    """Sum valid outputs with fixed random weights: no norm hides this from a gradient."""
    y, lengths = model(*batch)
    keep = torch.arange(y.shape[1]) < lengths[:, None]
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(2))
    return (y.float() * weights)[keep].sum()


def check_gradients(model, loss, unreached: str = "$"):
    """Every trainable parameter has a finite gradient that is not zero."""
    loss.backward()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad or re.match(unreached, name):
            continue
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        # the bias of the keys adds the same to all scores of a query: softmax does not see it
        if not name.endswith(("k_proj.bias", "key.bias")):
            assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("case", encoder_cases())
def test_gradient_reaches_every_parameter_of_an_encoder(case):
    """In training mode, with garbage in the padding."""
    _, model = encoder(case)
    module = importlib.import_module(f"speechllm.models.encoders.{case.name}")
    loss = loss_of(model.train(), media(case, 79, 50, garbage=float("nan")))
    check_gradients(model, loss, getattr(module, "UNREACHED", "$"))


@pytest.mark.parametrize("table", adapter_cases())
def test_gradient_reaches_every_parameter_of_an_adapter(table):
    """And goes back into the states, but never beyond their length."""
    _, model = adapter(table)
    states = torch.randn(2, 40, WIDTH, requires_grad=True)
    loss = loss_of(model.train(), (states, torch.tensor([40, 20])))
    module = importlib.import_module(f"speechllm.models.adapters.{table['name']}")
    check_gradients(model, loss, getattr(module, "UNREACHED", "$"))
    assert states.grad[0].any() and states.grad[1, :15].any() and not states.grad[1, 20:].any()


def modules(kind: str, table):
    """Build the same part three times: twice from one seed, once from another."""
    build = encoder if kind == "encoder" else adapter
    return [build(table, seed)[1] for seed in (0, 0, 1)]


ALL = [pytest.param("encoder", *p.values, id=p.id) for p in encoder_cases()] + [
    pytest.param("adapter", *p.values, id=p.id) for p in adapter_cases()
]


@pytest.mark.parametrize("kind,table", ALL)
@torch.no_grad()
def test_seed_and_state(kind, table):
    """One seed gives one set of weights; a state saved and loaded gives the same output."""
    first, second, other = modules(kind, table)
    states = first.state_dict()
    assert all(torch.equal(v, second.state_dict()[k]) for k, v in states.items())
    batch = (
        media(table, 60, 31)
        if kind == "encoder"
        else (
            torch.randn(2, 30, WIDTH, generator=torch.Generator().manual_seed(3)),
            torch.tensor([30, 17]),
        )
    )
    wanted = first(*batch)[0]
    assert not near(other(*batch)[0], wanted)
    other.load_state_dict(copy.deepcopy(states))
    assert torch.equal(other(*batch)[0], wanted)


@pytest.mark.parametrize("kind,table", ALL)
def test_bfloat16_is_finite(kind, table):
    """Under autocast, forward and backward."""
    model = modules(kind, table)[0].train()
    batch = (
        media(table, 79, 30)
        if kind == "encoder"
        else (
            torch.randn(2, 30, WIDTH),
            torch.tensor([30, 17]),
        )
    )
    with torch.autocast("cpu", torch.bfloat16):
        loss = loss_of(model, batch)
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("case", encoder_cases())
def test_encoder_refuses_another_front_end(case):
    """The message says which front end is wanted."""
    made, _ = encoder(case)
    with pytest.raises(ValueError, match="front end"):
        made.build(80 if case.in_dim == 1 else 1)
