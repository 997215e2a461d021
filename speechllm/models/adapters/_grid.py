"""States that stand for a square of patches, tile by tile, row by row."""

from torch.nn import functional

from speechllm.models.masks import zero_beyond


def tiles(states, lengths, side: int):
    """Lay states (B, L, D) of lengths (B,) out as squares: (B, W, side, side, D), zeros beyond.

    An incomplete last tile is filled with zeros, as are tiles that an item does not have.
    """
    per_tile = side**2
    count = max(-(-states.shape[1] // per_tile), 1)
    size = count * per_tile - states.shape[1]
    states = functional.pad(zero_beyond(states, lengths), (0, 0, 0, size))
    return states.reshape(len(states), count, side, side, -1)
