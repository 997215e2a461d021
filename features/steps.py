"""The steps from samples to features, each a plain function of torch tensors.

Out of place, differentiable, batched, of any float dtype, on any device; `torch.compile` can trace
them. `spectral` computes the same in chunks and in place, which is faster on a CPU; a test holds
one against the other. Letters: B batch, N samples, T frames, L samples of a frame, F FFT bins, M
mel bins.

Source: Kaldi feat/feature-window.cc, feat/feature-functions.cc; the presets name the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch.nn import functional as F

from features import deltas, normalise, prediction, samples
from features.options import Spectral
from features.tables import Tables, gain

TINY = torch.finfo(torch.float32).eps  # Kaldi's floor under the energy
SLAB = 1 << 16  # frames at a time where no gradient is wanted: bounds the memory on a GPU


def emphasise(wave: torch.Tensor, preemphasis: float) -> torch.Tensor:
    """Wave (..., N) minus `preemphasis` times itself a sample before; the first one is kept."""
    return torch.cat((wave[..., :1], wave[..., 1:] - preemphasis * wave[..., :-1]), -1)


def cut(waves: torch.Tensor, lengths: torch.Tensor, n_frames: int, o: Spectral) -> torch.Tensor:
    """Frames (B, T, L) of waves (B, N) that are `lengths` (B,) samples long."""
    first, end = o.first_sample(0), o.first_sample(n_frames - 1) + o.frame_length
    if first < 0 or end > waves.shape[1] or not o.snip_edges or o.center:
        index = torch.arange(first, end, device=waves.device)
        total = torch.full_like(lengths, o.pad_to) if o.pad_to else lengths
        index = samples.place(index, total[:, None], o.edges)
        index = index.where(index < lengths[:, None], -1)
        waves = F.pad(waves, (0, 1)).gather(1, index % (waves.shape[1] + 1))
    return waves[:, : end - min(first, 0)].unfold(1, o.frame_length, o.frame_shift)


def remove_dc(frames: torch.Tensor) -> torch.Tensor:
    """Frames (..., L) without their mean."""
    return frames - frames.mean(-1, keepdim=True)


def preemphasise(frames: torch.Tensor, preemphasis: float) -> torch.Tensor:
    """Frames (..., L), each by itself: y[0] = (1 - c) x[0], y[n] = x[n] - c x[n - 1]."""
    before = torch.cat((frames[..., :1], frames[..., :-1]), -1)
    return frames - preemphasis * before


def log_energy(frames: torch.Tensor, scale: float, floor: float = 0.0) -> torch.Tensor:
    """ln of the energy (...,) of frames (..., L) in units of `scale`, floored as Kaldi's."""
    return (frames * scale).square().sum(-1).clamp(min=max(TINY, floor)).log()


def spectrum(frames: torch.Tensor, n_fft: int, power: float = 2.0) -> torch.Tensor:
    """Power spectrum (..., F) of windowed frames (..., L), or magnitudes with `power` 1."""
    complex_ = torch.fft.rfft(frames, n_fft)
    if power == 1:
        return complex_.abs()
    return torch.view_as_real(complex_).square().sum(-1)


def logarithm(x: torch.Tensor, kind: str, floor: float, guard: float = 0.0) -> torch.Tensor:
    """ "ln", "log10" or "db" (10 log10) of x + `guard`, at least `floor`; "none": as it is."""
    if kind == "none":
        return x
    x = (x + guard if guard else x).clamp(min=floor)
    return x.log() if kind == "ln" else x.log10() * (10.0 if kind == "db" else 1.0)


def span(top_db: float, log: str) -> float:
    """`top_db` in the unit of the logarithm."""
    return top_db * {"db": 1.0, "log10": 0.1, "ln": math.log(10.0) / 10.0}[log]


def trace(framed: torch.Tensor, o: Spectral, tables: Tables) -> Iterator[tuple[str, torch.Tensor]]:
    """The steps from frames (..., L) to log rows (..., log_dim), one after the other, by name."""
    yield "frames", framed
    if o.remove_dc_offset:
        framed = remove_dc(framed)
    yield "DC removal", framed
    energy = log_energy(framed, o.scale, o.energy_floor)
    if o.preemphasis and not o.global_preemphasis:
        framed = preemphasise(framed, o.preemphasis)
    yield "preemphasis", framed
    framed = framed * tables.window
    yield "window", framed
    if not o.raw_energy:
        energy = log_energy(framed, 1.0, o.energy_floor)
    x = spectrum(framed, o.fft_length, o.power)
    if o.spectral_energy:
        squares = x if o.power == 2 else x.square()
        energy = (squares.sum(-1) * gain(o)).clamp(min=o.floor or TINY).log()
    yield "spectrum", x
    if tables.bank is None:
        x = x * gain(o)
    else:
        x = x @ tables.bank
        yield "mel", x
    x = logarithm(x, o.log, o.floor, o.guard)
    if o.use_energy:
        x = torch.cat((energy[..., None], x if o.energy_first else x[..., 1:]), -1)
    yield "log", x


def cepstra(x: torch.Tensor, o: Spectral, tables: Tables) -> torch.Tensor:
    """Cepstra (..., num_ceps) of log rows (..., log_dim), whose energy replaces c0."""
    first = int(o.energy_first)
    y = transformed(x[..., first:], o, tables)
    return torch.cat((x[..., :1], y[..., 1:]), -1) if first else y


def transformed(x: torch.Tensor, o: Spectral, tables: Tables) -> torch.Tensor:
    """Mel bins (..., M) after the logarithm to cepstra (..., num_ceps)."""
    if o.lpc_order:
        return prediction.cepstra_of(x, o, tables.cosine)
    return x @ tables.cosine


def limit(x: torch.Tensor, inside: torch.Tensor, o: Spectral) -> torch.Tensor:
    """Log rows (B, T, log_dim), none further than `top_db` below the item's maximum."""
    first = int(o.energy_first)
    mel = x[..., first:]
    peak = mel.masked_fill(~inside, -math.inf).amax((1, 2), keepdim=True)
    mel = torch.maximum(mel, peak - span(o.top_db, o.log))
    return torch.cat((x[..., :first], mel), -1)


def features(
    waves: torch.Tensor, lengths: list[int], n_rows: int, o: Spectral, tables: Tables
) -> torch.Tensor:
    """Features (B, n_rows, dim) of waves (B, N) with `lengths`; zeros beyond an item's own rows."""
    numbers = [o.num_frames(o.pad_to or n) for n in lengths]
    n_frames = max(numbers)
    if n_frames:
        x = _rows(waves, torch.tensor(lengths, device=waves.device), n_frames, o, tables)
    else:
        x = waves[:, :0, None].expand(-1, -1, o.log_dim)
    counts = torch.tensor(numbers, device=waves.device)
    inside = _inside(n_frames, counts)
    if o.top_db and n_frames:
        x = limit(x, inside, o)
    if o.num_ceps:
        x = cepstra(x, o, tables)
    x = normalised(x, counts, o, tables).where(inside, 0.0)
    if o.deltas or o.lfr:  # both repeat the last frame, each item its own
        items = [widened(item[:n], o) for item, n in zip(x, numbers, strict=True)]
        x = torch.nn.utils.rnn.pad_sequence(items, batch_first=True)
        counts = counts if not o.lfr else -(-counts // o.lfr)
    return finish(x, counts, n_rows, o)


def normalised(x: torch.Tensor, counts: torch.Tensor | None, o: Spectral, tables: Tables):
    """Rows (..., T, row_dim) less their mean, over their deviation, as `cmvn` wants it."""
    if o.cmvn == "global":
        return (x - tables.stats[0]) / tables.stats[1]
    if not o.cmvn:
        return x
    return normalise.utterance(x, counts, o.cmvn == "mean_var", o.cmvn_ddof, guard=o.cmvn_guard)


def widened(x: torch.Tensor, o: Spectral) -> torch.Tensor:
    """Rows (T, row_dim) with their slopes beside them, and `stack` of them every `lfr` frames."""
    x = deltas.kaldi(x, o.deltas, o.deltas_window)
    if not o.lfr:
        return x
    # FunASR: so many copies of the first frame before it that the first row is centred on it, as
    # many of the last one as its row wants
    first = torch.arange(o.rows(len(x)), device=x.device) * o.lfr - (o.stack - 1) // 2
    index = first[:, None] + torch.arange(o.stack, device=x.device)
    return x[index.clamp(0, max(0, len(x) - 1))].flatten(1)


def finish(x: torch.Tensor, counts: torch.Tensor, n_rows: int, o: Spectral) -> torch.Tensor:
    """Frames (B, T, D) with offset and divisor, padded and stacked to (B, n_rows, dim)."""
    stack = 1 if o.lfr else o.stack
    wanted = n_rows * stack
    x = F.pad(x[:, :wanted], (0, 0, 0, max(0, wanted - x.shape[1])))
    x = ((x + o.offset) / o.divisor).reshape(len(x), n_rows, o.dim)
    return x if o.pad_to_frames else x.where(_inside(n_rows, counts // stack), 0.0)


def _inside(n_rows: int, counts: torch.Tensor) -> torch.Tensor:
    """Whether row t of item b is a real one, (B, n_rows, 1)."""
    return (torch.arange(n_rows, device=counts.device) < counts[:, None])[..., None]


def part(source: samples.Samples, first: int, n: int, o: Spectral, tables: Tables) -> torch.Tensor:
    """Frames [first, first + n) of a signal to (n, row_dim), before offset and divisor."""
    end = o.first_sample(first + n - 1) + o.frame_length
    framed = source.read(o.first_sample(first), end).unfold(0, o.frame_length, o.frame_shift)
    x = _last(framed, o, tables)
    return cepstra(x, o, tables) if o.num_ceps else x


def _rows(waves, lengths, n_frames: int, o: Spectral, tables: Tables) -> torch.Tensor:
    """Log rows (B, n_frames, log_dim); those beyond an item's own are of no use."""
    inside = torch.arange(waves.shape[1], device=waves.device) < lengths[:, None]
    waves = waves.where(inside, 0.0)  # what lies beyond may be anything, also NaN
    if o.dither:
        waves = waves + torch.randn_like(waves) * (o.dither / o.scale) * inside
    if o.global_preemphasis:
        waves = emphasise(waves, o.preemphasis).where(inside, 0.0)
    framed = cut(waves, lengths, n_frames, o)
    if torch.compiler.is_compiling() or waves.requires_grad:
        return _last(framed, o, tables)
    slabs = framed.split(max(1, SLAB // len(waves)), dim=1)
    return torch.cat([_last(slab, o, tables) for slab in slabs], 1)


def _last(framed: torch.Tensor, o: Spectral, tables: Tables) -> torch.Tensor:
    *_, (_, x) = trace(framed, o, tables)
    return x
