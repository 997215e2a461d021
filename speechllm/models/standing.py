"""Where in their pictures soft tokens stand, for a fusion that tells the LLM so."""

import torch
from torch.nn.functional import pad

from speechllm.data.batch import Batch


def of(model, batch: Batch, size: int) -> torch.Tensor:
    """Give tile, row and column of each soft token, (M, size, 3) in the order of the slots.

    -1 where nobody says: of sounds, and of adapters that mix places.
    """
    found = [_of_kind(model.branches[kind], *batch.media[kind]) for kind in batch.media]
    padded = [pad(p, (0, 0, 0, size - p.shape[1]), value=-1) for p in found]
    back = torch.cat([batch.which(kind) for kind in batch.media]).argsort()
    return torch.cat(padded)[back].repeat(batch.n_answers, 1, 1)


def _of_kind(branch, x, lengths):
    """Give the places of one medium's soft tokens, as many as its adapter knows: (M, K, 3)."""
    if not (hasattr(branch.encoder, "places") and hasattr(branch.adapter, "places")):
        return torch.full((len(lengths), 0, 3), -1, device=lengths.device)
    steps = torch.tensor([branch.counts[0](n) for n in lengths.tolist()], device=lengths.device)
    return branch.adapter.places(branch.encoder.places(x, lengths), steps)
