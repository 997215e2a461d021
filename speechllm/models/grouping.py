"""Media of mixed lengths go through the encoder in groups of similar length: less padding, exact.

An encoder answers for an utterance alone as in any batch, so a batch may be cut. Encoders that
fill windows (`windowed`, Whisper's 30 s) get their whole input; they leave padding out themselves.
"""

import torch
from torch import nn

WORTH = 0.1  # a further group saves at least this share of the frames of the whole batch


def groups(lengths: list[int]) -> list[list[int]]:
    """Cut items, the longest first, where what the shorter ones save is worth another group."""
    # lengths 100 98 40 38: a cut before 40 saves 2 x (100 - 40) = 120 frames of the 400 that the
    # whole batch pads to, more than a tenth; a cut before 98 saves 3 x 2 = 6, not worth a group
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    least = WORTH * len(lengths) * lengths[order[0]]
    parts = [[order[0]]]
    for place, i in enumerate(order[1:], 1):
        saved = (len(order) - place) * (lengths[parts[-1][0]] - lengths[i])
        if saved > least:
            parts.append([])
        parts[-1].append(i)
    return parts


def encode(encoder: nn.Module, x: torch.Tensor, lengths: torch.Tensor, part=None, alone=False):
    """Run an encoder on x (M, T, F) or (M, N), lengths (M,): states (M, L, D), lengths (M,).

    part: what runs in place of its `forward`, such as its `below`. alone: each by itself, cut to
    its length. Where batch statistics are being trained (BatchNorm), the batch stays whole.
    """
    part = part or encoder
    parts = [[i] for i in range(len(x))] if alone else groups(lengths.tolist())
    if len(parts) == 1 and not alone or _mixes(encoder):
        return part(x, lengths)
    whole, results = getattr(encoder, "windowed", False), []
    for group in parts:
        chosen = torch.tensor(group, device=x.device)
        size = x.shape[1] if whole else int(lengths[chosen].max())
        results.append(part(x[chosen, :size], lengths[chosen]))
    # the groups (0, 2), (1) stand as items 0 2 1; argsort of that puts them back into 0 1 2
    back = torch.tensor([i for group in parts for i in group], device=x.device).argsort()
    states, steps = _together(results)
    return states[back], steps[back]


def through(part, x: torch.Tensor, lengths: torch.Tensor, alone: bool):
    """Run an adapter, or a part of an encoder, on (M, L, D) and (M,); `alone`: each by itself."""
    if not alone:
        return part(x, lengths)
    each = enumerate(lengths.tolist())
    return _together([part(x[i : i + 1, :n], lengths[i : i + 1]) for i, n in each])


def _together(results: list[tuple]) -> tuple[torch.Tensor, torch.Tensor]:
    """Put states (m, L, D) of several sizes, and their lengths (m,), one behind the other."""
    longest = max(states.shape[1] for states, _ in results)
    padded = [nn.functional.pad(s, (0, 0, 0, longest - s.shape[1])) for s, _ in results]
    return torch.cat(padded), torch.cat([n for _, n in results])


def _mixes(encoder: nn.Module) -> bool:
    kinds = nn.modules.batchnorm._BatchNorm
    return any(isinstance(module, kinds) and module.training for module in encoder.modules())
