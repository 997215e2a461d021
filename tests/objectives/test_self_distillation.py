"""DINO's self-distillation against a loop with two whole models; the teacher follows; it learns."""

import copy
from types import SimpleNamespace

import pytest
import torch

from speechllm.data.batch import Media
from speechllm.models.encoders import vit
from speechllm.objectives import self_distillation
from speechllm.objectives.self_distillation import Student
from tests.objectives.test_masked_autoencoding import SIZES, model_of, tiles_of

HEAD = {"prototypes": 12, "hidden": 16, "bottleneck": 8, "views": 2}


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return vit.Config(family="vit", config=SIZES, token="keep").build(51)


def test_against_a_loop(encoder):
    """Of each picture's views, every pair of a large one by the teacher and another one."""
    objective = self_distillation.Config(**HEAD).build(model_of(encoder)).eval()
    objective.centre.normal_(std=0.1)
    teacher = copy.deepcopy(Student(encoder, objective.head)).eval()
    for parameter in objective.head.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    student, tiles = Student(encoder.eval(), objective.head), tiles_of(torch.randn(3, 3, 24, 24))
    views = objective.drawn(3, "cpu")
    assert [v.shape[1] for v in views] == [25, 25, 9, 9]
    found = objective.loss(student, tiles, views)
    wanted = 0.0
    for n in range(3):
        pairs = []
        for i in range(2):
            raw = teacher(tiles[n : n + 1], views[i][n : n + 1])[0]
            target = ((raw - objective.centre) / 0.04).softmax(-1)
            for j in range(4):
                if i != j:
                    said = (student(tiles[n : n + 1], views[j][n : n + 1])[0] / 0.1).softmax(-1)
                    pairs.append(-(target * said.log()).sum())
        wanted = wanted + sum(pairs) / len(pairs)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-5)


def test_views_are_squares_of_neighbours(encoder):
    objective = self_distillation.Config(**HEAD).build(model_of(encoder))
    for view in objective.drawn(5, "cpu"):
        for kept in view:
            rows, columns = (kept // 6).unique(), (kept % 6).unique()
            assert len(rows) * len(columns) == len(kept) and len(rows) == len(columns)
            assert rows.diff().eq(1).all() and columns.diff().eq(1).all()


def run_of(encoder, objective, pixels):
    media = {"image": Media(tiles_of(pixels), torch.full((len(pixels),), 36))}
    batch = SimpleNamespace(media=media, ids=torch.zeros(1))
    return SimpleNamespace(batch=batch, model=model_of(encoder))


def test_the_teacher_follows_in_training_alone(encoder):
    objective = self_distillation.Config(**HEAD, momentum=0.5).build(model_of(encoder))
    name = "head/prototypes"
    start = getattr(objective.teacher, name).clone()
    objective.head.prototypes.data += 1.0
    result = run_of(encoder, objective, torch.randn(4, 3, 24, 24))
    first, again = objective.eval()(result), objective(result)
    assert torch.equal(first[0], again[0]) and first[1] == 4 == objective.count(result.batch)
    assert torch.equal(getattr(objective.teacher, name), start)
    loss, _ = objective.train()(result)
    torch.testing.assert_close(getattr(objective.teacher, name), start + 0.5)
    assert objective.centre.any()
    loss.backward()
    assert encoder.model.embeddings.patch_embeddings.projection.weight.grad.abs().max() > 0
    assert not any(p.requires_grad for p in objective.teacher.buffers())
    assert {n for n, _ in objective.named_parameters()} == {
        n for n, _ in objective.named_parameters() if n.startswith("head.")
    }


def test_it_learns_and_does_not_collapse(encoder):
    """Of coloured pictures the teacher says different things, of each but one.

    The loss begins low, for at first all are alike, and rises when the centre drives them apart.
    """
    made = self_distillation.Config(**HEAD, momentum=0.9, centring=0.7)
    objective = made.build(model_of(encoder))
    torch.manual_seed(1)
    pixels = torch.randn(12, 3, 1, 1) * 2 + 0.1 * torch.randn(12, 3, 24, 24)
    result = run_of(encoder, objective, pixels)
    learning = [*encoder.parameters(), *objective.parameters()]
    optimizer = torch.optim.AdamW(learning, lr=1e-3)
    losses = []
    for _ in range(100):
        optimizer.zero_grad()
        loss, count = objective(result)
        (loss / count).backward()
        optimizer.step()
        losses.append(float(loss.detach()) / 12)
    assert sum(losses[-5:]) / 5 < 0.3 < max(losses)
    with torch.no_grad():
        said = Student(encoder, objective.head)(tiles_of(pixels), torch.arange(36).expand(12, -1))
    shares = ((said - objective.centre) / made.teacher_temperature).softmax(-1)
    assert len(set(shares.argmax(-1).tolist())) > 2
    assert torch.special.entr(shares.mean(0)).sum() > 1 > torch.special.entr(shares).sum(-1).mean()


def test_encoders_that_cannot_are_refused():
    encoder = vit.Config(family="siglip", config=SIZES).build(51)
    with pytest.raises(ValueError, match="wants the encoder vit of a family with class token"):
        self_distillation.Config().build(model_of(encoder))
    with pytest.raises(ValueError, match="large: wanted a share up to 1"):
        self_distillation.Config(large=1.5)
