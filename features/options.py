"""Options of a front end: two frozen dataclasses and the integers they imply.

They carry the field's own names (Kaldi's where it has one), with units in the names of lengths. No
torch here: the command line and a trainer's collate count frames without it. What is refused is in
`checks`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from features import checks, frames

INT16 = 32768.0  # Kaldi reads samples as 16-bit integers; ours lie in [-1, 1]
EPSILON = (
    1.1920928955078125e-07  # numeric_limits<float>::epsilon(), Kaldi's floor under the logarithm
)


@dataclass(frozen=True)
class Wave:
    """Raw samples; `normalize` makes each utterance zero-mean and unit-variance (wav2vec 2.0)."""

    sampling_rate: int = 16000  # Hz
    normalize: bool = False  # zero mean, unit variance over the utterance (wav2vec 2.0)
    dtype: str = "float32"

    dim = 1
    mel_axis = None

    @property
    def frame_rate_hz(self) -> float:
        """Output steps a second: the samples themselves."""
        return float(self.sampling_rate)

    @property
    def whole(self) -> str:
        """Why this needs the whole utterance and cannot stream; "" when it can."""
        return "normalize=True takes mean and variance over it" if self.normalize else ""

    def count(self, n_samples: int) -> int:
        """Number of output steps for `n_samples`."""
        return int(n_samples)

    def check(self) -> None:
        """Refuse values that mean nothing."""
        checks.wave(self)


@dataclass(frozen=True)
class Spectral:
    """All between frames and (T, dim), in the order of the steps. Defaults: Kaldi fbank80."""

    sampling_rate: int = 16000  # Hz
    frame_length_ms: float = 25.0  # milliseconds, as all names in _ms
    frame_shift_ms: float = 10.0
    n_fft: int = 0  # 0: the next power of two above the frame
    snip_edges: bool = True  # only frames that lie whole in the wave (Kaldi)
    center: bool = False  # frames centred on multiples of the shift (librosa, Whisper)
    drop_last: bool = False  # with center: leave out the last frame (Whisper)
    semicausal: bool = False  # with center: no frame that reads beyond the end (Gemma 4)
    pad_last: bool = False  # fill the last frame with zeros (python_speech_features)
    pad_mode: str = "reflect"  # with center: "reflect" (torch.stft) or "constant", zeros (librosa)
    pad_to_s: float = 0.0  # zeros after the wave up to this many seconds (Whisper: 30)
    pad_longer: str = "refuse"  # longer waves: or "keep", "multiple" of it, "windows", each alone
    pad_counts: str = "none"  # frames of the padding that count: or "begun" in the wave, "all"
    window: str = "povey"  # over each frame
    periodic: bool = False  # the window that torch.hann_window makes; False: symmetric
    scale: float = INT16  # what samples are multiplied by first
    dither: float = 0.0  # deviation of added noise, in units of `scale` (Kaldi's own default: 1)
    remove_dc_offset: bool = True  # each frame less its mean
    preemphasis: float = 0.97  # x[t] - preemphasis * x[t - 1]
    global_preemphasis: bool = False  # over the wave, first sample kept, and not frame by frame
    power: float = 2.0  # 2: power spectrum, 1: magnitude
    periodogram: bool = False  # the spectrum divided by n_fft (python_speech_features)
    num_mel_bins: int = 80  # 0: the spectrum itself
    mel_scale: str = "htk"
    mel_triangles: str = "mel"  # what the filters are triangles over
    mel_norm: str = ""  # "slaney": filters of equal area
    empty_filters: bool = False  # allow mel filters that no FFT bin falls into (AST has one)
    low_freq: float = 20.0  # Hz, lower edge of the mel bank
    high_freq: float = 0.0  # Hz; 0: half the sampling rate; negative: that much below
    vtln_warp: float = 1.0  # vocal tract length: above 1 the bank's corners move down
    vtln_low: float = 100.0  # Hz; up to there the warp is full
    vtln_high: float = -500.0  # negative: that much below the upper edge
    log: str = "ln"
    guard: float = 0.0  # added to the power under the logarithm (NeMo: 2^-24, Gemma 4: 0.001)
    floor: float = EPSILON  # the smallest power under the logarithm
    top_db: float = 0.0  # >0: nothing lies further than this below the utterance's maximum
    num_ceps: int = 0  # 0: no cosine transform
    htk_dct: bool = False  # c0 at sqrt(2 / N) like the others: sqrt(2) times as large (HTK)
    cepstral_lifter: float = 0.0  # 0: none; Kaldi's and HTK's: 22
    lpc_order: int = 0  # >0: cepstra of linear prediction, with log="none" (PLP; Kaldi: 12)
    compress_factor: float = 0.33333  # with lpc_order: loudness is power to this
    cepstral_scale: float = 1.0  # with lpc_order: on cepstra, not on the energy
    lifter_start: int = 0  # number of the first cepstrum in the lifter's sine (librosa: 1)
    use_energy: bool = False  # mel: log energy as one more column, the first; else in place of it
    energy_floor: float = 0.0  # least energy, in units of `scale` squared (Kaldi)
    raw_energy: bool = True  # energy before preemphasis and window
    spectral_energy: bool = False  # energy as the sum over the spectrum (python_speech_features)
    cmvn: str = ""  # over the utterance: "mean", or "mean_var" also divides by the deviation
    stats: tuple = ()  # with cmvn="global": mean and deviation, or the file of `features stats`
    cmvn_ddof: int = 0  # 1: variance over n - 1 (SeamlessM4T)
    cmvn_guard: float = 0.0  # added to the deviation (NeMo: 1e-5); 0: 1e-7 to the variance
    deltas: int = 0  # slopes beside the features, up to this order (Kaldi add-deltas)
    deltas_window: int = 2  # frames on either side that a slope is fitted to
    pad_to_frames: int = 0  # rows of zeros up to this many (AST: 1024), before offset and divisor
    offset: float = 0.0
    divisor: float = 1.0  # (x + offset) / divisor
    stack: int = 1  # so many frames side by side in one row; a rest is dropped (SeamlessM4T: 2)
    lfr: int = 0  # a row of `stack` every so many frames, those at the ends repeated (FunASR)
    dtype: str = "float32"  # of computation and result; float64 for tests and gradients

    @cached_property
    def frame_length(self) -> int:
        """Samples in a frame (Kaldi truncates)."""
        return int(self.sampling_rate * 0.001 * self.frame_length_ms + 1e-9)

    @cached_property
    def frame_shift(self) -> int:
        """Samples from one frame to the next."""
        return int(self.sampling_rate * 0.001 * self.frame_shift_ms + 1e-9)

    @property
    def fft_length(self) -> int:
        """Points of the FFT."""
        return self.n_fft or 1 << (self.frame_length - 1).bit_length()

    @property
    def top_freq(self) -> float:
        """The upper edge of the mel bank in Hz."""
        return self.high_freq if self.high_freq > 0 else self.sampling_rate / 2 + self.high_freq

    @property
    def mel_axis(self) -> dict | None:
        """Where the mel bins of a row lie, as keywords of `augment.warp_mel`; None without any."""
        if not self.num_mel_bins or self.num_ceps:
            return None
        return {
            "low_freq": self.low_freq, "high_freq": self.top_freq, "scale": self.mel_scale,
            "low_knee": self.vtln_low, "high_knee": self.vtln_high,
            "first": int(self.energy_first), "stack": self.stack * (1 + self.deltas),
        }  # fmt: skip

    @property
    def pad_to(self) -> int:
        """Samples after zero padding; 0 for none."""
        return round(self.pad_to_s * self.sampling_rate)

    @property
    def edges(self) -> str:
        """What frames read beyond the ends of the wave: "mirror", "reflect" or "constant"."""
        if self.center:
            return self.pad_mode
        return "constant" if self.pad_last else "mirror"

    @property
    def log_dim(self) -> int:
        """Width after the logarithm: mel bins (or FFT bins), after a column of energy if any."""
        return (self.num_mel_bins or self.fft_length // 2 + 1) + self.energy_first

    @property
    def energy_first(self) -> bool:
        """Whether the energy is one more column before the mel bins."""
        return self.use_energy and self.num_mel_bins > 0

    @property
    def row_dim(self) -> int:
        """Width of one frame, before deltas and stacking."""
        return self.num_ceps or self.log_dim

    @property
    def dim(self) -> int:
        """Width of the output."""
        return self.row_dim * (1 + self.deltas) * self.stack

    @property
    def frame_rate_hz(self) -> float:
        """Output rows a second."""
        return self.sampling_rate / self.frame_shift / (self.lfr or self.stack)

    @property
    def whole(self) -> str:
        """Why this needs the whole utterance and cannot stream; "" when it can."""
        if self.top_db:
            return f"top_db={self.top_db:g} takes the maximum over it; top_db=0.0 streams"
        if self.cmvn in ("mean", "mean_var"):
            return f"cmvn={self.cmvn!r} takes statistics over it; cmvn='' streams"
        if self.pad_to_s or self.pad_to_frames:
            return "padding to a fixed length needs its end; pad_to_s=0.0, pad_to_frames=0 stream"
        if self.deltas or self.lfr:
            return "deltas and lfr repeat its last frame; deltas=0, lfr=0 stream"
        return ""

    def num_frames(self, n_samples: int) -> int:
        """Number of frames for `n_samples` of wave, before stacking."""
        return frames.num_frames(
            int(n_samples), self.frame_length, self.frame_shift, self.snip_edges, self.center,
            self.drop_last, self.pad_last, self.semicausal,
        )  # fmt: skip

    def padded(self, n_samples: int) -> int:
        """Samples of a wave of `n_samples` once it is padded; all windows together."""
        if self.pad_longer in ("multiple", "windows"):
            return max(-(-n_samples // self.pad_to), 1) * self.pad_to
        return max(n_samples, self.pad_to)

    def count(self, n_samples: int) -> int:
        """Number of output rows for `n_samples` of wave; of padding, those that `pad_counts`."""
        if self.pad_counts == "none" or n_samples <= 0:
            return self.rows(self.num_frames(n_samples))
        n_frames = self.num_frames(self.padded(n_samples))
        if self.pad_counts == "begun":
            n_frames = min(n_frames, -(-int(n_samples) // self.frame_shift))
        return self.rows(n_frames)

    def rows(self, n_frames: int) -> int:
        """Rows that so many frames give."""
        return -(-n_frames // self.lfr) if self.lfr else n_frames // self.stack

    def first_sample(self, frame: int) -> int:
        """First sample of `frame`."""
        return frames.first_sample(
            frame, self.frame_length, self.frame_shift, self.snip_edges, self.center
        )

    def check(self) -> None:
        """Refuse values that mean nothing, each with what was wanted."""
        checks.spectral(self)
