"""Vision Transformers against transformers' own classes, on random checkpoints and pixels."""

import pytest
import torch
import transformers

from features import patches
from speechllm.models.encoders import _vit, vit

SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
FIXED = {**SIZES, "image_size": 24, "patch_size": 4, "intermediate_size": 48}
FAMILIES = [name for name in _vit.FAMILIES if name != "siglip2"]


def fields(family: str) -> dict:
    return {k: v for k, v in FIXED.items() if family != "dinov2" or k != "intermediate_size"}


def checkpoint(family: str, folder, name: str = "Model"):
    """Save a random model of a family; give it back."""
    parts = _vit.FAMILIES[family]
    made = getattr(transformers, f"{parts.name}Config")(**fields(family))
    torch.manual_seed(1)
    model = getattr(transformers, f"{parts.name}{name}")(made).eval()
    for parameter in model.parameters():  # norms of 1 and biases of 0 would hide a slip
        parameter.data += 0.05 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    return model


def rows(pixels, patch: int = 4):
    """Cut pictures (N, 3, H, W) into the rows of one example: (1, N P, F), lengths."""
    front = patches.Patches(size=pixels.shape[-1], patch=patch)
    squares = pixels.unfold(2, patch, patch).unfold(3, patch, patch)
    n, _, high, wide = squares.shape[:4]
    x = squares.permute(0, 2, 3, 1, 4, 5).reshape(n * high * wide, -1)
    row, column = torch.meshgrid(torch.arange(high), torch.arange(wide), indexing="ij")
    place = torch.stack([torch.zeros_like(row), row, column], -1).reshape(-1, 3).repeat(n, 1)
    x = torch.cat([x, place], 1)
    assert x.shape[1] == front.dim
    return x[None], torch.tensor([len(x)])


def options(family: str) -> dict:
    return {"noise": torch.arange(36.0).repeat(2, 1)} if family == "mae" else {}


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_states_are_those_of_transformers(family, tmp_path):
    """Two tiles of a picture: each as the model sees it alone, without its class token."""
    reference = checkpoint(family, tmp_path)
    reference.config.mask_ratio = 0.0
    pixels = torch.randn(2, 3, 24, 24)
    wanted = reference(pixels, **options(family)).last_hidden_state
    front = wanted.shape[1] - 36
    made = vit.Config(pretrained=str(tmp_path), family=family)
    states, lengths = made.build(51).eval()(*rows(pixels))
    assert lengths.tolist() == [72] == [made.count(72)] and made.dim == 32
    torch.testing.assert_close(states[0], wanted[:, front:].flatten(0, 1), atol=1e-5, rtol=0)
    if front:
        kept = vit.Config(pretrained=str(tmp_path), family=family, token="keep")
        states, lengths = kept.build(51).eval()(*rows(pixels))
        assert lengths.tolist() == [74] == [kept.count(72)]
        torch.testing.assert_close(states[0], wanted.flatten(0, 1), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("family", "more"), [
    ("dinov2", {}), ("clip", {"interpolate_pos_encoding": True}),
])  # fmt: skip
@torch.no_grad()
def test_tiles_of_another_size_than_the_checkpoint_s(family, more, tmp_path):
    """Its positions are interpolated, as transformers does for such pictures."""
    reference = checkpoint(family, tmp_path)
    pixels = torch.randn(2, 3, 16, 16)
    wanted = reference(pixels, **more).last_hidden_state
    made = vit.Config(pretrained=str(tmp_path), family=family, size=16)
    states, lengths = made.build(51).eval()(*rows(pixels))
    assert lengths.tolist() == [32] == [made.count(32)]
    torch.testing.assert_close(states[0], wanted[:, 1:].flatten(0, 1), atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="wanted tiles of whole patches of 4, got 18"):
        vit.Config(family=family, config=fields(family), size=18)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_layers_joined(family, tmp_path):
    """As transformers numbers hidden states, in the order they are asked for."""
    reference = checkpoint(family, tmp_path)
    reference.config.mask_ratio = 0.0
    pixels = torch.randn(1, 3, 24, 24)
    more = {k: v[:1] for k, v in options(family).items()}
    hidden = reference(pixels, output_hidden_states=True, **more).hidden_states
    made = vit.Config(pretrained=str(tmp_path), family=family, layers=(-2, 0, 1))
    model = made.build(51).eval()
    states, _ = model(*rows(pixels))
    front = hidden[0].shape[1] - 36
    wanted = torch.cat([hidden[n][0, front:] for n in (-2, 0, 1)], -1)
    torch.testing.assert_close(states[0], wanted, atol=1e-5, rtol=0)
    layers = _vit.FAMILIES[family].get(model.model, "layers")
    assert len(layers) == 2 and made.dim == 96  # the third is not computed


@torch.no_grad()
def test_siglip2_of_any_shape(tmp_path):
    """Pictures of several shapes in one batch, as transformers has them padded."""
    hf = transformers.Siglip2VisionConfig(
        **SIZES, num_patches=16, patch_size=4, intermediate_size=48
    )
    torch.manual_seed(1)
    reference = transformers.Siglip2VisionModel(hf).eval()
    reference.save_pretrained(tmp_path)
    made = vit.Config(pretrained=str(tmp_path), family="siglip2")
    shapes = [(3, 5), (7, 2), (4, 4)]
    alone = [rows(torch.randn(1, 3, 4 * h, 4 * w)) for h, w in shapes]
    x = torch.nn.utils.rnn.pad_sequence([x[0] for x, _ in alone], batch_first=True)
    states, lengths = made.build(51).eval()(x, torch.tensor([h * w for h, w in shapes]))
    last = x[..., :-3].unflatten(-1, (3, 4, 4)).movedim(-3, -1).flatten(-3)
    mask = torch.arange(x.shape[1]) < lengths[:, None]
    wanted = reference(last, mask, torch.tensor(shapes)).last_hidden_state
    for row, n in enumerate(lengths.tolist()):
        torch.testing.assert_close(states[row, :n], wanted[row, :n], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["CLIPModel", "SiglipModel", "ViTMAEForPreTraining"])
@torch.no_grad()
def test_the_encoder_of_a_whole_model(name, tmp_path):
    """Its text side, its decoder and its heads are left out, and nothing else may be too many."""
    family = {"CLIPModel": "clip", "SiglipModel": "siglip"}.get(name, "mae")
    torch.manual_seed(0)
    if family == "mae":
        hf = transformers.ViTMAEConfig(**FIXED, decoder_hidden_size=16, decoder_num_hidden_layers=1)
        whole = transformers.ViTMAEForPreTraining(hf)
        inner = whole.vit
    else:
        kind = getattr(transformers, name.replace("Model", "Config"))
        small = {**SIZES, "intermediate_size": 48, "vocab_size": 99}
        whole = getattr(transformers, name)(kind(text_config=small, vision_config=FIXED))
        inner = whole.vision_model
    whole.save_pretrained(tmp_path)
    inner.config.mask_ratio = 0.0
    pixels = torch.randn(1, 3, 24, 24)
    more = {k: v[:1] for k, v in options(family).items()}
    wanted = inner.eval()(pixels, **more).last_hidden_state[0, -36:]
    states, _ = vit.Config(pretrained=str(tmp_path), family=family).build(51).eval()(*rows(pixels))
    torch.testing.assert_close(states[0], wanted, atol=1e-5, rtol=0)


@torch.no_grad()
def test_tags_stand_before_their_tiles():
    made = vit.Config(family="siglip", config={**FIXED}, tags=3)
    model = made.build(51).eval()
    x, lengths = rows(torch.randn(3, 3, 24, 24))
    x[0, 36:72, -3], x[0, 72:, -3] = 1, 2
    states, steps = model(x, lengths)
    assert steps.tolist() == [111] == [made.count(108)]
    assert torch.equal(states[0, ::37], model.tags)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"family": "vitt"}, "did you mean 'vit'"),
        ({"token": "all"}, "token: wanted 'drop' or 'keep'"),
        ({"family": "siglip", "token": "keep"}, "siglip has no class token"),
    ],
)
def test_wrong_settings(table, message):
    with pytest.raises(ValueError, match=message):
        vit.Config(**table)


def test_front_ends_that_do_not_fit():
    made = vit.Config(config=FIXED)
    for name, options in (("siglip2", {}), ("clip", {}), ("patches", {"size": 48, "patch": 4})):
        with pytest.raises(ValueError, match="wants tiles of 24 pixels in patches of 4"):
            made.check(patches.get(name, **options))
    made.check(patches.get("patches", size=24, patch=4))
    with pytest.raises(ValueError, match="wants patches of 4 x 4 pixels"):
        made.build(80)
    with pytest.raises(ValueError, match="layers: wanted -4 to 3, got 4"):
        vit.Config(config=FIXED, layers=(4,)).build(51)
