"""Options of a front end: two frozen dataclasses, the integers they imply, and what they refuse.

They carry the field's own names (Kaldi's where it has one), with units in the names of lengths. No
torch here: the command line and a trainer's collate count frames without it.
"""

from __future__ import annotations

from dataclasses import dataclass

from features import frames

INT16 = 32768.0  # Kaldi reads samples as 16-bit integers; ours lie in [-1, 1]
EPSILON = (
    1.1920928955078125e-07  # numeric_limits<float>::epsilon(), Kaldi's floor under the logarithm
)


@dataclass(frozen=True)
class Wave:
    """Raw samples; `normalize` makes each utterance zero-mean and unit-variance (wav2vec 2.0)."""

    sampling_rate: int = 16000
    normalize: bool = False

    dim = 1

    @property
    def frame_rate_hz(self) -> float:
        """Output steps a second: the samples themselves."""
        return float(self.sampling_rate)

    def count(self, n_samples: int) -> int:
        """Number of output steps for `n_samples`."""
        return int(n_samples)

    def check(self) -> None:
        """Refuse values that mean nothing."""
        _wanted(self.sampling_rate > 0, "sampling_rate", self.sampling_rate, "above 0 Hz")


@dataclass(frozen=True)
class Spectral:
    """All between frames and (T, dim): spectrum, mel, log, cepstra. Defaults: Kaldi fbank80."""

    sampling_rate: int = 16000
    frame_length_ms: float = 25.0
    frame_shift_ms: float = 10.0
    n_fft: int = 0  # 0: the next power of two above the frame
    snip_edges: bool = True
    center: bool = (
        False  # frames centred on multiples of the shift, edges reflected (librosa, Whisper)
    )
    drop_last: bool = False  # with center: leave out the last frame (Whisper)
    pad_to_s: float = 0.0  # zeros after the wave up to this many seconds (Whisper: 30)
    window: str = "povey"
    periodic: bool = False
    scale: float = INT16
    dither: float = (
        0.0  # standard deviation of added noise, in units of `scale` (Kaldi's own default is 1.0)
    )
    remove_dc_offset: bool = True
    preemphasis: float = 0.97
    power: float = 2.0  # 2: power spectrum, 1: magnitude
    num_mel_bins: int = 80  # 0: the spectrum itself
    mel_scale: str = "htk"
    mel_triangles: str = "mel"
    mel_norm: str = ""
    low_freq: float = 20.0
    high_freq: float = 0.0  # 0: half the sampling rate; negative: that much below it
    log: str = "ln"
    floor: float = EPSILON
    top_db: float = 0.0  # >0: nothing lies further than this below the utterance's maximum
    offset: float = 0.0
    divisor: float = 1.0  # last of all: (x + offset) / divisor
    num_ceps: int = 0  # 0: no cosine transform
    cepstral_lifter: float = 0.0
    use_energy: bool = (
        False  # cepstra: log energy in place of c0; otherwise: one more column, the first
    )
    raw_energy: bool = True  # energy before preemphasis and window

    @property
    def frame_length(self) -> int:
        """Samples in a frame (Kaldi truncates)."""
        return int(self.sampling_rate * 0.001 * self.frame_length_ms + 1e-9)

    @property
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
    def pad_to(self) -> int:
        """Samples after zero padding; 0 for none."""
        return round(self.pad_to_s * self.sampling_rate)

    @property
    def dim(self) -> int:
        """Width of the output."""
        if self.num_ceps:
            return self.num_ceps
        return (self.num_mel_bins or self.fft_length // 2 + 1) + self.use_energy

    @property
    def frame_rate_hz(self) -> float:
        """Frames a second."""
        return self.sampling_rate / self.frame_shift

    def count(self, n_samples: int) -> int:
        """Number of frames for `n_samples` of wave (padding by `pad_to_s` is not counted)."""
        return frames.num_frames(
            int(n_samples),
            self.frame_length,
            self.frame_shift,
            self.snip_edges,
            self.center,
            self.drop_last,
        )

    def first_sample(self, frame: int) -> int:
        """First sample of `frame`."""
        return frames.first_sample(
            frame, self.frame_length, self.frame_shift, self.snip_edges, self.center
        )

    def check(self) -> None:
        """Refuse values that mean nothing, each with what was wanted."""
        half = self.sampling_rate / 2
        _wanted(self.sampling_rate > 0, "sampling_rate", self.sampling_rate, "above 0 Hz")
        _wanted(
            self.frame_length >= 2, "frame_length_ms", self.frame_length_ms, "at least two samples"
        )
        _wanted(self.frame_shift >= 1, "frame_shift_ms", self.frame_shift_ms, "at least one sample")
        _wanted(
            self.fft_length >= self.frame_length,
            "n_fft",
            self.n_fft,
            f"at least {self.frame_length}",
        )
        _wanted(self.fft_length % 2 == 0, "n_fft", self.fft_length, "even")
        _wanted(0 <= self.preemphasis <= 1, "preemphasis", self.preemphasis, "in [0, 1]")
        _wanted(self.power in (1, 2), "power", self.power, "1 (magnitude) or 2 (power)")
        _wanted(self.num_mel_bins >= 0, "num_mel_bins", self.num_mel_bins, "at least 0")
        _wanted(
            0 < self.top_freq <= half,
            "high_freq",
            self.high_freq,
            f"at most {half:g} Hz, half the rate",
        )
        _wanted(
            0 <= self.low_freq < self.top_freq,
            "low_freq",
            self.low_freq,
            f"below {self.top_freq:g} Hz",
        )
        _wanted(
            self.num_ceps <= self.num_mel_bins,
            "num_ceps",
            self.num_ceps,
            f"at most {self.num_mel_bins}",
        )
        _wanted(self.dither >= 0, "dither", self.dither, "at least 0")
        _wanted(self.pad_to_s >= 0, "pad_to_s", self.pad_to_s, "at least 0")
        _wanted(self.divisor != 0, "divisor", self.divisor, "not 0")
        _wanted(
            self.floor > 0 or self.log == "none", "floor", self.floor, "above 0 under a logarithm"
        )
        for name, words in _CHOICES.items():
            _wanted(
                getattr(self, name) in words,
                name,
                getattr(self, name),
                f"one of {', '.join(map(repr, words))}",
            )


_CHOICES = {
    "window": ("povey", "hann", "hamming", "blackman", "rectangular"),
    "mel_scale": ("htk", "slaney"),
    "mel_triangles": ("mel", "hz"),
    "mel_norm": ("", "slaney"),
    "log": ("ln", "log10", "none"),
}


def _wanted(good: bool, name: str, value, wanted: str) -> None:
    if not good:
        raise ValueError(f"{name}={value!r}: it must be {wanted}; change this option")
