"""What an extractor takes: waves as float tensors, checked; what is wrong is said in one line."""

from __future__ import annotations

import math
import os

import numpy as np
import torch


def tensor(wave, dtype: torch.dtype) -> torch.Tensor:
    """Float tensor of `dtype`; refuses what is not a float."""
    if type(wave) is np.ndarray and wave.dtype == np.float32 and wave.flags.carray:
        wave = torch.from_numpy(wave)
    elif not isinstance(wave, torch.Tensor):
        refuse_others(wave)
        try:
            wave = np.asarray(wave)
        except ValueError:  # numpy's word for rows of unequal length
            wave = np.empty(0, dtype=object)
        if wave.dtype == object:
            raise ValueError(
                "wanted floats (N,) or (B, N), got rows of unequal length; pad them, give lengths"
            )
        kind = str(dtype).removeprefix("torch.") if wave.dtype.kind == "f" else None
        wave = torch.from_numpy(np.require(wave, kind, ("C", "W")))  # from any byte order
    if not wave.is_floating_point():
        raise ValueError(
            f"wanted float samples in [-1, 1], got {wave.dtype}; "
            "are they PCM? divide 16-bit ones by 32768"
        )
    return wave.to(dtype).contiguous()  # frames are cut by strides


def refuse_others(wave) -> None:
    if isinstance(wave, (str, os.PathLike)):
        raise ValueError(f"wanted a wave, got the path {str(wave)!r}; features.load reads files")
    if isinstance(wave, tuple) and len(wave) == 2 and isinstance(wave[1], int):
        raise ValueError("wanted a wave, got (wave, rate) as features.load gives; take the first")


def refuse_nans(waves: torch.Tensor, lengths: list[int], single: bool) -> None:
    if waves.device.type != "cpu":  # one look at all of it: each answer has to be waited for
        ends = torch.tensor(lengths, device=waves.device)[:, None]
        inside = torch.arange(waves.shape[1], device=waves.device) < ends
        if math.isfinite(waves.detach().where(inside, 0.0).sum().item()):
            return
    for i, n in enumerate(lengths):
        refuse_nan(waves[i, :n], item(i, single))


def item(i: int, single: bool) -> str:
    return "the wave" if single else f"item {i} of the batch"


def refuse_nan(wave: torch.Tensor, where: str) -> None:
    # the sum is finite exactly when every sample is: one cheap pass
    if not math.isfinite(wave.detach().sum().item()):
        bad = (~torch.isfinite(wave)).nonzero()
        if len(bad):
            at = int(bad[0])
            raise ValueError(
                f"{where} holds {wave[at]} at sample {at} of {len(wave)}; drop or repair it"
            )


def refuse_channels(wave: torch.Tensor) -> None:
    if wave.ndim != 1:
        shape = tuple(wave.shape)
        raise ValueError(
            f"wanted one wave (N,), got shape {shape}; "
            "are the rows channels? take one or their mean; "
            "are they a batch? give lengths as well"
        )


def lengths(lengths, wave: torch.Tensor) -> list[int]:
    lengths = lengths.tolist() if isinstance(lengths, torch.Tensor) else [int(n) for n in lengths]
    if wave.ndim != 2 or len(lengths) != len(wave) or not lengths:
        raise ValueError(
            f"wanted waves (B, N) with B lengths, got shape {tuple(wave.shape)} "
            f"and {len(lengths)} lengths"
        )
    if min(lengths) < 0 or max(lengths) > wave.shape[1]:
        raise ValueError(
            f"lengths must lie in 0..{wave.shape[1]} samples, got {min(lengths)} to {max(lengths)}"
        )
    return lengths
