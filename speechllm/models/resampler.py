"""The Perceiver resampler of Idefics2, whose latents start apart from each other."""

import torch


def make(dim: int, latents: int, layers: int, heads: int, kv_heads: int, head_dim: int):
    """Make one of width `dim`: states (N, L, D), a mask (N, L) of ones -> latents (N, K, D)."""
    from transformers.models.idefics2 import modeling_idefics2 as idefics2

    made = idefics2.Idefics2PerceiverResampler(
        idefics2.Idefics2PerceiverConfig(
            hidden_size=dim,
            resampler_n_latents=latents,
            resampler_depth=layers,
            resampler_n_heads=heads,
            resampler_head_dim=head_dim,
            num_key_value_heads=kv_heads,
        )
    )
    with torch.no_grad():  # they start as ones there: latents that are alike stay alike
        made.latents.normal_()
    return made
