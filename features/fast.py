"""The fast path on a CPU: the chain as a C kernel, 16 frames at a time, one frame a SIMD lane.

`Direct` makes all of the features of a plain wave in one call. Where torch has steps of its own to
do before or after, `run` makes the frames. Both do the work, or say that they cannot (no library,
another device, another number format, an option they were not taught), and torch goes on. The
kernel (native/frontend.c) is general; what makes it a preset is a plan: window, places of the
samples, twiddles, mel weights, made here once for each set of options. It holds no state, starts no
thread, writes into the caller's output, and keeps one scratch of some 50 KB a thread.
"""

from __future__ import annotations

import ctypes
import functools
import math
import threading
from dataclasses import fields

import numpy as np
import torch

from features import kernel, prediction, steps, tables, windows
from features.options import Spectral

# options that the kernel carries out, or the torch path before and after it
KNOWN = frozenset(
    "sampling_rate frame_length_ms frame_shift_ms n_fft snip_edges center drop_last pad_to_s "
    "window periodic scale dither remove_dc_offset preemphasis power num_mel_bins mel_scale "
    "mel_triangles mel_norm low_freq high_freq log floor top_db offset divisor num_ceps "
    "htk_dct cepstral_lifter lifter_start use_energy raw_energy global_preemphasis vtln_warp "
    "vtln_low vtln_high empty_filters cmvn cmvn_ddof pad_to_frames stack dtype "
    "pad_longer pad_counts pad_mode guard cmvn_guard semicausal lfr deltas energy_floor "
    "deltas_window stats lpc_order compress_factor cepstral_scale".split()
)
LOGS = {"none": 0, "ln": 1, "log10": 2, "db": 3}
EDGES = {"reflect": 0, "mirror": 1, "constant": 2}
MOST_POLES = 32  # of linear prediction, in frontend.c
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


class Direct:
    """Plain waves (N,) float32 to features, all steps in one call of the kernel."""

    def __init__(self, o: Spectral, plan: _Plan, quiet: torch.Tensor | None):
        self.o, self._plan = o, plan
        # rows that see nothing of the wave: of silence, or zeros that only `finish` has touched
        rest = torch.zeros(o.row_dim) if quiet is None else quiet.flatten()
        self._quiet = rest.to(torch.float32).contiguous()
        self._address = self._quiet.data_ptr()

    def address(self, wave) -> int:
        """Where the samples of `wave` lie, 0 where this is no plain one of at least a sample."""
        if torch.compiler.is_compiling():
            return 0
        if type(wave) is np.ndarray:
            plain = wave.dtype == np.float32 and wave.ndim == 1 and wave.flags.c_contiguous
            return wave.__array_interface__["data"][0] if plain and len(wave) else 0
        if not _plain(wave) or wave.ndim != 1 or not len(wave) or not wave.is_contiguous():
            return 0
        try:
            return wave.data_ptr()
        except RuntimeError:  # inside torch.func there is no memory behind a tensor
            return 0

    def into(self, wave: int, n: int, n_padded: int, busy: int, x: int, total: int) -> bool:
        """Write `total` rows at address `x`, of which `busy` see the `n` samples at `wave`.

        False where the wave is not finite; x holds nothing then.
        """
        plan = self._plan
        return not plan.wave(
            plan.address, wave, n, n_padded, busy, total, x, self._address, plan.scratch()
        )


def direct(o: Spectral, quiet: torch.Tensor | None, first: int | None = None) -> Direct | None:
    """What makes all of the features, None where some step is torch's.

    `quiet`: the row of what a window is padded with. `first`: where the first frame begins, if not
    where the options have it; what comes before the frames is the caller's then.
    """
    before = first is None and (o.dither or o.global_preemphasis)
    torchs = before or o.cmvn or o.deltas or o.lfr or o.dtype != "float32"
    several = o.stack > 1 and (o.top_db or o.pad_to_frames)
    plan = None if torchs or several or (o.pad_to_s and o.pad_to_frames) else _plan(o, first)
    return Direct(o, plan, quiet) if plan else None


class _Plan:
    """Constants of one set of options; many threads may share it."""

    def __init__(self, native: kernel.Kernel, **values):
        arrays = {k: np.ascontiguousarray(v) for k, v in values.items() if np.ndim(v)}
        self._kept = arrays  # the struct holds bare addresses
        self._struct = kernel.Plan(**{k: v for k, v in values.items() if k not in arrays})
        for name, array in arrays.items():
            setattr(self._struct, name, array.ctypes.data)
        self.address = ctypes.addressof(self._struct)
        self.wave, self._run = native.wave, native.run
        self._size = native.scratch(ctypes.c_void_p(self.address))

    def run(self, wave: int, n: int, n_padded: int, frames: int, out: int, step: int) -> None:
        """Call the kernel: addresses of wave and output, samples, frames, floats between rows."""
        self._run(self.address, wave, n, n_padded, frames, out, step, self.scratch())

    def scratch(self) -> int:
        """Address of this thread's scratch, made larger if need be."""
        kept = getattr(_thread, "scratch", None)
        if kept is None or len(kept) < self._size:
            kept = _thread.scratch = np.empty(self._size, np.float32)
            _thread.address = kept.ctypes.data
        return _thread.address


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
    # in a column of its own, which the limit of top_db would touch, or in place of a bin
    energy = o.use_energy and not o.num_ceps and (o.top_db or not o.num_mel_bins)
    if odd or late or energy or not radix or o.lpc_order > MOST_POLES:
        return None
    native, _ = kernel.load()
    if native is None:
        return None
    slot, built = _slots(radix), tables.make(o)
    bank = np.eye(o.fft_length // 2 + 1) if built.bank is None else built.bank.T.numpy()
    cosine = np.zeros((1, 1), np.float32) if built.cosine is None else built.cosine.T.numpy()
    row, column = np.nonzero(bank)
    hops = -(-o.frame_length // o.frame_shift)
    columns = native.width + hops - 1
    return _Plan(
        native,
        length=o.frame_length, shift=o.frame_shift, columns=columns,
        first=o.first_sample(0) if first is None else first, edge=EDGES[o.edges],
        half=o.fft_length // 2, stages=len(radix), gap=GAP, live=(o.frame_length + 1) // 2,
        bins=o.fft_length // 2 + 1, rows=len(bank), ceps=o.num_ceps, dim=o.row_dim,
        center=int(o.remove_dc_offset), magnitude=int(o.power == 1), log=LOGS[o.log],
        energy=int(o.use_energy) * (1 if o.raw_energy else 2),
        preemphasis=0.0 if o.global_preemphasis else o.preemphasis,
        guard=o.guard, floor=max(o.floor, TINY),
        span=steps.span(o.top_db, o.log) if o.top_db else 0.0,
        offset=o.offset, divisor=o.divisor, factor=_factor(o.divisor),
        energy_floor=max(steps.TINY, o.energy_floor),
        energy_scale=o.scale**2 if o.raw_energy else 4.0,  # the window is halved
        places=_places(o, columns), window=_window(o),
        radix=np.array(radix, np.int64), twiddle=_twiddles(radix), split=_split(o.fft_length),
        order=o.lpc_order, root=o.compress_factor, lifter=prediction.weights(o),
        slot=slot, row_start=np.searchsorted(row, np.arange(len(bank) + 1)).astype(np.int32),
        bin=slot[column], weight=bank[row, column].astype(np.float32), dct=cosine,
    )  # fmt: skip


def _factor(divisor: float) -> float:
    """1 / divisor where that is exact, else 0."""
    return 1.0 / divisor if math.frexp(divisor)[0] in (0.5, -0.5) else 0.0


def _radices(half: int) -> list[int]:
    """Radices of the passes over `half` complex points, small ones first; [] if it has none."""
    radices, twos = [], 0
    for prime in (5, 3):
        while half % prime == 0:
            radices, half = [*radices, prime], half // prime
    while half % 2 == 0:
        twos, half = twos + 1, half // 2
    eights = twos // 3 - (twos % 3 == 1 and twos > 1)  # rather 4 x 4 than 8 x 2
    fours, two = divmod(twos - 3 * eights, 2)
    radices += [8] * eights + [4] * fours + [2] * two
    return sorted(radices) if half == 1 else []


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
