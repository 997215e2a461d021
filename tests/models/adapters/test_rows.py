"""Pictures as lines: against a picture put together by hand, mark by mark."""

import pytest
import torch
from torch import nn

from speechllm import config
from speechllm.models import tiny
from speechllm.models.adapters import rows
from speechllm.models.system import System


def model(**settings):
    """A rows adapter that changes no state of width 3, and whose mark is -1."""
    made = rows.Config(layers=0, norm="none", **settings).build(3, nn.Embedding(9, 3))
    nn.init.constant_(made.newline, -1)
    return made


@torch.no_grad()
def test_tiles_become_one_picture():
    """Two tiles of 2 x 2 side by side, the outermost column left out, behind a thumbnail."""
    places = torch.tensor([[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1],
                           [1, 0, 0], [1, 0, 1], [1, 1, 0], [1, 1, 1],
                           [2, 0, 2], [2, -1, -1], [2, 1, 2], [2, -1, -1]])  # fmt: skip
    states = torch.arange(12.0)[:, None].expand(12, 3)
    made = model(side=2)
    tokens, lengths = made(states[None], torch.tensor([12]), places[None])
    assert tokens[0, :, 0].tolist() == [0, 1, 2, 3, 4, 5, 8, -1, 6, 7, 10, -1]
    assert lengths.tolist() == [12] and made.config.count(12) == 16


@torch.no_grad()
def test_a_batch_is_as_its_pictures_alone():
    cut = torch.tensor([[0, 0, 0], [1, 0, 0], [2, 0, 1]])
    whole = torch.tensor([[0, 0, 0], [0, 0, -1], [0, 0, 0]])  # the front end's mark; padding
    made, states = model(side=1), torch.randn(2, 3, 3)
    tokens, lengths = made(states, torch.tensor([3, 2]), torch.stack([cut, whole]))
    assert lengths.tolist() == [4, 2]
    assert tokens[1, 1].tolist() == [-1, -1, -1] and torch.equal(tokens[1, 0], states[1, 0])
    assert torch.equal(tokens[0, :3], states[0]) and tokens[0, 3].tolist() == [-1, -1, -1]


def test_an_encoder_that_knows_no_places_is_refused():
    preset = config.load("llava", ["branch.image.encoder.token=keep"])
    preset.tables["branch"]["image"]["adapter"] = {"name": "rows", "side": 16}
    with pytest.raises(ValueError, match="image.adapter.*where in a picture each state stands"):
        System(tiny.bare(preset), None).branches["image"].check()


def test_states_of_another_width_are_refused():
    with pytest.raises(ValueError, match="as wide as soft tokens are, 8, got 3"):
        rows.Config(layers=0).build(3, nn.Embedding(9, 8))
