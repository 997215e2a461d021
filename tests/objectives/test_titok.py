"""TiTok and MaskGIT: what the losses are of, what learns, that rows of tokens are written whole."""

from types import SimpleNamespace

import pytest
import torch

from speechllm.data.batch import Kind, Media
from speechllm.decode.maskgit import Config, write
from speechllm.models.encoders import convnet, titok
from speechllm.models.heads import maskgit as writers
from speechllm.objectives import maskgit
from speechllm.objectives import titok as drawing

SIZES = {"side": 3, "patch": 2, "in_channels": 1, "width": 32, "layers": 1, "heads": 2}
NAMES, H = 6, 16  # tokens of an LLM that has nothing but embeddings, and their width


@pytest.fixture
def model():
    torch.manual_seed(0)
    encoder = titok.Config(**SIZES, latents=4, codes=12, code_dim=8).build(7)
    embedding = torch.nn.Embedding(NAMES, H)
    llm = SimpleNamespace(get_input_embeddings=lambda: embedding)
    branches = {"image": SimpleNamespace(encoder=encoder)}
    return SimpleNamespace(branches=branches, llm=llm, width=H)


def result_of(model, n: int = 8):
    """A pass over n pictures of two kinds, a row each: <prompt> <slot of 4> name </s>."""
    kinds = torch.tensor([[Kind.PROMPT, *[Kind.SLOT] * 4, Kind.ANSWER, Kind.CLOSE]]).expand(n, -1)
    ids = torch.zeros(n, 7, dtype=torch.long)
    ids[:, 5] = torch.arange(n) % 2 + 3
    rng = torch.Generator().manual_seed(1)
    pixels = torch.randn(2, 9, 4, generator=rng)[torch.arange(n) % 2]
    x = torch.cat([pixels, torch.zeros(n, 9, 3)], 2)
    batch = SimpleNamespace(
        ids=ids,
        kinds=kinds,
        segments=torch.ones(n, 7, dtype=torch.long),
        slots=torch.tensor([[row, 1, 4] for row in range(n)]),
        which=lambda kind: torch.arange(n),
        media={"image": Media(x, torch.full((n,), 9))},
    )
    return SimpleNamespace(batch=batch, model=model)


def train(objective, parameters, result, steps: int) -> tuple[float, float]:
    """Loss of a picture at the first and at the last step."""
    optimizer, losses = torch.optim.AdamW(parameters, lr=5e-3), []
    for _ in range(steps):
        loss, count = objective(result)
        optimizer.zero_grad()
        (loss / count).backward()
        optimizer.step()
        losses.append(float(loss.detach() / count))
    return losses[0], losses[-1]


def test_the_error_is_that_of_the_pixels(model):
    """Against a plain sum; the quantiser's own loss comes on top, as often as there are tiles."""
    result = result_of(model)
    objective = drawing.Config(width=16, layers=1, heads=2, commitment=0.5).build(model)
    encoder, (x, lengths) = model.branches["image"].encoder, result.batch.media["image"]
    states, codes, own = encoder.quantised(x, lengths)
    drawn = objective.heads["titok"](states)
    wanted = sum(((drawn[i] - x[i, :, :4]) ** 2).mean() for i in range(8)) + 0.5 * 8 * own
    loss, count = objective(result)
    torch.testing.assert_close(loss, wanted)
    assert int(count) == objective.count(result.batch) == 8
    assert codes.min() >= 0 and codes.max() < 12
    torch.testing.assert_close(encoder.states_of(codes), states, atol=1e-5, rtol=0)
    used = objective.metrics(result)["used"]
    assert [int(x) for x in used] == [len(codes.unique()), 12]


def test_encoder_codebook_and_decoder_learn(model):
    objective = drawing.Config(width=16, layers=1, heads=2).build(model)
    encoder = model.branches["image"].encoder
    learning = [*encoder.parameters(), *objective.heads["titok"].parameters()]
    objective(result_of(model))[0].backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name
    first, last = train(objective, learning, result_of(model), 120)
    assert last < first / 5


def test_text_alone_costs_nothing(model):
    batch = SimpleNamespace(media={}, ids=torch.zeros(1, 1))
    for made in (drawing.Config(width=16, heads=2), maskgit.Config(width=16, heads=2)):
        objective = made.build(model)
        assert [float(x) for x in objective(SimpleNamespace(batch=batch))] == [0, 0]


def test_as_many_are_hidden_as_the_schedule_has_it(model):
    objective = maskgit.Config(width=16, layers=1, heads=2, free=0.5).build(model)
    codes = torch.zeros(2000, 4, dtype=torch.long)
    hidden, free = objective.drawn(codes)
    # of four: ceil(4 cos(pi u / 2)) is 4 where u < 0.46, 3 to 0.67, 2 to 0.84, 1 beyond
    shares = torch.bincount(hidden.sum(1), minlength=5) / 2000
    wanted = torch.tensor([0.0, 0.161, 0.172, 0.206, 0.460])
    torch.testing.assert_close(shares, wanted, atol=0.04, rtol=0)
    assert 0.45 < free.float().mean() < 0.55
    hidden, free = objective.eval().drawn(codes)
    assert torch.equal(hidden, objective.drawn(codes)[0]) and not free.any()


def test_what_is_named_is_written(model):
    """After some steps on two kinds of pictures, each name gives the tokens of its kind."""
    objective = maskgit.Config(width=32, layers=1, heads=2, dropout=0.0).build(model)
    objective.config = maskgit.Config(label_smoothing=0.0, free=0.2)
    result, network = result_of(model), objective.heads["maskgit"]
    encoder = model.branches["image"].encoder
    codes = encoder.quantised(*result.batch.media["image"])[1]
    assert not torch.equal(codes[0], codes[1])
    train(objective, network.parameters(), result, 150)
    assert not any(p.grad is not None for p in encoder.parameters()), "the encoder stays"
    wanted = objective.wanted(result).detach()
    torch.testing.assert_close(wanted[0], model.llm.get_input_embeddings().weight[3])
    for settings in (Config(), Config(steps=1), Config(steps=40, guidance=0.0, temperature=0.0)):
        with torch.no_grad():
            chance = torch.Generator().manual_seed(0)
            written = write(network.eval(), wanted, settings, chance)
        assert (written == codes).float().mean() > 0.9, settings


def test_one_seed_writes_one_picture(model):
    network = writers.Config(width=16, layers=1, heads=2).build(model).eval()
    with torch.no_grad():
        once, again, other = (
            write(network, torch.ones(3, H), Config(), torch.Generator().manual_seed(seed))
            for seed in (0, 0, 1)
        )
    assert torch.equal(once, again) and not torch.equal(once, other)
    assert once.shape == (3, 4) and once.min() >= 0 and once.max() < 12


@pytest.mark.parametrize("made", [drawing.Config(), maskgit.Config()])
def test_another_encoder_is_refused(made, model):
    model.branches["image"].encoder = convnet.Config(1, 2, (8,), (2,)).build(15)
    with pytest.raises(ValueError, match="wanted a branch with the encoder titok"):
        made.build(model)
