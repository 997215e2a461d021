"""The vision Transformers of transformers, each in its own class: what is where in it.

They differ in names, in a norm before the layers (CLIP) or none after (CLIP), in a class token or
none (SigLIP) and in how positions are kept; what happens between is the same in all.
"""

import operator
from dataclasses import dataclass

import torch
from torch import nn

from speechllm.models.masks import valid_mask

# What a whole model has besides, or a class and a checkpoint do not share.
LEFT_OVER = (
    r"text_model\.", r"(visual|text)_projection\.", r"logit_(scale|bias)", r"pooler\.",
    r"(vision_model\.)?head\.", r"decoder\.", r"classifier\.", r"(\w+\.)?embeddings\.position_ids",
    r"(\w+\.)?embeddings\.mask_token", r"language_model\.", r"multi_modal_projector\.",
    r"(vision_model\.)?pooler\.", r"qformer\.", r"query_tokens", r"language_projection\.",
)  # fmt: skip


@dataclass(frozen=True)
class Family:
    """Names of classes and parts.

    inside: the table of a bigger model's config.json that holds the encoder's. patch: what makes a
    vector of a patch. place: its positions. front: the class token. before, after: norms. layers:
    the list of them. unused: what no state of a patch comes from. masks: whether a layer takes a
    mask; of one that does not, what an incomplete tile lacks is seen as grey.
    """

    name: str
    patch: str
    place: str
    layers: str
    inside: str = ""
    front: str = ""
    before: str = ""
    after: str = ""
    unused: tuple[str, ...] = ()
    masks: bool = True

    def get(self, model: nn.Module, what: str):
        """Give a part by its role; None where the family has none."""
        path = getattr(self, what)
        return operator.attrgetter(path)(model) if path else None

    def trim(self, model: nn.Module, depth: int) -> None:
        """Take out what no state of a patch comes from, and the layers above `depth`."""
        for path in self.unused:
            *home, name = path.split(".")
            holder = operator.attrgetter(".".join(home))(model) if home else model
            if getattr(holder, name, None) is not None:
                setattr(holder, name, None)
        layers = self.get(model, "layers")
        del layers[depth:]


_OWN = {"patch": "embeddings.patch_embeddings.projection", "front": "embeddings.cls_token",
        "place": "embeddings.position_embeddings", "after": "layernorm"}  # fmt: skip
_CLIP = {"patch": "embeddings.patch_embedding", "place": "embeddings.position_embedding.weight",
         "layers": "encoder.layers", "inside": "vision_config"}  # fmt: skip
FAMILIES = {
    "clip": Family("CLIPVision", **_CLIP, front="embeddings.class_embedding",
                   before="pre_layrnorm", unused=("post_layernorm",)),
    "siglip": Family("SiglipVision", **_CLIP, after="post_layernorm", unused=("head",)),
    "siglip2": Family("Siglip2Vision", **_CLIP, after="post_layernorm", unused=("head",)),
    "blip2": Family("Blip2Vision", patch="embeddings.patch_embedding", layers="encoder.layers",
                    place="embeddings.position_embedding", front="embeddings.class_embedding",
                    after="post_layernorm", inside="vision_config", masks=False),
    "internvl": Family("InternVLVision", **_OWN, layers="encoder.layer", inside="vision_config",
                       unused=("embeddings.mask_token",), masks=False),
    "vit": Family("ViT", **_OWN, layers="layers", unused=("pooler",)),
    "dinov2": Family("Dinov2", **_OWN, layers="encoder.layer", unused=("embeddings.mask_token",)),
    "mae": Family("ViTMAE", **_OWN, layers="layers"),
}  # fmt: skip


def embed(patch: nn.Module, pixels, channels: int, size: int):
    """Make vectors (N, L, D) of pixels (N, L, C P P), channels first."""
    if isinstance(patch, nn.Conv2d):  # one place a patch: a convolution is a Linear
        return nn.functional.linear(pixels, patch.weight.flatten(1), patch.bias)
    # SigLIP 2's is a Linear of pixels whose channels stand last
    last = pixels.unflatten(-1, (channels, size, size)).movedim(-3, -1).flatten(-3)
    return patch(last)


def placed(family: Family, model: nn.Module, x, places=None):
    """Add positions to vectors x (N, P, D), a class token in front; and say how many that are.

    places: (N, P, 3) of pictures of any shape, None of whole tiles.
    """
    table = family.get(model, "place").reshape(-1, x.shape[-1])
    if places is not None:
        # a place is a whole number below the number of patches, whatever the row says
        rows, columns = (places[..., i].clamp(0, x.shape[1] - 1) for i in (1, 2))
        return x + free_places(table, rows, columns), 0
    token = family.get(model, "front")
    if token is None:
        return x + table, 0
    token = token.reshape(1, 1, -1).expand(len(x), -1, -1).to(x.dtype)
    return torch.cat([token, x], 1) + table, 1


def mask(inside, size: int, front: int):
    """Let attention see the class token and the valid patches: (N, 1, size, size), or None."""
    if bool((inside == size - front).all()):
        return None
    # a query that sees nothing has no softmax: an empty tile sees its first patch
    valid = valid_mask(inside.clamp(min=1 - front) + front, size)
    return valid[:, None, None].expand(-1, 1, size, -1)


@torch.no_grad()
def stretch(model: nn.Module, family: Family, side: int) -> None:
    """Interpolate the positions of a model's patches to tiles of side x side, in place."""
    *home, name = family.place.split(".")
    holder = operator.attrgetter(".".join(home))(model)
    old = getattr(holder, name)
    table, front = old.reshape(-1, old.shape[-1]).float(), bool(family.front)
    before = int((len(table) - front) ** 0.5)
    grid = table[front:].reshape(1, before, before, -1).permute(0, 3, 1, 2)
    new = nn.functional.interpolate(grid, size=(side, side), mode="bicubic", align_corners=False)
    new = torch.cat([table[:front], new[0].flatten(1).T]).to(old.dtype)
    new = new.reshape(*old.shape[:-2], *new.shape)
    setattr(holder, name, nn.Parameter(new, requires_grad=old.requires_grad))


def free_places(table, rows, columns):
    """Positions (N, L, D) of patches at rows, columns (N, L), in grids as large as these.

    table: (S S, D), learned for a grid of S x S, interpolated to each item's own, as SigLIP 2 does.
    """
    side = int(len(table) ** 0.5)
    grid = table.reshape(side, side, -1).permute(2, 0, 1)[None].float()
    found = []
    for row, column in zip(rows, columns, strict=True):
        size = int(row.max()) + 1, int(column.max()) + 1
        own = nn.functional.interpolate(
            grid, size=size, mode="bilinear", align_corners=False, antialias=True
        )
        found.append(own[0][:, row, column].T)
    return torch.stack(found).to(table.dtype)


def one(size) -> int:
    """Give the side of a square that a configuration may give as a pair."""
    return size if isinstance(size, int) else size[0]


def decoder(encoder, dim: int, *, layers: int, heads: int, ff: int) -> nn.Module:
    """Make MAE's decoder: of states of the patches that were seen, all patches' pixels.

    encoder: the Config of the encoder. dim, layers, heads, ff: of the decoder.
    """
    from transformers import ViTMAEConfig
    from transformers.models.vit_mae import modeling_vit_mae as mae

    sizes = ViTMAEConfig(
        hidden_size=encoder.dim,
        num_channels=encoder.hf.num_channels,
        patch_size=encoder.hf.patch_size,
        image_size=encoder.hf.image_size,
        decoder_hidden_size=dim,
        decoder_num_hidden_layers=layers,
        decoder_num_attention_heads=heads,
        decoder_intermediate_size=ff,
    )
    sizes._attn_implementation = "sdpa"
    return mae.ViTMAEDecoder(sizes, encoder.per_tile)  # it sets its positions itself
