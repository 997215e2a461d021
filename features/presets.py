"""Presets: each front end is one row of options.

Options carry the field's own names (Kaldi's where it has one). A row is a frozen dataclass;
`options(name, **changes)` gives it with changes, checked. To add a front end, add a row.
"""

from __future__ import annotations

import difflib
from dataclasses import asdict, fields, replace

from features.options import Spectral, Wave

_KALDI = Spectral()
_WHISPER = Spectral(
    n_fft=400, center=True, drop_last=True, window="hann", periodic=True, scale=1.0,
    remove_dc_offset=False, preemphasis=0.0, mel_scale="slaney", mel_triangles="hz",
    mel_norm="slaney", low_freq=0.0, log="log10", floor=1e-10, top_db=80.0, offset=4.0, divisor=4.0,
)  # fmt: skip
PRESETS = {
    "kaldi_fbank80": _KALDI,
    "kaldi_fbank40": replace(_KALDI, num_mel_bins=40),
    "kaldi_mfcc13": replace(_KALDI, num_mel_bins=23, num_ceps=13, cepstral_lifter=22.0),
    "whisper80": _WHISPER,
    "whisper128": replace(_WHISPER, num_mel_bins=128),
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
    "whisper80": "openai/whisper; transformers 5.23 WhisperFeatureExtractor",
    "whisper128": "the same for large-v3",
    "wave16k": "the wave itself; normalize: transformers 5.23 Wav2Vec2FeatureExtractor",
    "mfcc_textbook": "25 ms Hamming, FFT, mel, log, DCT (Davis & Mermelstein 1980; HTK book)",
}
_ELSEWHERE = {  # what other libraries call our options
    "sample_frequency": "sampling_rate", "sample_rate": "sampling_rate", "sr": "sampling_rate",
    "frame_length": "frame_length_ms", "frame_shift": "frame_shift_ms",
    "win_length": "frame_length_ms",
    "hop_length": "frame_shift_ms", "window_type": "window",
    "preemphasis_coefficient": "preemphasis",
    "preemph_coeff": "preemphasis", "n_mels": "num_mel_bins", "num_bins": "num_mel_bins",
    "feature_size": "num_mel_bins", "n_mfcc": "num_ceps", "f_min": "low_freq", "fmin": "low_freq",
    "f_max": "high_freq", "fmax": "high_freq", "chunk_length": "pad_to_s",
    "do_normalize": "normalize",
}  # fmt: skip


def names() -> list[str]:
    """Names of all presets."""
    return list(PRESETS)


def options(name: str, **changes) -> Wave | Spectral:
    """Options of preset `name` with `changes`.

    Raises ValueError for an unknown preset or option (with the near ones), a wrong type or a
    senseless value.
    """
    if name not in PRESETS:
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


def _typed(name: str, key: str, value, kind: type):
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
