"""Masked autoencoding against transformers' ViTMAEForPreTraining: weights, noise, loss."""

from types import SimpleNamespace

import pytest
import torch
import transformers

from speechllm import config
from speechllm.data.batch import Media
from speechllm.models.encoders import vit
from speechllm.objectives import masked_autoencoding

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 24,
         "patch_size": 4, "intermediate_size": 48}  # fmt: skip
DECODER = {"dim": 16, "layers": 2, "heads": 4, "ff": 24}


def model_of(encoder):
    branch = SimpleNamespace(encoder=encoder, encoder_dim=32)
    return SimpleNamespace(branches={"image": branch})


def tiles_of(pixels):
    """Rows of patches, (N, P, F), of pictures (N, 3, 24, 24)."""
    squares = pixels.unfold(2, 4, 4).unfold(3, 4, 4)
    x = squares.permute(0, 2, 3, 1, 4, 5).reshape(len(pixels), 36, -1)
    row, column = torch.meshgrid(torch.arange(6), torch.arange(6), indexing="ij")
    place = torch.stack([torch.zeros_like(row), row, column], -1).reshape(1, 36, 3)
    return torch.cat([x, place.expand(len(pixels), -1, -1)], -1)


@pytest.mark.parametrize("normalise", [False, True])
def test_the_loss_is_that_of_transformers(normalise, tmp_path):
    """The same weights, pictures and noise; and its gradient reaches encoder and decoder."""
    torch.manual_seed(0)
    theirs = transformers.ViTMAEForPreTraining(
        transformers.ViTMAEConfig(
            **SIZES,
            decoder_hidden_size=16,
            decoder_num_hidden_layers=2,
            decoder_num_attention_heads=4,
            decoder_intermediate_size=24,
            norm_pix_loss=normalise,
        )  # fmt: skip
    ).eval()
    theirs.save_pretrained(tmp_path)
    encoder = vit.Config(pretrained=str(tmp_path), family="mae").build(51).eval()
    made = masked_autoencoding.Config(**DECODER, normalise=normalise)
    objective = made.build(model_of(encoder))
    assert objective.decoder.decoder_pos_embed[0, 1:].std() > 0.5  # sines; theirs start as zeros
    objective.decoder.load_state_dict(theirs.decoder.state_dict())
    pixels, noise = torch.randn(3, 3, 24, 24), torch.rand(3, 36)
    wanted = theirs(pixels, noise=noise)
    batch = SimpleNamespace(media={"image": Media(tiles_of(pixels), torch.tensor([36] * 3))})
    loss = objective.loss(encoder, objective.tiles(batch), noise)
    count = objective.count(batch)
    assert count == int(wanted.mask.sum()) == 81
    torch.testing.assert_close(loss / count, wanted.loss, atol=1e-6, rtol=1e-6)
    loss.backward()
    wanted.loss.backward()
    ours = encoder.model.embeddings.patch_embeddings.projection.weight.grad / count
    theirs_ = theirs.vit.embeddings.patch_embeddings.projection.weight.grad
    torch.testing.assert_close(ours, theirs_, atol=1e-6, rtol=1e-4)


def test_pictures_of_several_tiles_and_none():
    encoder = vit.Config(family="mae", config=SIZES).build(51).eval()
    objective = masked_autoencoding.Config(**DECODER).build(model_of(encoder)).eval()
    tiles = tiles_of(torch.randn(3, 3, 24, 24))
    x = torch.zeros(2, 80, 51)
    x[0, :72], x[1, :36] = tiles[:2].flatten(0, 1), tiles[2]
    batch = SimpleNamespace(media={"image": Media(x, torch.tensor([72, 40]))}, ids=torch.zeros(1))
    assert objective.count(batch) == 81 and objective.tiles(batch).shape == (3, 36, 51)
    result = SimpleNamespace(batch=batch, model=model_of(encoder))
    first, again = objective(result), objective(result)
    assert torch.equal(first[0], again[0]), "evaluation hides the same patches each time"
    batch.media = {}
    assert objective(result) == (torch.zeros(()), torch.tensor(0))


@pytest.mark.parametrize(
    ("table", "message"),
    [({"mask": 1.0}, "mask: wanted"), ({"dim": 18}, "dim: wanted a multiple of 4")],
)
def test_wrong_settings(table, message):
    with pytest.raises(ValueError, match=message):
        config.part("objectives", {"name": "masked_autoencoding", **table}, "x")


def test_an_encoder_that_cannot_is_refused():
    other = vit.Config(family="siglip", config=SIZES).build(51)
    with pytest.raises(ValueError, match="wants the encoder vit, family mae or vit"):
        masked_autoencoding.Config().build(model_of(other))
    with pytest.raises(ValueError, match="no branch for image, but for audio"):
        masked_autoencoding.Config().build(SimpleNamespace(branches={"audio": None}))
