"""Presets: each front end is one row of options.

Options carry the field's own names (Kaldi's where it has one). A row is a frozen dataclass;
`options(name, **changes)` gives it with changes, checked. To add a front end, add a row, and what
it follows to `ABOUT`.
"""

from __future__ import annotations

import difflib
import inspect
import re
from dataclasses import asdict, fields, replace

from features import checks, statistics
from features.options import INT16, Spectral, Wave

_KALDI = Spectral()
_STFT = Spectral(  # what torch.stft and librosa.stft have in common; 25 ms every 10 ms at 16 kHz
    n_fft=400, center=True, window="hann", periodic=True, scale=1.0, remove_dc_offset=False,
    preemphasis=0.0, mel_triangles="hz", low_freq=0.0, floor=1e-10,
)  # fmt: skip
_WHISPER = replace(
    _STFT, drop_last=True, mel_scale="slaney", mel_norm="slaney", log="log10", top_db=80.0,
    offset=4.0, divisor=4.0,
)  # fmt: skip
_NEMO = replace(
    _STFT, n_fft=512, drop_last=True, pad_mode="constant", periodic=False, preemphasis=0.97,
    global_preemphasis=True, mel_scale="slaney", mel_norm="slaney", guard=2.0**-24,
    cmvn="mean_var", cmvn_ddof=1, cmvn_guard=1e-5,
)  # fmt: skip
_LIBROSA = replace(  # its defaults of 2048 and 512 samples, at 16 kHz
    _STFT, n_fft=2048, frame_length_ms=128.0, frame_shift_ms=32.0, pad_mode="constant",
    num_mel_bins=128, mel_scale="slaney", mel_norm="slaney", log="db", top_db=80.0,
)  # fmt: skip
PRESETS = {
    "kaldi_fbank80": _KALDI,
    "kaldi_fbank40": replace(_KALDI, num_mel_bins=40),
    "kaldi_mfcc13": replace(_KALDI, num_mel_bins=23, num_ceps=13, cepstral_lifter=22.0),
    "kaldi_mfcc40": replace(
        _KALDI, num_mel_bins=40, num_ceps=40, cepstral_lifter=22.0, high_freq=-400.0
    ),
    "kaldi_plp13": replace(
        _KALDI, num_mel_bins=23, lpc_order=12, num_ceps=13, cepstral_lifter=22.0, log="none",
        use_energy=True,
    ),
    "kaldi_spectrogram": replace(_KALDI, num_mel_bins=0, use_energy=True),
    "torchaudio_mel": replace(_STFT, log="none"),
    "torchaudio_mfcc": replace(_STFT, log="db", top_db=80.0, num_ceps=40),
    "librosa_mel": _LIBROSA,
    "librosa_mfcc": replace(_LIBROSA, num_ceps=20),
    "whisper80": _WHISPER,
    "whisper128": replace(_WHISPER, num_mel_bins=128),
    "nemo80": _NEMO,
    "nemo128": replace(_NEMO, num_mel_bins=128),
    "gemma4": replace(
        _STFT, n_fft=512, frame_length_ms=20.0, semicausal=True, pad_mode="constant", power=1.0,
        num_mel_bins=128, empty_filters=True, guard=1e-3,
    ),
    "sensevoice": replace(_KALDI, window="hamming", stack=7, lfr=6),
    "ast": replace(
        _KALDI, scale=1.0, window="hann", num_mel_bins=128, empty_filters=True, offset=4.2677393,
        divisor=2 * 4.5689974,
    ),
    "seamless": replace(_KALDI, cmvn="mean_var", cmvn_ddof=1, stack=2),
    "psf_mfcc": Spectral(
        n_fft=512, pad_last=True, window="rectangular", scale=INT16, remove_dc_offset=False,
        global_preemphasis=True, periodogram=True, num_mel_bins=26, mel_triangles="bins",
        low_freq=0.0, floor=2.0**-52, num_ceps=13, cepstral_lifter=22.0, use_energy=True,
        spectral_energy=True,
    ),
    "wave16k": Wave(),
    "mfcc_textbook": Spectral(
        window="hamming", scale=1.0, remove_dc_offset=False, mel_triangles="hz", low_freq=0.0,
        num_mel_bins=26, floor=1e-10, num_ceps=13,
    ),
}  # fmt: skip
ABOUT = {  # what each follows; the tests hold it against that
    "kaldi_fbank80": "Kaldi compute-fbank-feats; kaldi-native-fbank 1.23, torchaudio 2.11",
    "kaldi_fbank40": "the same with 40 bins",
    "kaldi_mfcc13": "Kaldi compute-mfcc-feats with use_energy false, as in its recipes",
    "kaldi_mfcc40": "the same with Kaldi's mfcc_hires.conf: 40 cepstra, 20 to 7600 Hz",
    "kaldi_plp13": "Kaldi compute-plp-feats with its defaults: energy in place of c0",
    "kaldi_spectrogram": "Kaldi compute-spectrogram-feats; torchaudio 2.11 kaldi.spectrogram",
    "torchaudio_mel": "torchaudio 2.11 MelSpectrogram(n_fft=400, hop_length=160, n_mels=80)",
    "torchaudio_mfcc": "torchaudio 2.11 MFCC(n_mfcc=40) on that mel, in dB",
    "librosa_mel": "librosa 0.11 power_to_db(feature.melspectrogram(sr=16000))",
    "librosa_mfcc": "librosa 0.11 feature.mfcc(sr=16000), 20 cepstra",
    "whisper80": "openai/whisper; transformers 5.23 WhisperFeatureExtractor",
    "whisper128": "the same for large-v3",
    "nemo80": "NeMo (Parakeet, Canary); transformers 5.23 ParakeetFeatureExtractor",
    "nemo128": "the same with 128 bins",
    "gemma4": "transformers 5.23 Gemma4AudioFeatureExtractor, rows that its mask keeps",
    "sensevoice": "FunASR WavFrontend before its CMVN (which is cmvn='global'); asrfront 0.2",
    "ast": "transformers 5.23 ASTFeatureExtractor; its window: pad_to_frames=1024",
    "seamless": "transformers 5.23 SeamlessM4TFeatureExtractor, rows that its mask keeps",
    "psf_mfcc": "python_speech_features 0.6 mfcc on 16-bit samples",
    "wave16k": "the wave itself; normalize: transformers 5.23 Wav2Vec2FeatureExtractor",
    "mfcc_textbook": "25 ms Hamming, FFT, mel, log, DCT (Davis & Mermelstein 1980; HTK book)",
}
_ELSEWHERE = {  # what other libraries call our options
    "sample_frequency": "sampling_rate", "sample_rate": "sampling_rate", "sr": "sampling_rate",
    "frame_length": "frame_length_ms", "frame_shift": "frame_shift_ms",
    "win_length": "frame_length_ms", "winlen": "frame_length_ms", "winstep": "frame_shift_ms",
    "hop_length": "frame_shift_ms", "window_type": "window",
    "preemphasis_coefficient": "preemphasis", "preemph": "preemphasis",
    "preemph_coeff": "preemphasis", "n_mels": "num_mel_bins", "num_bins": "num_mel_bins",
    "nfilt": "num_mel_bins", "nfft": "n_fft", "numcep": "num_ceps", "amin": "floor",
    "ceplifter": "cepstral_lifter", "lifter": "cepstral_lifter", "stride": "stack",
    "feature_size": "num_mel_bins", "n_mfcc": "num_ceps", "f_min": "low_freq", "fmin": "low_freq",
    "f_max": "high_freq", "fmax": "high_freq", "chunk_length": "pad_to_s",
    "order": "lpc_order", "max_length": "pad_to_frames", "do_normalize": "normalize",
}  # fmt: skip


def names() -> list[str]:
    """Names of all presets."""
    return list(PRESETS)


def options(name: str, **changes) -> Wave | Spectral:
    """Options of preset `name` with `changes`.

    Raises ValueError for an unknown preset or option (with the near ones), a wrong type or a
    senseless value.
    """
    if not isinstance(name, str) or name not in PRESETS:
        raise ValueError(
            f"unknown preset {name!r}{_near(name, PRESETS)}; presets are: {', '.join(PRESETS)}"
        )
    row = PRESETS[name]
    types = {field.name: type(getattr(row, field.name)) for field in fields(row)}
    for key, value in changes.items():
        if key not in types:
            meant = (
                f", did you mean {_ELSEWHERE[key]!r}?"
                if _ELSEWHERE.get(key) in types
                else _near(key, types)
            )
            raise ValueError(
                f"{name} has no option {key!r}{meant}; its options are: {', '.join(types)}"
            )
        changes[key] = _typed(name, key, value, types[key])
    row = replace(row, **changes)
    row.check()
    return row


def plain(row: Wave | Spectral) -> dict:
    """Options as a dict of plain values: `options(name, **plain(row)) == row`."""
    return asdict(row)


def about(row: Wave | Spectral) -> dict[str, str]:
    """What stands beside the options of a row in `options`, and their choices, by their names."""
    lines = inspect.getsource(type(row)).splitlines()
    matches = (re.fullmatch(r" {4}(\w+): \w+ = .*?  # (.+)", line) for line in lines)
    told = {match[1]: match[2] for match in matches if match}
    for name, choices in checks.CHOICES.items():
        text = told.get(name, "")
        if '"' not in text:  # it does not name them
            told[name] = "; ".join([text] * bool(text) + [" | ".join(map(repr, choices))])
    return told


def _typed(name: str, key: str, value, kind: type):
    if kind is tuple:
        return statistics.read(value) if value else ()
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        raise ValueError(
            f"{name}: {key} wants {kind.__name__}, got {value!r}; give it as {kind.__name__}"
        )
    return value


def _near(word: str, words) -> str:
    near = difflib.get_close_matches(str(word), list(words), n=2, cutoff=0.5)
    return f", did you mean {' or '.join(map(repr, near))}?" if near else ""
