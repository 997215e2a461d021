"""Ids drawn by their probabilities, as transformers' `generate` draws them; each row by itself."""

from collections.abc import Sequence

import torch


def generator(config, device) -> torch.Generator | None:
    """Give what a row draws by, None of a greedy search."""
    return torch.Generator(device).manual_seed(config.seed) if config.temperature else None


def drawn(allowed: torch.Tensor, rows: Sequence, config) -> torch.Tensor:
    """Draw an id for each line (N,), each row by its own generator."""
    shares = (allowed / config.temperature).softmax(-1)
    if config.top_p < 1:
        # shares 0.5 0.3 0.2, top_p 0.7: before each stand 0, 0.5 and 0.8, so the third is out; the
        # first never is. Shares need not sum to 1 afterwards: multinomial takes them as weights.
        sorted_shares, order = shares.sort(-1, descending=True)
        before = sorted_shares.cumsum(-1) - sorted_shares  # the share of what is more probable
        out = torch.zeros_like(before, dtype=torch.bool)
        shares = shares.masked_fill(out.scatter(-1, order, before >= config.top_p), 0.0)
    drawn = [torch.multinomial(s, 1, generator=r.draw) for s, r in zip(shares, rows, strict=True)]
    return torch.cat(drawn)
