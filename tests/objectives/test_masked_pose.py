"""Masked prediction of pose against a loop, block by block; nothing hidden leaks; it learns."""

from types import SimpleNamespace

import pytest
import torch

from speechllm.data.batch import Media
from speechllm.models.encoders import pose
from speechllm.objectives import masked_pose

JOINTS, T = 7, 17


def clip(n: int = 3, frames: int = T):
    """Frames (n, T, 35) of joints that move as sines, some of them not seen."""
    rng = torch.Generator().manual_seed(0)
    time = torch.arange(frames)[None, :, None] / 4
    phase = torch.rand(n, 1, 2 * JOINTS, generator=rng) * 6
    places = (time + phase).sin()
    moved = places.diff(dim=1, prepend=places[:, :1])
    seen = (torch.rand(n, frames, JOINTS, generator=rng) > 0.2).float()
    twice = seen.repeat_interleave(2, -1)
    return torch.cat([places * twice, moved * twice, seen], -1)


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    made = pose.Config(dim=32, heads=4, layers=1, stride=2, dropout=0.0)
    return made.build(5 * JOINTS)


def objective_of(encoder, **options):
    model = SimpleNamespace(branches={"pose": SimpleNamespace(encoder=encoder)})
    return masked_pose.Config(span=4, **options).build(model)


@torch.no_grad()
def test_against_a_loop(encoder):
    """Of two clips, one shorter, three blocks are hidden, the last of them cut off by its end."""
    objective, x, lengths = objective_of(encoder), clip(2), torch.tensor([17, 10])
    x[1, 10:] = float("nan")
    hidden = torch.zeros(2, T, dtype=torch.bool)
    hidden[0, 4:8] = hidden[0, 16:] = hidden[1, 8:12] = True
    found = objective.loss(encoder.eval(), x, lengths, hidden)
    states, _ = encoder(objective.without(x, hidden), lengths)
    places = objective.head(states).reshape(2, -1, JOINTS, 2)
    wanted = 0.0
    for row, frames in ((0, range(4, 8)), (0, [16]), (1, (8, 9))):
        errors = []
        for t in frames:
            for j in range(JOINTS):
                if x[row, t, 4 * JOINTS + j]:
                    apart = (places[row, t, j] - x[row, t, 2 * j : 2 * j + 2]).abs()
                    errors.append(torch.where(apart < 1, apart**2 / 2, apart - 0.5).mean())
        wanted += sum(errors) / len(errors)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_as_many_blocks_as_are_counted_are_hidden(encoder):
    objective, lengths = objective_of(encoder, mask=0.5), torch.tensor([17, 9, 2, 0])
    batch = SimpleNamespace(media={"pose": Media(clip(4), lengths)})
    hidden = objective.drawn(lengths, T)
    blocks = torch.nn.functional.pad(hidden, (0, 3)).unflatten(1, (-1, 4)).any(2).sum(1)
    assert blocks.tolist() == [2, 2, 1, 0] and objective.count(batch) == 5
    assert not hidden[1, 12:].any() and not hidden[2, 4:].any(), "what is not there is not hidden"
    again = objective.eval().drawn(lengths, T)
    assert torch.equal(again, objective.drawn(lengths, T)), "in evaluation always the same"


def test_nothing_hidden_is_seen(encoder):
    """Places in hidden frames change nothing of what the encoder is given."""
    objective, x = objective_of(encoder), clip(1)
    hidden = torch.zeros(1, T, dtype=torch.bool)
    hidden[0, 4:8] = True
    other = x.clone()
    other[0, 4:8, : 2 * JOINTS] += 3.0
    other[..., 2 * JOINTS : 4 * JOINTS] = other[..., : 2 * JOINTS].diff(
        dim=1, prepend=other[:, :1, : 2 * JOINTS]
    )
    x[..., 2 * JOINTS : 4 * JOINTS] = x[..., : 2 * JOINTS].diff(
        dim=1, prepend=x[:, :1, : 2 * JOINTS]
    )
    given, changed = objective.without(x, hidden), objective.without(other, hidden)
    torch.testing.assert_close(given, changed)


def test_it_learns(encoder):
    objective, x, lengths = objective_of(encoder), clip(8), torch.full((8,), T)
    learning = [*encoder.parameters(), *objective.parameters()]
    optimizer = torch.optim.AdamW(learning, lr=3e-3)
    before = float(objective.eval().loss(encoder, x, lengths))
    objective.train()
    for _ in range(60):
        optimizer.zero_grad()
        objective.loss(encoder, x, lengths).backward()
        optimizer.step()
    assert float(objective.eval().loss(encoder, x, lengths)) < before / 2


def test_other_encoders_and_media_are_refused(encoder):
    with pytest.raises(ValueError, match="no branch for pose, but for audio"):
        masked_pose.Config().build(SimpleNamespace(branches={"audio": None}))
    branch = SimpleNamespace(encoder=torch.nn.Linear(3, 3))
    with pytest.raises(ValueError, match="masked_pose wants the encoder pose"):
        masked_pose.Config().build(SimpleNamespace(branches={"pose": branch}))
