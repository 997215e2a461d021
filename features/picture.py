"""Pictures of what the front end does: waveform, spectrogram, log-mel, cepstra.

matplotlib is imported only here and only when a picture is wanted, with the Agg canvas, so no
display is needed and nothing global is touched. Axes are in seconds, Hz and dB.
"""

from __future__ import annotations

import numpy as np

from features import audio, extractor, mel, quantize
from features.options import Spectral
from features.presets import plain

SPAN_DB = 80.0  # what lies further below the loudest spot is drawn as dark as that
MAX_POINTS = 4000  # frames or waveform columns drawn: an hour must not make a gigabyte of a picture
TICKS_HZ = (0, 250, 500, 1000, 2000, 4000, 8000, 16000)


def plot(
    path,
    out,
    preset: str = "mfcc_textbook",
    start_s: float = 0.0,
    duration_s: float | None = None,
    coded: str = "",
    **options,
) -> None:
    """Draw the steps of `preset` on the sound file `path` into the picture `out` (png, pdf, svg).

    With `coded` (one of quantize.KINDS) the wave is quantised so first, and the title says how far
    below the signal that error lies. Raises ValueError when the file cannot be read, or matplotlib
    is not installed.
    """
    chosen = extractor.get(preset, **options)
    wave, rate = audio.load(path, chosen.sampling_rate, start_s, duration_s)
    title = f"{getattr(path, 'name', path)} · {preset}"
    if not isinstance(chosen._options, Spectral):
        title += " (it has no steps; those of kaldi_fbank80 are drawn)"
    if coded:
        clean, wave = wave, quantize.through(wave, coded)
        title += f" · {coded}, signal to noise {quantize.snr_db(clean, wave):.1f} dB"
    options.pop("sampling_rate", None)  # the wave now has it
    figure = draw(wave, rate, title=title, preset=preset, start_s=start_s, **options)
    try:
        figure.savefig(out, dpi=110)
    except OSError as error:
        raise ValueError(f"{out}: cannot be written ({error.strerror}); check the path") from None


def draw(
    wave,
    sampling_rate: int,
    title: str = "",
    preset: str = "mfcc_textbook",
    start_s: float = 0.0,
    **options,
):
    """Figure of a wave (N,): waveform, spectrogram and log-mel in dB, cepstra if `preset` has them.

    `options` change the preset. `start_s` is where the time axis begins. Returns a matplotlib
    Figure (savefig it). Raises ValueError when matplotlib is not installed.
    """
    wave = np.asarray(wave, dtype=np.float32)
    if wave.ndim != 1 or not len(wave):
        raise ValueError(
            f"wanted one wave (N,) with samples, got shape {wave.shape}; take one channel"
        )
    fe = extractor.get(preset, **{"sampling_rate": sampling_rate, **options})
    o = (
        fe._options
        if isinstance(fe._options, Spectral)
        else Spectral(sampling_rate=fe.sampling_rate)
    )
    steps = _steps(fe, o, wave)
    figure, rows = _figure(1 + len(steps))
    _draw_wave(rows[0], wave, sampling_rate, start_s, title)
    # a frame stands for one shift around its middle
    first_s = start_s + (o.first_sample(0) + (o.frame_length - o.frame_shift) / 2) / sampling_rate
    for (axes, bar), (label, x, ticks, unit) in zip(rows[1:], steps, strict=True):
        _draw_image(figure, axes, bar, x, first_s, first_s + len(x) / o.frame_rate_hz, unit)
        axes.set_ylabel(label)
        if ticks is not None:
            axes.set_yticks(*ticks)
    _share_time(rows, start_s, start_s + len(wave) / sampling_rate)
    return figure


def _steps(fe, o: Spectral, wave: np.ndarray) -> list[tuple]:
    """(label, x (T, F), y ticks, unit) of each picture under the waveform."""
    base = {
        **plain(o),
        "scale": 1.0,
        "log": "log10",
        "top_db": 0.0,
        "offset": 0.0,
        "divisor": 1.0,
        "floor": 1e-10,
    }
    base |= {"num_ceps": 0, "lpc_order": 0, "use_energy": False, "pad_to_s": 0.0, "power": 2.0}
    base |= {"stack": 1, "lfr": 0, "deltas": 0, "cmvn": "", "stats": (), "pad_to_frames": 0}
    n_mels = o.num_mel_bins or 80
    spectrum, _ = extractor.get("kaldi_fbank80", **{**base, "num_mel_bins": 0})(wave)
    log_mel, _ = extractor.get("kaldi_fbank80", **{**base, "num_mel_bins": n_mels})(wave)
    if not len(spectrum):
        raise ValueError(
            f"{len(wave)} samples are less than one frame of {o.frame_length}; nothing to draw"
        )
    centres = mel.mel_to_hz(
        mel.mel_edges(n_mels, o.low_freq, o.top_freq, o.mel_scale)[1:-1], o.mel_scale
    )
    hz = np.linspace(0, o.sampling_rate / 2, spectrum.shape[1])
    steps = [
        (
            f"spectrogram\n({o.fft_length}-point FFT)\nfrequency (Hz)",
            _decibel(spectrum),
            _ticks(hz, even=True),
            "dB",
        ),
        (f"log-mel\n({n_mels} filters)\ncentre (Hz)", _decibel(log_mel), _ticks(centres), "dB"),
    ]
    if o.num_ceps:
        cepstra, _ = fe(wave)
        x = cepstra.numpy()
        x = (x - x.mean(0)) / (
            x.std(0) + 1e-6
        )  # c0 is so much larger that it would hide the others
        steps.append(
            (f"cepstra\n({o.num_ceps}, from its mean,\nin its deviations)", x, None, "std")
        )
    return steps


def _decibel(x) -> np.ndarray:
    """log10 power to dB under the loudest spot."""
    x = 10.0 * x.numpy()
    return np.maximum(x - x.max(), -SPAN_DB)


def _ticks(hz: np.ndarray, even: bool = False) -> tuple[list[float], list[str]]:
    """Row positions and labels of round frequencies."""
    wanted = np.arange(0, hz[-1] + 1, 2000 if hz[-1] > 5000 else 1000) if even else TICKS_HZ
    wanted = [f for f in wanted if hz[0] <= f <= hz[-1]]
    return list(np.interp(wanted, hz, np.arange(len(hz)))), [f"{f:.0f}" for f in wanted]


def _figure(n_rows: int):
    """Figure and its rows as (axes, axes of the colour bar)."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ValueError(
            "pictures need matplotlib, which is not installed; pip install matplotlib"
        ) from None
    figure = Figure(figsize=(11, 1.2 + 2.1 * n_rows), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        n_rows, 2, width_ratios=(60, 1), height_ratios=[0.7] + [1.0] * (n_rows - 1)
    )
    rows = [(figure.add_subplot(grid[0, 0]), None)]
    rows += [
        (figure.add_subplot(grid[i, 0]), figure.add_subplot(grid[i, 1])) for i in range(1, n_rows)
    ]
    return figure, rows


def _draw_wave(row, wave: np.ndarray, sampling_rate: int, start_s: float, title: str) -> None:
    axes, _ = row
    step = max(1, len(wave) // MAX_POINTS)
    if step == 1:
        axes.plot(
            start_s + np.arange(len(wave)) / sampling_rate, wave, linewidth=0.7, color="#1f4e79"
        )
    else:  # the envelope: what a line through millions of samples would look like
        blocks = wave[: len(wave) // step * step].reshape(-1, step)
        seconds = start_s + (np.arange(len(blocks)) + 0.5) * step / sampling_rate
        axes.fill_between(seconds, blocks.min(1), blocks.max(1), linewidth=0.3, color="#1f4e79")
    peak = max(float(np.abs(wave).max()), 1e-4) * 1.08
    axes.set_ylim(-peak, peak)
    axes.set_ylabel("waveform\namplitude\n(1 = full scale)")
    axes.grid(alpha=0.3)
    axes.set_title(title, fontsize=10, loc="left", parse_math=False)


def _draw_image(figure, axes, bar, x: np.ndarray, start_s: float, end_s: float, unit: str) -> None:
    step = -(-len(x) // MAX_POINTS)
    limits = (
        {"vmin": -2.5, "vmax": 2.5, "cmap": "RdBu_r"}
        if unit == "std"
        else {"vmin": -SPAN_DB, "vmax": 0}
    )
    extent = (start_s, end_s, -0.5, x.shape[1] - 0.5)
    image = axes.imshow(
        x[::step].T, origin="lower", aspect="auto", extent=extent, interpolation="nearest",
        **{"cmap": "magma", **limits},
    )  # fmt: skip
    figure.colorbar(
        image, cax=bar, label="dB re the peak" if unit == "dB" else "standard deviations"
    )


def _share_time(rows, start_s: float, end_s: float) -> None:
    """One time axis for all rows, labelled once at the bottom."""
    for axes, _ in rows:
        axes.set_xlim(start_s, end_s)
        axes.tick_params(labelbottom=axes is rows[-1][0])
    rows[-1][0].set_xlabel("time (s)")
