"""MaskGIT's writing: a row of discrete tokens, all at once and in a few steps.

All tokens are hidden at first. In each step every hidden one is drawn from what the network says of
it; those drawn with the most confidence stay, as many as the cosine schedule has it, and the others
are hidden again. Confidence has Gumbel noise that fades from step to step, so that pictures differ.
Papers: Chang et al., arXiv 2202.04200; guidance, Ho and Salimans, arXiv 2207.12598.
"""

import math
from dataclasses import dataclass

import torch

from speechllm.ranges import NotNegative, Positive


@dataclass(frozen=True)
class Config:
    """Steps; temperature: of the noise at the first step; guidance: away from "anything"."""

    steps: Positive = 8
    temperature: NotNegative = 4.5
    guidance: NotNegative = 1.0


def write(network, wanted, config: Config, generator: torch.Generator) -> torch.Tensor:
    """Write codes (N, K) of what is wanted (N, H), with the head `maskgit`."""
    codes = torch.full((len(wanted), network.size), network.hidden, device=wanted.device)
    for step in range(1, config.steps + 1):
        hidden = codes == network.hidden
        shares = _guided(network, codes, wanted, config.guidance).softmax(-1)
        drawn = torch.multinomial(shares.flatten(0, 1), 1, generator=generator).view_as(codes)
        sure = shares.gather(2, drawn[..., None])[..., 0].log()
        noise = torch.rand(sure.shape, generator=generator, device=sure.device).clamp(
            1e-9, 1 - 1e-7
        )
        fading = config.temperature * (1 - step / config.steps)
        sure = (sure - fading * (-noise.log()).log()).masked_fill(~hidden, math.inf)
        left = int(network.size * math.cos(math.pi / 2 * step / config.steps))
        again = sure.argsort(1).argsort(1) < min(left, int(hidden[0].sum()) - 1)
        codes = torch.where(hidden, drawn, codes).masked_fill(again, network.hidden)
    return codes


def _guided(network, codes, wanted, guidance: float) -> torch.Tensor:
    """Logits (N, K, codes), moved away from what the network says where anything is wanted."""
    n = len(codes)
    if not guidance:
        return network(codes, wanted, torch.zeros(n, dtype=torch.bool, device=codes.device))
    free = torch.arange(2 * n, device=codes.device) >= n
    named, any_ = network(codes.repeat(2, 1), wanted.repeat(2, 1), free).float().chunk(2)
    return named + guidance * (named - any_)
