"""The network of BEATs, its parameters named as in the released checkpoints.

Patches, a convolution for positions, then layers whose norms stand behind the sums and whose
attention has relative positions: a learned bias for each bucket of distances, the same in all
layers, times a gate that each query computes. DeepNorm weighs the residual by (2 N)^(1/4).

Shapes: x (B, T, F) -> (B, L, D), the R = F / P patches of a column of P frames one after the other.
Papers: BEATs, arXiv 2212.09058; the gate: WavLM, arXiv 2110.13900; DeepNorm: arXiv 2203.00555.
"""

import dataclasses
import math

import torch
from torch import nn
from torch.nn import functional

from speechllm.models.masks import valid_mask, zero_beyond
from speechllm.ranges import BelowOne


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Sizes by their released names and with their released values, and the width of the input."""

    input_patch_size: int = 16
    embed_dim: int = 512  # of a patch
    conv_bias: bool = False
    encoder_layers: int = 12
    encoder_embed_dim: int = 768
    encoder_ffn_embed_dim: int = 3072
    encoder_attention_heads: int = 12
    deep_norm: bool = True
    conv_pos: int = 128
    conv_pos_groups: int = 16
    num_buckets: int = 320
    max_distance: int = 800
    dropout: BelowOne = 0.0
    attention_dropout: BelowOne = 0.0
    activation_dropout: float = 0.0
    dropout_input: float = 0.0
    num_mel_bins: int = 128

    def __post_init__(self):
        """Refuse sizes that do not fit together."""
        if self.encoder_embed_dim % self.encoder_attention_heads:
            raise ValueError(
                f"encoder_embed_dim must be a multiple of encoder_attention_heads="
                f"{self.encoder_attention_heads}, got {self.encoder_embed_dim}"
            )
        if self.num_mel_bins % self.input_patch_size:
            raise ValueError(
                f"num_mel_bins must be a multiple of input_patch_size={self.input_patch_size}, "
                f"got {self.num_mel_bins}"
            )


class Network(nn.Module):
    """Patches and Transformer."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        patch, width = sizes.input_patch_size, sizes.embed_dim
        self.patch_embedding = nn.Conv2d(1, width, patch, patch, bias=sizes.conv_bias)
        self.layer_norm = nn.LayerNorm(width)
        self.post_extract_proj = (
            nn.Linear(width, sizes.encoder_embed_dim) if width != sizes.encoder_embed_dim else None
        )
        self.dropout = sizes.dropout_input
        self.encoder = Transformer(sizes)

    def forward(self, x, columns):
        """Map x (B, T, F), `columns` (B,) of which are valid, to all hidden states (B, L, D)."""
        grid = self.patch_embedding(x[:, None])  # (B, C, T / P, R)
        patches = self.layer_norm(grid.flatten(2).transpose(1, 2))
        if self.post_extract_proj is not None:
            patches = self.post_extract_proj(patches)
        patches = functional.dropout(patches, self.dropout, self.training)
        return self.encoder(patches, columns * grid.shape[3])


class Transformer(nn.Module):
    """Positions and layers: (B, L, D) and lengths (B,) to the list of all hidden states."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        width = sizes.encoder_embed_dim
        self.dropout = sizes.dropout
        self.pos_conv = nn.ModuleList([Positions(width, sizes.conv_pos, sizes.conv_pos_groups)])
        self.layer_norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList([Layer(sizes) for _ in range(sizes.encoder_layers)])
        self.layers[0].self_attn.add_distances(sizes.num_buckets, sizes.max_distance)

    def forward(self, x, lengths):
        """Run all layers; nothing beyond an end is seen."""
        x = zero_beyond(x, lengths)
        x = self.layer_norm(x + self.pos_conv[0](x))
        x = functional.dropout(x, self.dropout, self.training)
        bias = self.layers[0].self_attn.bias(x.shape[1])
        # A row without a single state would attend to nothing; it attends to itself and is unused.
        mask = valid_mask(lengths.clamp(min=1), x.shape[1])[:, None, None]
        hidden = [x]
        for layer in self.layers:
            hidden.append(layer(hidden[-1], bias, mask))
        return hidden


class Positions(nn.Module):
    """Grouped convolution over (B, L, D), its weight v scaled to the norm g at each of K places."""

    def __init__(self, width: int, kernel: int, groups: int):
        super().__init__()
        v = torch.randn(width, width // groups, kernel) * math.sqrt(4 / (kernel * width))
        self.weight_v = nn.Parameter(v)
        self.weight_g = nn.Parameter(v.norm(dim=(0, 1), keepdim=True))
        self.bias = nn.Parameter(torch.zeros(width))
        self.groups = groups

    def forward(self, x):
        """Map x (B, L, D) to (B, L, D)."""
        v = self.weight_v
        weight = v * (self.weight_g / v.norm(dim=(0, 1), keepdim=True))
        y = functional.conv1d(
            x.transpose(1, 2), weight, self.bias, padding=v.shape[2] // 2, groups=self.groups
        )
        return functional.gelu(y[..., : x.shape[1]]).transpose(1, 2)


class Layer(nn.Module):
    """Attention and feed-forward, a norm behind each sum."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        width, inner = sizes.encoder_embed_dim, sizes.encoder_ffn_embed_dim
        self.self_attn = Attention(width, sizes.encoder_attention_heads, sizes.attention_dropout)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, inner), nn.Linear(inner, width)
        self.final_layer_norm = nn.LayerNorm(width)
        self.dropout, self.inner_dropout = sizes.dropout, sizes.activation_dropout
        self.residual = (2 * sizes.encoder_layers) ** 0.25 if sizes.deep_norm else 1.0
        attention = self.self_attn
        small = (8 * sizes.encoder_layers) ** -0.25 if sizes.deep_norm else 1.0
        for linear in (attention.v_proj, attention.out_proj, self.fc1, self.fc2):
            nn.init.xavier_normal_(linear.weight, small)
        for linear in (attention.q_proj, attention.k_proj):
            nn.init.xavier_normal_(linear.weight)

    def forward(self, x, bias, mask):
        """Map x (B, L, D); bias (H, L, L) of positions; mask (B, 1, 1, L), true where valid."""
        y = functional.dropout(self.self_attn(x, bias, mask), self.dropout, self.training)
        x = self.self_attn_layer_norm(x * self.residual + y)
        y = functional.dropout(functional.gelu(self.fc1(x)), self.inner_dropout, self.training)
        y = functional.dropout(self.fc2(y), self.dropout, self.training)
        return self.final_layer_norm(x * self.residual + y)


class Attention(nn.Module):
    """Self-attention whose bias of relative positions is gated by each query."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.q_proj, self.k_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.v_proj, self.out_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.grep_linear = nn.Linear(width // heads, 8)
        self.grep_a = nn.Parameter(torch.ones(1, heads, 1, 1))

    def add_distances(self, buckets: int, most: int) -> None:
        """Give the first layer the bias that all layers share."""
        self.relative_attention_bias = nn.Embedding(buckets, self.heads)
        nn.init.normal_(self.relative_attention_bias.weight, std=0.02)
        self.most = most

    def bias(self, size: int):
        """Look up the bias (H, L, L) of keys seen from queries."""
        table = self.relative_attention_bias
        place = torch.arange(size, device=table.weight.device)
        distance = place[None, :] - place[:, None]
        return table(bucket(distance, table.num_embeddings, self.most)).permute(2, 0, 1)

    def forward(self, x, bias, mask):
        """Map x (B, L, D); see `Layer`."""
        q, k, v = (
            linear(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for linear in (self.q_proj, self.k_proj, self.v_proj)
        )
        gate = self.grep_linear(q).unflatten(-1, (2, 4)).sum(-1).sigmoid()
        gate = gate[..., :1] * (gate[..., 1:] * self.grep_a - 1.0) + 2.0
        scores = (gate * bias).to(q.dtype).masked_fill(~mask, -math.inf)
        dropout = self.dropout if self.training else 0.0
        y = functional.scaled_dot_product_attention(q, k, v, scores, dropout)
        return self.out_proj(y.transpose(1, 2).flatten(2))


def bucket(distance, buckets: int, most: int):
    """Give the bucket of each distance key - query: half for each sign, as in T5.

    Of each half, the first half are single distances; the others grow as the logarithm up to
    `most`, and the last takes all beyond.
    """
    half = buckets // 2
    single = half // 2
    size = distance.abs()
    grown = torch.log(size.clamp(min=1).float() / single) / math.log(most / single)
    grown = (single + (grown * (half - single)).long()).clamp(max=half - 1)
    return torch.where(size < single, size, grown) + half * (distance > 0)
