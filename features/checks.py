"""What options of a front end may be: each refusal names the option, its value and what was wanted.

The one thing that is found later is a mel filter without an FFT bin: `mel.mel_filters` names it.
"""

from __future__ import annotations

import math
from dataclasses import fields

CHOICES = {
    "window": ("povey", "hann", "hamming", "blackman", "rectangular"),
    "pad_mode": ("reflect", "constant"),
    "pad_longer": ("refuse", "keep", "multiple", "windows"),
    "pad_counts": ("none", "begun", "all"),
    "mel_scale": ("htk", "slaney"),
    "mel_triangles": ("mel", "hz", "bins"),
    "mel_norm": ("", "slaney"),
    "log": ("ln", "log10", "db", "none"),
    "cmvn": ("", "mean", "mean_var", "global"),
    "dtype": ("float32", "float64"),
}


# What is beyond these is a slip, and would fill the memory before anybody hears of it.
LARGEST = {
    "sampling_rate": 10**7, "num_mel_bins": 2**14, "n_fft": 2**20, "pad_to_s": 86400.0,
    "pad_to_frames": 2**24, "stack": 2**14, "lpc_order": 2**8, "lfr": 2**14, "deltas": 16,
    "deltas_window": 2**10,
}  # fmt: skip
LARGEST_BANK = 2**26  # mel bins times FFT bins
LARGEST_FLOAT = 3e38  # of float32


def wave(o) -> None:
    """Check the options of a raw wave. Raises ValueError."""
    _wanted(o, "sampling_rate", o.sampling_rate > 0, "above 0 Hz")
    _sizes(o)
    _wanted(o, "dtype", o.dtype in CHOICES["dtype"], _one_of("dtype"))


def spectral(o) -> None:
    """Check the options of a spectral front end. Raises ValueError."""
    for field in fields(o):
        value = getattr(o, field.name)
        _wanted(o, field.name, not isinstance(value, float) or math.isfinite(value), "finite")
    _sizes(o)
    for name in CHOICES:
        _wanted(o, name, getattr(o, name) in CHOICES[name], _one_of(name))
    _framing(o)
    _bank(o)
    _rest(o)


def _sizes(o) -> None:
    """Refuse numbers that no front end has, before anything is made of that size."""
    for field in fields(o):
        value, most = getattr(o, field.name), LARGEST.get(field.name, LARGEST_FLOAT)
        if isinstance(value, int | float):
            _wanted(o, field.name, abs(value) <= most, f"at most {most:,}")


def _framing(o) -> None:
    _wanted(o, "sampling_rate", o.sampling_rate > 0, "above 0 Hz")
    length, most = o.frame_length, LARGEST["n_fft"]
    _wanted(o, "frame_length_ms", length <= most, f"at most {most:,} samples")
    _wanted(o, "frame_shift_ms", o.frame_shift <= 2**31, "at most 2,147,483,648 samples")
    _wanted(o, "frame_length_ms", length >= 2, "at least two samples")
    _wanted(o, "frame_shift_ms", o.frame_shift >= 1, "at least one sample")
    _wanted(o, "n_fft", o.fft_length >= length, f"at least {length}, the samples of a frame")
    _wanted(o, "n_fft", o.fft_length % 2 == 0, "even")
    _wanted(o, "pad_to_s", o.pad_to_s >= 0, "at least 0")
    _wanted(o, "pad_to_frames", o.pad_to_frames >= 0, "at least 0")
    fits = o.snip_edges and not o.center
    _wanted(o, "pad_last", fits or not o.pad_last, "False with center or without snip_edges")
    _wanted(o, "drop_last", o.center or not o.drop_last, "False without center")
    _wanted(o, "semicausal", o.center or not o.semicausal, "False without center")
    _wanted(o, "preemphasis", 0 <= o.preemphasis <= 1, "in [0, 1]")
    _wanted(o, "dither", o.dither >= 0, "at least 0")
    _wanted(o, "scale", o.scale > 0, "above 0")


def _bank(o) -> None:
    half, top = o.sampling_rate / 2, o.top_freq
    _wanted(o, "power", o.power in (1, 2), "1 (magnitude) or 2 (power)")
    _wanted(o, "num_mel_bins", o.num_mel_bins >= 0, "at least 0")
    size = o.num_mel_bins * (o.fft_length // 2 + 1)
    _wanted(o, "num_mel_bins", size <= LARGEST_BANK, f"with n_fft {o.fft_length} less than that")
    _wanted(o, "high_freq", 0 < top <= half, f"at most {half:g} Hz, half the rate")
    _wanted(o, "low_freq", 0 <= o.low_freq < top, f"from 0 on and below high_freq, {top:g} Hz")
    if o.vtln_warp == 1.0:
        return
    high = o.vtln_high + top if o.vtln_high < 0 else o.vtln_high
    _wanted(o, "mel_triangles", o.mel_triangles == "mel", "'mel' with a vtln_warp (as Kaldi)")
    _wanted(o, "vtln_warp", 0.5 <= o.vtln_warp <= 2.0, "in [0.5, 2]")
    low, high = o.vtln_low * max(1.0, o.vtln_warp), high * min(1.0, o.vtln_warp)
    _wanted(o, "vtln_low", o.low_freq < o.vtln_low, f"above low_freq, {o.low_freq:g} Hz")
    _wanted(o, "vtln_high", low < high < top, f"between vtln_low and high_freq, {top:g} Hz")


def _rest(o) -> None:
    _wanted(o, "floor", o.floor > 0 or o.log == "none", "above 0 under a logarithm")
    _wanted(o, "energy_floor", o.energy_floor >= 0, "at least 0")
    _wanted(o, "guard", o.guard >= 0, "at least 0")
    _wanted(o, "top_db", o.top_db >= 0, "at least 0")
    _wanted(o, "top_db", o.log != "none" or not o.top_db, "0 without a logarithm")
    _wanted(o, "num_ceps", 0 <= o.num_ceps <= o.num_mel_bins, f"in 0..{o.num_mel_bins}")
    _wanted(o, "cepstral_lifter", o.cepstral_lifter >= 0, "at least 0")
    _wanted(o, "lifter_start", o.lifter_start >= 0, "at least 0")
    _prediction(o)
    _wanted(o, "cmvn_ddof", o.cmvn_ddof in (0, 1), "0 or 1")
    _wanted(o, "divisor", o.divisor != 0, "not 0")
    _wanted(o, "stack", o.stack >= 1, "at least 1")
    _wanted(o, "deltas", 0 <= o.deltas <= 3, "in 0..3")
    _wanted(o, "deltas_window", o.deltas_window >= 1, "at least 1")
    _wanted(o, "lfr", 0 <= o.lfr <= o.stack, f"in 0..{o.stack}, the frames of a row")
    _wanted(o, "lfr", not (o.lfr and o.pad_to_frames), "0 with pad_to_frames")
    _padding(o)
    _statistics(o)


def _prediction(o) -> None:
    _wanted(o, "lpc_order", 0 <= o.lpc_order <= o.num_mel_bins, f"in 0..{o.num_mel_bins}")
    _wanted(o, "compress_factor", 0 < o.compress_factor <= 1, "above 0, at most 1")
    _wanted(o, "cepstral_scale", o.cepstral_scale > 0, "above 0")
    if o.lpc_order:
        most = o.lpc_order + 1
        _wanted(o, "num_ceps", 1 <= o.num_ceps <= most, f"in 1..{most} with that lpc_order")
        _wanted(o, "log", o.log == "none", "'none' with lpc_order: loudness is a root")
        _wanted(o, "floor", o.floor > 0, "above 0 with lpc_order")


def _statistics(o) -> None:
    _wanted(o, "cmvn_guard", o.cmvn_guard >= 0, "at least 0")
    if (o.cmvn == "global") != bool(o.stats):
        raise ValueError(
            f"cmvn={o.cmvn!r} with {'some' if o.stats else 'no'} stats: cmvn='global' and stats go "
            "together; `features stats` makes the file that stats names"
        )
    sizes = [len(row) for row in o.stats]
    if o.stats and sizes != [o.row_dim] * 2:
        raise ValueError(
            f"stats of {' and '.join(map(str, sizes))} columns: wanted mean and deviation of the "
            f"{o.row_dim} columns of this front end; make them with its own options"
        )


def _padding(o) -> None:
    plain = o.pad_longer == "refuse" and o.pad_counts == "none"
    _wanted(o, "pad_to_s", plain or o.pad_to > 0, "above 0 with pad_longer or pad_counts")
    _wanted(o, "pad_to_frames", plain or not o.pad_to_frames, "0 with pad_longer or pad_counts")
    rows = o.pad_to % (o.frame_shift * o.stack) == 0 and o.drop_last
    cut = o.pad_longer == "windows"
    _wanted(o, "pad_to_s", rows or not cut, "whole rows, with drop_last, for pad_longer='windows'")


def _one_of(name: str) -> str:
    return f"one of {', '.join(map(repr, CHOICES[name]))}"


def _wanted(o, name: str, good: bool, wanted: str) -> None:
    if not good:
        raise ValueError(f"{name}={getattr(o, name)!r}: it must be {wanted}; change this option")
