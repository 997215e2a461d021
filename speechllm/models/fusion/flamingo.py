"""Flamingo's gated cross-attention as Idefics has it: before the first layer and every n-th behind.

A medium takes one text position, at which the LLM reads the embedding of its placeholder; that
position and all after it in its example see the medium, until the next begins. Each gated block has
a perceptron too, which all positions pass, those that see no medium and texts without any among
them. Both gates start at zero: at first the LLM answers as if nothing were there.

Soft tokens may be of another width than the LLM (Idefics: the image encoder's). The layers are
transformers' own of Idefics; they stand before the LLM's by forward pre-hooks, as those of
`cross_attention` do. Papers: Flamingo, arXiv 2204.14198; OBELICS (Idefics), arXiv 2306.16527.
"""

import dataclasses

import torch
from torch import nn
from torch.nn import functional

from speechllm.models.fusion import cross_attention
from speechllm.models.fusion._media import Media, Pair
from speechllm.ranges import Size, Width

GATES = ("float", "vector")


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of the cross-attention.

    every: a block before the first of each n layers of the LLM. heads, ff: of its attention and
    the inner width of its perceptron, 0 for the LLM's. width: of soft tokens, 0 for the LLM's.
    head_norm: an RMSNorm over the queries and keys of each head. gate: a number ("float") or one a
    channel ("vector").
    """

    every: Width = 4
    heads: Size = 0
    ff: Size = 0
    width: Size = 0
    head_norm: bool = False
    gate: str = "float"
    sees = "last"
    inside = False

    def __post_init__(self):
        """Refuse settings that mean nothing."""
        if self.every < 1 or min(self.heads, self.ff, self.width) < 0:
            raise ValueError(
                "wanted every of 1 or more, heads, ff and width of 0 or more, got every "
                f"{self.every}, heads {self.heads}, ff {self.ff}, width {self.width}"
            )
        if self.gate not in GATES:
            raise ValueError(f"gate must be one of {', '.join(GATES)}, got {self.gate!r}")

    def count(self, n):
        """Give the text positions that a medium of n soft tokens takes: one, where n is not 0."""
        return (0 < n) * 1

    def build(self) -> "Flamingo":
        """Make the fusion; its layers come with `attach`."""
        return Flamingo(self)


class Flamingo(cross_attention.CrossAttention):
    """See the module docstring; what `join` joined last is what the LLM sees from then on."""

    def attach(self, llm) -> None:
        """Make the blocks for an LLM and stand them before its layers, once.

        Raises:
            ValueError: its layers are not found or no multiple of `every`; heads that do not divide
                its width; attached already.
        """
        n = len(self._chosen(llm, 0))
        text = llm.config.get_text_config()
        if text.num_hidden_layers % self.config.every:
            raise ValueError(
                f"[fusion] every = {self.config.every}, but the LLM has {text.num_hidden_layers} "
                "layers, which is no multiple of it"
            )
        settings = self._settings(text, llm.get_input_embeddings().embedding_dim)
        self._stand(llm, [_block(settings, number) for number in range(n)], 0)
        self.place = None  # a medium's position holds its placeholder

    def _settings(self, text, width: int):
        """Describe a block for an LLM whose configuration is `text`."""
        from transformers import IdeficsConfig

        heads = self.config.heads or text.num_attention_heads
        if text.hidden_size != width or width % heads:
            raise ValueError(
                "[fusion] flamingo wants an LLM whose embeddings are as wide as its layers, and "
                f"heads that divide that, got {width} and {text.hidden_size}, heads {heads}"
            )
        return IdeficsConfig(
            hidden_size=width,
            intermediate_size=self.config.ff or getattr(text, "intermediate_size", 4 * width),
            num_attention_heads=heads,
            hidden_act=getattr(text, "hidden_act", "silu"),
            rms_norm_eps=getattr(text, "rms_norm_eps", 1e-6),
            qk_layer_norms=self.config.head_norm,
            alpha_type=self.config.gate,
            vision_config={"embed_dim": self.config.width or width},
        )

    def _read(self, own, hidden):
        """Let hidden states (B, S, H) pass a block: media where there are some, perceptron."""
        x = hidden.to(own.input_layernorm.weight.dtype)
        if self._media is not None:
            out, seen = _attend(own, x, self._media.of_rows(len(x)))
            x = x + own.act_cross_attn(own.alpha_cross_attn) * out.masked_fill(~seen, 0.0)
        out = own.mlp(own.post_attention_layernorm(x))
        return (x + own.act_dense(own.alpha_dense) * out).to(hidden.dtype)


def _attend(own, x, media: Media):
    """Let x (B, S, H) look at the media of its rows: (B, S, H), and which positions see any."""
    # softmax over nothing is not a number: who sees nothing sees everything, and it is thrown away
    attention, mask = own.cross_attn, media.mask(x.shape[1])
    seen = mask.any(-1, keepdim=True)
    heads = attention.num_heads
    queries = attention.q_proj(own.input_layernorm(x)).unflatten(-1, (heads, -1)).transpose(1, 2)
    if attention.qk_layer_norms:
        queries = attention.q_layer_norm(queries)
    pair = _pair(attention, media, x.dtype)
    out = functional.scaled_dot_product_attention(
        queries.to(pair.values.dtype), pair.keys, pair.values, (mask | ~seen)[:, None]
    )
    return attention.o_proj(out.transpose(1, 2).flatten(2)), seen


def _pair(attention, media: Media, dtype) -> Pair:
    """Compute keys and values of the soft tokens, or take those of this pass where none learn."""
    kept = {} if torch.is_grad_enabled() else media.kept.layers
    if attention.layer_idx not in kept:
        states = media.states.flatten(1, 2).to(dtype)
        keys, values = (
            project(states).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
            for project in (attention.k_proj, attention.v_proj)
        )
        if attention.qk_layer_norms:
            keys = attention.k_layer_norm(keys).to(values.dtype)
        kept[attention.layer_idx] = Pair(keys, values)
    return kept[attention.layer_idx]


def _block(settings, number: int) -> nn.Module:
    from transformers.models.idefics import modeling_idefics

    block = modeling_idefics.IdeficsGatedCrossAttentionLayer(settings, number)
    block.cross_attn.rotary_emb = None  # media have no positions
    return block
