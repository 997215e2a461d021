"""The fast path on a CPU: the chain as a C kernel, 16 frames at a time, one frame a SIMD lane.

`run` is all that the torch path knows of it: it does the work, or answers False where it cannot (no
library, another device, another number format, an option it was not taught), and torch goes on. The
kernel (native/frontend.c) is general; what makes it a preset is a plan: window, places of the
samples, twiddles, mel weights, made here once for each set of options. It holds no state, starts no
thread, writes into the caller's output, and keeps one scratch of some 50 KB a thread.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Callable
from dataclasses import fields

import numpy as np
import torch

from features import kernel, tables, windows
from features.options import Spectral, Wave

# options that the kernel carries out, or the torch path before and after it
KNOWN = frozenset(
    "sampling_rate frame_length_ms frame_shift_ms n_fft snip_edges center drop_last pad_to_s "
    "window periodic scale dither remove_dc_offset preemphasis power num_mel_bins mel_scale "
    "mel_triangles mel_norm low_freq high_freq log floor top_db offset divisor num_ceps "
    "htk_dct cepstral_lifter lifter_start use_energy raw_energy global_preemphasis vtln_warp "
    "vtln_low vtln_high empty_filters cmvn cmvn_ddof pad_to_frames stack dtype "
    "pad_longer pad_counts".split()
)
LOGS = {"none": 0, "ln": 1, "log10": 2}
AROUND = "dither global_preemphasis top_db cmvn pad_to_s pad_to_frames offset".split()  # not its
GAP = 2  # vectors; without it the parts of a power of two would share their cache sets
TINY = 1.17549435e-38  # the kernel's logarithm wants normal numbers
_thread = threading.local()


def run(
    o: Spectral, wave: torch.Tensor, n_padded: int, x: torch.Tensor, first: int | None = None
) -> bool:
    """Write the first len(x) frames of `wave` (N,) into `x` (T, dim), without `top_db` and after.

    `n_padded`: samples after padding with zeros. `first`: where the first frame begins, if not
    where the options have it. False: nothing was done, the torch path must.
    """
    if not (_plain(wave) and _plain(x) and wave.is_contiguous() and x.stride(-1) == 1):
        return False
    plan = _plan(o, first) if not torch.compiler.is_compiling() else None
    if plan is None:
        return False
    try:
        source, target = wave.data_ptr(), x.data_ptr()
    except RuntimeError:  # inside torch.func there is no memory behind a tensor
        return False
    plan.run(source, len(wave), n_padded, len(x), target, x.stride(0))
    return True


def alone(o: Spectral | Wave) -> Callable[[np.ndarray], np.ndarray] | None:
    """A function of samples (N,) float32 to (T, dim) float32, where the kernel makes all of it.

    Bit for bit what the extractor gives, without its checks and without torch: after a decoder has
    emptied the caches these take 0.3 ms for 8 s of sound, and the kernel 0.4 ms. None where other
    steps are wanted.
    """
    if isinstance(o, Wave) or o.dtype != "float32" or any(getattr(o, k) for k in AROUND):
        return None
    plan = _plan(o) if o.stack == 1 and o.divisor == 1.0 else None

    def compute(wave: np.ndarray) -> np.ndarray:
        assert wave.dtype == np.float32 and wave.flags.c_contiguous and wave.ndim == 1
        x = np.empty((o.count(len(wave)), o.dim), np.float32)
        plan.run(wave.ctypes.data, len(wave), len(wave), len(x), x.ctypes.data, o.dim)
        return x

    return compute if plan else None


class _Plan:
    """Constants of one set of options; many threads may share it."""

    def __init__(self, native: kernel.Kernel, **values):
        arrays = {k: np.ascontiguousarray(v) for k, v in values.items() if np.ndim(v)}
        self._kept = arrays  # the struct holds bare addresses
        self._struct = kernel.Plan(**{k: v for k, v in values.items() if k not in arrays})
        for name, array in arrays.items():
            setattr(self._struct, name, array.ctypes.data)
        self._address = ctypes.byref(self._struct)
        self._function = native.run
        self._scratch = native.scratch(self._address)

    def run(self, wave: int, n: int, n_padded: int, frames: int, out: int, step: int) -> None:
        """Call the kernel: addresses of wave and output, samples, frames, floats between rows."""
        scratch = getattr(_thread, "scratch", None)
        if scratch is None or len(scratch) < self._scratch:
            scratch = _thread.scratch = np.empty(self._scratch, np.float32)
        self._function(self._address, wave, n, n_padded, frames, out, step, scratch.ctypes.data)


def _plain(x: torch.Tensor) -> bool:
    """True for an ordinary float32 tensor in memory that wants no gradient."""
    return (
        type(x) is torch.Tensor
        and x.dtype == torch.float32
        and x.device.type == "cpu"
        and not (x.requires_grad and torch.is_grad_enabled())
    )


@functools.lru_cache(maxsize=64)
def _plan(o: Spectral, first: int | None = None) -> _Plan | None:
    """The plan for options, None where the kernel cannot carry them out."""
    odd = [f.name for f in fields(o) if f.name not in KNOWN and getattr(o, f.name) != f.default]
    radix = _radices(o.fft_length // 2)
    late = o.top_db and o.num_ceps  # cepstra wait for the last frame
    energy = o.use_energy and not o.num_ceps  # in a column of its own, or in place of a bin
    if odd or late or energy or not radix:
        return None
    native, _ = kernel.load()
    if native is None:
        return None
    slot, made = _slots(radix), tables.make(o)
    bank = np.eye(o.fft_length // 2 + 1) if made.bank is None else made.bank.T.numpy()
    cosine = np.zeros((1, 1), np.float32) if made.cosine is None else made.cosine.T.numpy()
    row, column = np.nonzero(bank)
    hops = -(-o.frame_length // o.frame_shift)
    columns = native.width + hops - 1
    return _Plan(
        native,
        length=o.frame_length, shift=o.frame_shift, columns=columns,
        first=o.first_sample(0) if first is None else first, repeat_edge=int(not o.center),
        half=o.fft_length // 2, stages=len(radix), gap=GAP, live=(o.frame_length + 1) // 2,
        bins=o.fft_length // 2 + 1, rows=len(bank), ceps=o.num_ceps, dim=o.row_dim,
        center=int(o.remove_dc_offset), magnitude=int(o.power == 1), log=LOGS[o.log],
        energy=int(o.use_energy) * (1 if o.raw_energy else 2),
        preemphasis=0.0 if o.global_preemphasis else o.preemphasis, floor=max(o.floor, TINY),
        energy_scale=o.scale**2 if o.raw_energy else 4.0,  # the window is halved
        places=_places(o, columns), window=_window(o),
        radix=np.array(radix, np.int64), twiddle=_twiddles(radix), split=_split(o.fft_length),
        slot=slot, row_start=np.searchsorted(row, np.arange(len(bank) + 1)).astype(np.int32),
        bin=slot[column], weight=bank[row, column].astype(np.float32), dct=cosine,
    )  # fmt: skip


def _radices(half: int) -> list[int]:
    """Radices of the passes over `half` complex points, small ones first; [] if it has none."""
    found, twos = [], 0
    for prime in (5, 3):
        while half % prime == 0:
            found, half = [*found, prime], half // prime
    while half % 2 == 0:
        twos, half = twos + 1, half // 2
    eights = twos // 3 - (twos % 3 == 1 and twos > 1)  # rather 4 x 4 than 8 x 2
    fours, two = divmod(twos - 3 * eights, 2)
    found += [8] * eights + [4] * fours + [2] * two
    return sorted(found) if half == 1 else []


def _slots(radix: list[int]) -> np.ndarray:
    """Where bin k = 0..N / 2 ends up, in vectors: its digits in reverse; N / 2 lies beside 0."""
    size = int(np.prod(radix))
    rest, place, step = np.arange(size), np.zeros(size, np.int64), size
    for r in radix:
        step //= r
        place += rest % r * step
        rest //= r
    return np.append(2 * place + GAP * (place // (size // radix[0])), 1).astype(np.int32)


def _twiddles(radix: list[int]) -> np.ndarray:
    """exp(-2 pi i j p / L) of each pass (L = radix * sub), by j < sub, then 0 < p < radix."""
    size, parts = int(np.prod(radix)), []
    for r in radix:
        angle = np.outer(np.arange(size // r), np.arange(1, r)) / size
        parts.append(_turns(angle.ravel()))
        size //= r
    return np.concatenate(parts)


def _split(n_fft: int) -> np.ndarray:
    """exp(-2 pi i k / N) for k = 0..N / 4."""
    return _turns(np.arange(n_fft // 4 + 1) / n_fft)


def _turns(angle: np.ndarray) -> np.ndarray:
    """(cos, sin) of minus so many turns, interleaved float32."""
    return np.exp(-2j * np.pi * angle).astype(np.complex64).view(np.float32)


def _window(o: Spectral) -> np.ndarray:
    """Half the window with its scale (n_fft + 1,): zero beyond the frame."""
    window = np.zeros(o.fft_length + 1, np.float32)
    shape = windows.window(o.window, o.frame_length, o.periodic)
    window[: o.frame_length] = shape * o.scale
    return window / np.float32(2.0)


def _places(o: Spectral, columns: int) -> np.ndarray:
    """Place of sample i of a frame in the kernel's table, for i = -1 (taken as 0)..n_fft."""
    i = np.arange(-1, o.fft_length + 1).clip(0, o.frame_length - 1)
    return (i % o.frame_shift * columns + i // o.frame_shift).astype(np.int32)
