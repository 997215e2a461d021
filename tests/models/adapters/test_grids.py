"""Adapters that know squares: against transformers' InternVL, against plain convolutions."""

import pytest
import torch
from torch import nn

from speechllm.models.adapters import cabstractor, pixel_shuffle


@torch.no_grad()
def test_pixel_shuffle_is_internvl_s():
    """Same order of channels, so that its checkpoints would fit; two tiles, each by itself."""
    from transformers.models.internvl.modeling_internvl import InternVLModel

    model = pixel_shuffle.Config(side=6, layers=1, input_norm=False, norm="none").build(
        5, nn.Embedding(9, 20)
    )
    model.mlp[0].weight.copy_(torch.eye(20))
    model.mlp[0].bias.zero_()
    states = torch.randn(1, 72, 5)
    tokens, lengths = model(states, torch.tensor([72]))
    squares = states.reshape(2, 6, 6, 5)
    wanted = InternVLModel.pixel_shuffle(None, squares, 0.5).reshape(1, 18, 20)
    torch.testing.assert_close(tokens, wanted)
    assert lengths.tolist() == [18]


def test_pixel_shuffle_counts_rows_of_squares():
    made = pixel_shuffle.Config(side=32)
    assert [made.count(n) for n in (1024, 2048, 1, 64, 65, 1025)] == [256, 512, 16, 16, 32, 272]
    with pytest.raises(ValueError, match="side: wanted a multiple of factor = 3"):
        pixel_shuffle.Config(side=32, factor=3)


@torch.no_grad()
def test_cabstractor_pools_each_tile():
    """With blocks that do nothing it is the mean over each of its places."""
    model = cabstractor.Config(side=4, out=2, hidden=6, layers=1, norm="none").build(
        6, nn.Embedding(9, 6)
    )
    for block in (*model.first, *model.second):
        block.norms[2].weight.zero_()
    model.places.zero_()
    model.mlp[0].weight.copy_(torch.eye(6))
    model.mlp[0].bias.zero_()
    states = torch.rand(1, 32, 6)  # SiLU is all that is left of a block
    squares = states.reshape(2, 4, 4, 6).permute(0, 3, 1, 2)
    for _ in range(3):
        squares = nn.functional.silu(squares)
    squares = nn.functional.avg_pool2d(squares, 2)
    for _ in range(3):
        squares = nn.functional.silu(squares)
    wanted = squares.flatten(2).transpose(1, 2).reshape(1, 8, 6)
    torch.testing.assert_close(model(states, torch.tensor([32]))[0], wanted)


@torch.no_grad()
def test_cabstractor_sees_neighbours():
    model = cabstractor.Config(side=6, out=6, depth=1).build(8, nn.Embedding(9, 6)).eval()
    states = torch.randn(1, 36, 8)
    before, _ = model(states, torch.tensor([36]))
    states[0, 0] += 5.0
    after, _ = model(states, torch.tensor([36]))
    assert not torch.allclose(before[0, 7], after[0, 7], atol=1e-4)
    with pytest.raises(ValueError, match="out: wanted at most side = 6"):
        cabstractor.Config(side=6, out=7)


@torch.no_grad()
def test_tags_say_which_tile_follows():
    """The thumbnail, which stands last, has the first tag."""
    made = pixel_shuffle.Config(side=2, tags=3, norm="none")
    model = made.build(5, nn.Embedding(9, 6))
    places = torch.tensor([1] * 4 + [2] * 4 + [0] * 4)[:, None].expand(12, 3)[None]
    states = torch.randn(1, 12, 5)
    tokens, lengths = model(states, torch.tensor([12]), places)
    assert lengths.tolist() == [6] == [made.count(12)]
    assert torch.equal(tokens[0, ::2], model.tags.weight[[1, 2, 0]])
    plain = pixel_shuffle.Config(side=2, norm="none").build(5, nn.Embedding(9, 6))
    plain.load_state_dict(model.state_dict(), strict=False)
    torch.testing.assert_close(tokens[0, 1::2], plain(states, torch.tensor([12]))[0][0])
