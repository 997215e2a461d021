"""Mel scales and triangular filter banks, float64 numpy.

Two scales: `htk` (1127 ln(1 + f / 700), also Kaldi's) and `slaney` (linear to 1 kHz, logarithmic
above). Triangles are straight lines over mel (Kaldi), over Hz (librosa, torchaudio.transforms,
Whisper), or over FFT bins with their corners on whole bins (python_speech_features); the first two
differ by 0.003 in mean log-mel. `slaney` norm gives every triangle the same area. A warp for the
length of the vocal tract moves the corners. Sources: Kaldi feat/mel-computations.cc; Slaney,
Auditory Toolbox, 1998; librosa.filters.mel; python_speech_features.base.get_filterbanks.
"""

import numpy as np

SCALES = ("htk", "slaney")
SLANEY_KNEE_HZ, SLANEY_KNEE_MEL, SLANEY_STEP = 1000.0, 15.0, np.log(6.4) / 27.0


def hz_to_mel(hz, scale: str = "htk"):
    """Frequency in Hz to mel."""
    hz = np.asarray(hz, dtype=np.float64)
    if scale == "htk":
        return 1127.0 * np.log1p(hz / 700.0)
    above = SLANEY_KNEE_MEL + np.log(np.maximum(hz, SLANEY_KNEE_HZ) / SLANEY_KNEE_HZ) / SLANEY_STEP
    return np.where(hz < SLANEY_KNEE_HZ, hz * 3.0 / 200.0, above)


def mel_to_hz(mel, scale: str = "htk"):
    """Mel to frequency in Hz."""
    mel = np.asarray(mel, dtype=np.float64)
    if scale == "htk":
        return 700.0 * np.expm1(mel / 1127.0)
    above = SLANEY_KNEE_HZ * np.exp(
        SLANEY_STEP * (np.maximum(mel, SLANEY_KNEE_MEL) - SLANEY_KNEE_MEL)
    )
    return np.where(mel < SLANEY_KNEE_MEL, mel * 200.0 / 3.0, above)


def mel_edges(
    num_mel_bins: int, low_freq: float, high_freq: float, scale: str = "htk"
) -> np.ndarray:
    """Corners of the triangles in mel (num_mel_bins + 2,): bin b has b, b + 1 and b + 2."""
    return np.linspace(hz_to_mel(low_freq, scale), hz_to_mel(high_freq, scale), num_mel_bins + 2)


def mel_filters(
    num_mel_bins: int,
    n_fft: int,
    sampling_rate: int,
    low_freq: float,
    high_freq: float,
    scale: str = "htk",
    triangles: str = "mel",
    norm: str = "",
    vtln: tuple[float, float, float] = (1.0, 100.0, -500.0),
    empty: bool = False,
) -> np.ndarray:
    """Filter bank (num_mel_bins, n_fft // 2 + 1), to be multiplied with a power spectrum.

    `vtln` is the warp factor and the two frequencies in Hz between which it holds in full. Raises
    ValueError naming the first filter that no FFT bin falls into, unless `empty` allows such.
    """
    corners = mel_edges(num_mel_bins, low_freq, high_freq, scale)
    corners_hz = mel_to_hz(corners, scale)
    if vtln[0] != 1.0:
        corners_hz = vtln_warp(corners_hz, vtln[0], low_freq, high_freq, *vtln[1:])
        corners = hz_to_mel(corners_hz, scale)
    bins = np.arange(n_fft // 2 + 1)
    at = bins * sampling_rate / n_fft
    if triangles == "mel":
        at = hz_to_mel(at, scale)
    elif triangles == "hz":
        corners = corners_hz
    else:
        at, corners = bins, _whole_bins(corners_hz, n_fft, sampling_rate)
    bank = _triangles(at, corners)
    if not empty:
        _refuse_empty(bank, corners_hz, n_fft)
    if norm == "slaney":
        bank *= (2.0 / (corners_hz[2:] - corners_hz[:-2]))[:, None]
    return bank


def _triangles(at: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Triangle b (row) at positions `at`: 0 at corner b, 1 at corner b + 1, 0 at corner b + 2."""
    left, middle, right = (corners[i : len(corners) - 2 + i, None] for i in range(3))
    with np.errstate(divide="ignore", invalid="ignore"):
        rise, fall = (at - left) / (middle - left), (right - at) / (right - middle)
    rise = np.where(middle > left, rise, at >= middle)  # a side without width is a step
    fall = np.where(right > middle, fall, at < middle)
    return np.maximum(0.0, np.minimum(rise, fall))


def _whole_bins(hz: np.ndarray, n_fft: int, sampling_rate: int) -> np.ndarray:
    """FFT bins below the frequencies; n_fft + 1 as python_speech_features has it."""
    bins = (n_fft + 1) * hz / sampling_rate
    return np.floor(bins + 1e-9)  # a corner that lies on a bin stays there


def _refuse_empty(bank: np.ndarray, corners_hz: np.ndarray, n_fft: int) -> None:
    empty = np.flatnonzero(bank.max(axis=1) <= 0.0)
    if len(empty):
        low, high = corners_hz[empty[0]], corners_hz[empty[0] + 2]
        raise ValueError(
            f"num_mel_bins={len(bank)} is too many for n_fft={n_fft}: "
            f"filter {empty[0]} ({low:.0f} to {high:.0f} Hz) "
            f"holds no FFT bin ({len(empty)} such); use fewer mel bins or a larger n_fft"
        )


def vtln_warp(
    hz, factor: float, low_freq: float, high_freq: float, low_knee=100.0, high_knee=-500.0
):
    """Kaldi's piecewise linear warp of frequencies: hz / factor in the middle, both ends fixed.

    A negative `high_knee` counts down from `high_freq`. Raises ValueError where a knee lies beyond
    an edge. Source: Kaldi MelBanks::VtlnWarpFreq.
    """
    high_knee = high_knee + high_freq if high_knee < 0 else high_knee
    low = low_knee * max(1.0, factor)
    high = high_knee * min(1.0, factor)
    corners = np.array([low_freq, low, high, high_freq])
    if not low_freq < low_knee <= low < high < high_freq:
        raise ValueError(
            f"a warp by {factor:.3g} holds from {low:.0f} to {high:.0f} Hz, and must do so inside "
            f"{low_freq:g} to {high_freq:g} Hz; move the knees or the edges of the bank"
        )
    return np.interp(hz, corners, [low_freq, low / factor, high / factor, high_freq])
