"""The specification: the chain from samples to features in plain float64, a frame at a time.

Slow and obvious. It shares no code with the package: only the names of the options.
"""

import functools

import numpy as np


def features(wave, **o):
    """Wave (N,) in [-1, 1] to (T, dim), with the options of `Spectral` as keywords."""
    length = int(o["sampling_rate"] * o["frame_length_ms"] / 1000)
    shift = int(o["sampling_rate"] * o["frame_shift_ms"] / 1000)
    n_fft = o["n_fft"] or 2 ** int(np.ceil(np.log2(length)))
    wave = np.asarray(wave, dtype=np.float64) * o["scale"]
    if o["global_preemphasis"]:
        before = [0.0, *wave[:-1]]
        wave = np.array([x - o["preemphasis"] * b for x, b in zip(wave, before, strict=True)])
    if o["pad_to_s"]:
        padded = round(o["pad_to_s"] * o["sampling_rate"])
        wave = np.concatenate([wave, np.zeros(padded - len(wave))])
    bank = mel_bank(n_fft, tuple(o.items())) if o["num_mel_bins"] else None
    pairs = [row(frame, n_fft, bank, o) for frame in cut(wave, length, shift, o)]
    x = np.array([log for log, _ in pairs]).reshape(len(pairs), -1)
    if o["top_db"] and len(x):
        x = np.maximum(x, x.max() - o["top_db"] * {"db": 1, "log10": 0.1}[o["log"]])
    x = [compose(log, energy, o) for log, (_, energy) in zip(x, pairs, strict=True)]
    x = np.array(x).reshape(len(pairs), -1)
    return after(x, o)


def after(x, o):
    """What is done with all rows: normalisation, padding, scaling, stacking."""
    if o["cmvn"] and len(x):
        x = x - x.mean(0)
    if o["cmvn"] == "mean_var" and len(x):
        variance = (x**2).sum(0) / max(1, len(x) - o["cmvn_ddof"])
        guard = o["cmvn_guard"]
        x = x / (np.sqrt(variance) + guard if guard else np.sqrt(variance + 1e-7))
    if o["pad_to_frames"]:
        x = np.concatenate([x, np.zeros((o["pad_to_frames"] - len(x), x.shape[1]))])
    x = (x + o["offset"]) / o["divisor"]
    if o["lfr"]:
        before = (o["stack"] - 1) // 2
        rows = [[x[min(max(i - before + k, 0), len(x) - 1)] for k in range(o["stack"])]
                for i in range(0, len(x), o["lfr"])]  # fmt: skip
        return np.array(rows).reshape(len(rows), -1)
    groups = [x[i : i + o["stack"]] for i in range(0, len(x), o["stack"])]
    return np.array([g.reshape(-1) for g in groups if len(g) == o["stack"]])


def cut(wave, length, shift, o):
    """Frames of a wave, by Kaldi's, librosa's or python_speech_features' rule for the ends."""
    n = len(wave)
    if n == 0:
        return
    if o["center"]:
        starts = [t * shift - length // 2 for t in range(n // shift + (not o["drop_last"]))]
        if o["semicausal"]:
            starts = [start for start in starts if start + length < n]
    elif o["pad_last"]:
        starts = [0, *range(shift, n - length + shift, shift)]
    elif o["snip_edges"]:
        starts = range(0, n - length + 1, shift)
    else:
        starts = [t * shift + shift // 2 - length // 2 for t in range((n + shift // 2) // shift)]
    zeros = o["pad_last"] or (o["center"] and o["pad_mode"] == "constant")
    for start in starts:
        places = range(start, start + length)
        if zeros:
            yield np.array([wave[i] if 0 <= i < n else 0.0 for i in places])
        else:
            yield np.array([wave[inside(i, n, o["center"])] for i in places])


def inside(i, n, skip_edge):
    """Walk back and forth until the index lies in the signal (Kaldi repeats the edge sample)."""
    while not 0 <= i < n:
        if n == 1:
            return 0
        if skip_edge:
            i = -i if i < 0 else 2 * (n - 1) - i
        else:
            i = -i - 1 if i < 0 else 2 * n - 1 - i
    return i


def row(frame, n_fft, bank, o):
    """One frame to its log spectrum or log-mel, and its log energy."""
    if o["remove_dc_offset"]:
        frame = frame - frame.mean()
    energy = (frame**2).sum()
    before = np.append(frame[:1], frame[:-1])
    emphasised = frame if o["global_preemphasis"] else frame - o["preemphasis"] * before
    windowed = emphasised * window(len(frame), o["window"], o["periodic"])
    if not o["raw_energy"]:
        energy = (windowed**2).sum()
    power = np.abs(np.fft.rfft(windowed, n_fft)) ** 2 / (n_fft if o["periodogram"] else 1)
    floor = max(float(np.finfo(np.float32).eps), o["energy_floor"])
    if o["spectral_energy"]:
        energy, floor = power.sum(), o["floor"]
    x = power ** (o["power"] / 2)
    if bank is not None:
        x = bank @ x
    if o["log"] != "none":
        log = {"ln": np.log, "log10": np.log10, "db": lambda x: 10 * np.log10(x)}[o["log"]]
        x = log(np.maximum(x + o["guard"], o["floor"]))
    return x, np.log(max(energy, floor))


def compose(x, log_energy, o):
    """One log row to cepstra where wanted, and the energy to its place."""
    if o["lpc_order"]:
        x = perceptual(x, o)
    elif o["num_ceps"]:
        x = np.array([cepstrum(x, k, o) for k in range(o["num_ceps"])])
    if not o["use_energy"]:
        return x
    replaces = o["num_ceps"] or not o["num_mel_bins"]
    return np.concatenate([[log_energy], x[1:] if replaces else x])


@functools.cache
def window(length, name, periodic):
    """The window, sample by sample."""
    steps = length if periodic else length - 1
    cosine = [np.cos(2 * np.pi * i / steps) for i in range(length)]
    shapes = {
        "rectangular": lambda c: 1.0,
        "hann": lambda c: 0.5 - 0.5 * c,
        "hamming": lambda c: 0.54 - 0.46 * c,
        "povey": lambda c: max(0.5 - 0.5 * c, 0.0) ** 0.85,
        "blackman": lambda c: 0.42 - 0.5 * c + 0.08 * (2 * c * c - 1),
    }
    return np.array([shapes[name](c) for c in cosine])


def corners(o):
    """Mel of the triangles' corners, warped."""
    to_mel, to_hz = SCALES[o["mel_scale"]]
    top = o["high_freq"] if o["high_freq"] > 0 else o["sampling_rate"] / 2 + o["high_freq"]
    mels = np.linspace(to_mel(o["low_freq"]), to_mel(top), o["num_mel_bins"] + 2)
    return [to_mel(warp(to_hz(m), top, o)) for m in mels] if o["vtln_warp"] != 1.0 else mels


@functools.cache
def mel_bank(n_fft, options):
    """Triangles, one weight at a time."""
    o = dict(options)
    to_mel, to_hz = SCALES[o["mel_scale"]]
    mels = corners(o)
    bank = np.zeros((o["num_mel_bins"], n_fft // 2 + 1))
    for b in range(o["num_mel_bins"]):
        left, middle, right = mels[b : b + 3]
        area = 2 / (to_hz(right) - to_hz(left)) if o["mel_norm"] == "slaney" else 1.0
        if o["mel_triangles"] != "mel":
            left, middle, right = to_hz(left), to_hz(middle), to_hz(right)
        if o["mel_triangles"] == "bins":
            bins = [int((n_fft + 1) * f / o["sampling_rate"] + 1e-9) for f in (left, middle, right)]
            left, middle, right = bins
        for k in range(n_fft // 2 + 1):
            hz = k * o["sampling_rate"] / n_fft
            at = {"mel": to_mel(hz), "hz": hz, "bins": k}[o["mel_triangles"]]
            if left <= at < middle:
                bank[b, k] = area * (at - left) / (middle - left)
            elif middle <= at < right:
                bank[b, k] = area * (right - at) / (right - middle)
    return bank


def warp(hz, top, o):
    """Vocal tract length: hz / factor between the knees, straight to fixed ends outside."""
    factor, low = o["vtln_warp"], o["low_freq"]
    high_knee = o["vtln_high"] if o["vtln_high"] > 0 else top + o["vtln_high"]
    knees = o["vtln_low"] * max(1, factor), high_knee * min(1, factor)
    if hz <= low or hz >= top:
        return hz
    if hz < knees[0]:
        return low + (hz - low) * (knees[0] / factor - low) / (knees[0] - low)
    if hz < knees[1]:
        return hz / factor
    return top + (hz - top) * (top - knees[1] / factor) / (top - knees[1])


def cepstrum(log_mel, k, o):
    """DCT-II, orthonormal (HTK's not for k = 0), coefficient k, liftered."""
    n, lifter = len(log_mel), o["cepstral_lifter"]
    scale = np.sqrt((1 if k == 0 and not o["htk_dct"] else 2) / n)
    value = scale * sum(v * np.cos(np.pi * k * (i + 0.5) / n) for i, v in enumerate(log_mel))
    k += o["lifter_start"]
    return value * (1 + lifter / 2 * np.sin(np.pi * k / lifter) if lifter else 1.0)


def perceptual(mel, o):
    """PLP without recursions: normal equations solved, the cepstrum read off the log spectrum."""
    hz = np.array([SCALES[o["mel_scale"]][1](m) for m in corners(o)[1:-1]])
    loudness = (hz**2 / (hz**2 + 1.6e5)) ** 2 * (hz**2 + 1.44e6) / (hz**2 + 9.61e6)
    loud = (np.maximum(mel, o["floor"]) * loudness) ** o["compress_factor"]
    lags = np.fft.irfft([loud[0], *loud, loud[-1]])[: o["lpc_order"] + 1]
    index = np.arange(o["lpc_order"])
    taps = np.linalg.solve(lags[abs(index[:, None] - index)], -lags[1:])
    error = lags[0] + taps @ lags[1:]
    whitener = np.fft.fft([1.0, *taps], 1 << 14)
    ceps = np.fft.ifft(-np.log(np.abs(whitener) ** 2)).real
    ceps[0] = max(np.log(error), np.finfo(np.float32).eps)
    k = np.arange(o["num_ceps"]) + o["lifter_start"]
    lifter = o["cepstral_lifter"]
    weight = 1 + lifter / 2 * np.sin(np.pi * k / lifter) if lifter else 1.0
    return o["cepstral_scale"] * ceps[: o["num_ceps"]] * weight


SCALES = {
    "htk": (
        lambda hz: 1127 * np.log(1 + hz / 700),
        lambda mel: 700 * (np.exp(mel / 1127) - 1),
    ),
    "slaney": (
        lambda hz: hz * 3 / 200 if hz < 1000 else 15 + 27 * np.log(hz / 1000) / np.log(6.4),
        lambda mel: mel * 200 / 3 if mel < 15 else 1000 * np.exp((mel - 15) * np.log(6.4) / 27),
    ),
}
