"""How far two presets are apart on a sound, step by step.

    for row in compare(features.get("kaldi_fbank80"), features.get("ast"), wave, 16000):
        print(row.step, row.mean, row.most)

The first step with a difference says where two definitions part; a table of other people's
definitions is made in the same way. A step that one of them leaves out shows what went into it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from features import steps
from features.extractor import Extractor
from features.options import Spectral
from features.resampling import resample

SLAB = 1 << 13  # frames at a time


@dataclass
class Row:
    """One step of both: shapes (frames, columns), and the absolute differences of their values.

    `mean` and `most` are None where the columns differ in number, or only one has the step. Where
    the frames differ in number the first ones are compared.
    """

    step: str
    a: tuple[int, ...] | None = None
    b: tuple[int, ...] | None = None
    mean: float | None = None
    most: float | None = None


def compare(a: Extractor, b: Extractor, wave, sampling_rate: int) -> list[Row]:
    """Rows, one a step, of two front ends on a wave (N,), which each of them gets at its own rate.

    Raises ValueError for what the extractors refuse.
    """
    both = [(fe, torch.from_numpy(resample(wave, sampling_rate, fe.sampling_rate)))
            for fe in (a, b)]  # fmt: skip
    outputs = [fe(wave)[0] for fe, wave in both]
    rows: dict[str, Row] = {}
    if all(isinstance(fe._options, Spectral) for fe in (a, b)):
        for pair in zip(*(_slabs(fe, wave) for fe, wave in both), strict=False):
            _add(rows, pair)
    for row in rows.values():
        row.mean = None if row.mean is None else row.mean / max(1, _shared(row))
    rows["output"] = _output(*outputs)
    return list(rows.values())


def _slabs(fe: Extractor, wave: torch.Tensor) -> Iterator[dict[str, torch.Tensor]]:
    """The steps of some thousand frames at a time, name to (frames, columns)."""
    o, tables = fe._options, fe._pipeline.tables
    n_frames = o.num_frames(len(wave))
    if not n_frames:
        return
    if o.global_preemphasis:
        wave = steps.emphasise(wave, o.preemphasis)
    wave = wave.to(tables.window.dtype)[None]
    framed = steps.cut(wave, torch.tensor([wave.shape[1]]), n_frames, o)[0]
    for slab in framed.split(SLAB):
        spectra = dict(steps.trace(slab, o, tables))
        if o.num_ceps:
            spectra["cepstra"] = steps.cepstra(spectra["log"], o, tables)
        yield spectra


def _add(rows: dict[str, Row], pair: tuple[dict, dict]) -> None:
    """Count two slabs in; `mean` holds the sum for the time being."""
    x, y = pair
    for step in [*x, *(step for step in y if step not in x)]:
        row = rows.setdefault(step, Row(step))
        row.a, row.b = _grown(row.a, x.get(step)), _grown(row.b, y.get(step))
        if step in x and step in y and x[step].shape[1] == y[step].shape[1]:
            n = min(len(x[step]), len(y[step]))
            apart = (x[step][:n].double() - y[step][:n].double()).abs()
            row.mean = (row.mean or 0.0) + float(apart.sum())
            row.most = max(row.most or 0.0, float(apart.max()))


def _grown(shape: tuple | None, x: torch.Tensor | None) -> tuple | None:
    return shape if x is None else ((shape[0] if shape else 0) + len(x), x.shape[1])


def _shared(row: Row) -> int:
    return min(row.a[0], row.b[0]) * row.a[1]


def _output(x: torch.Tensor, y: torch.Tensor) -> Row:
    row = Row("output", tuple(x.shape), tuple(y.shape))
    n = min(len(x), len(y))
    if n and x.shape[1:] == y.shape[1:]:
        apart = (x[:n].double() - y[:n].double()).abs()
        row.mean, row.most = float(apart.mean()), float(apart.max())
    return row
