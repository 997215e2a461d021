"""The Q-Former as transformers has it: queries that read encoder steps by cross-attention."""

import torch
from torch import nn


class Queries(nn.Module):
    """Learned queries (Q, E) and the Q-Former of BLIP-2 around them.

    config: an adapter's, with queries, hidden, heads, layers and dropout. every: how many layers
    there are to one that looks at the encoder.
    """

    def __init__(self, in_dim: int, config, every: int):
        from transformers import Blip2QFormerConfig, Blip2QFormerModel

        super().__init__()
        self.query = nn.Parameter(torch.randn(1, config.queries, config.hidden))
        self.qformer = Blip2QFormerModel(
            Blip2QFormerConfig(
                hidden_size=config.hidden,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                intermediate_size=4 * config.hidden,
                encoder_hidden_size=in_dim,
                cross_attention_frequency=every,
                hidden_dropout_prob=config.dropout,
                attention_probs_dropout_prob=config.dropout,
            )
        )

    def forward(self, states, valid=None):
        """Read states (N, T, D), of which `valid` (N, T) are there: (N, Q, E)."""
        return self.qformer(
            query_embeds=self.query.expand(len(states), -1, -1),
            encoder_hidden_states=states,
            encoder_attention_mask=valid,
        ).last_hidden_state


def check(queries: int, hidden: int, heads: int, layers: int) -> None:
    """Refuse sizes that do not fit together.

    Raises:
        ValueError: a number below 1, a width that the heads cannot share.
    """
    if min(queries, heads, layers) < 1 or hidden < 1 or hidden % heads:
        raise ValueError(
            "wanted queries, heads and layers of 1 or more and hidden a multiple of heads, got "
            f"queries {queries}, heads {heads}, layers {layers}, hidden {hidden}"
        )
