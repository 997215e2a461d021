"""Kaldi's pitch (Ghahremani et al., ICASSP 2014), by kaldi-native-fbank (the extra `kaldi`).

x = features.pitch(wave, 16000)       # (T, 3): what compute-and-process-kaldi-pitch-feats gives
"""

from __future__ import annotations

import numpy as np
import torch

from features.inputs import refuse_channels, tensor


def pitch(wave, sampling_rate: int, **options) -> np.ndarray:
    """Voicing, normalised log pitch and its slope, (T, 3) float32, of a wave (N,) in [-1, 1].

    `options` are those of Kaldi's extraction and processing, with underscores: min_f0, max_f0,
    add_raw_log_pitch (one more column, ln of Hz), ... Raises ValueError for an unknown one, a bad
    wave, and where kaldi-native-fbank is not installed.
    """
    try:
        import kaldi_native_fbank as knf
    except ImportError:
        raise ValueError("pitch needs kaldi-native-fbank; pip install kaldi-native-fbank") from None
    wave = tensor(wave, torch.float32).detach()
    refuse_channels(wave)
    both = (knf.PitchExtractionOptions(), knf.ProcessPitchOptions())
    both[0].samp_freq = sampling_rate
    for name, value in options.items():
        one = next((chosen for chosen in both if hasattr(chosen, name)), None)
        if one is None:
            known = [word for chosen in both for word in dir(chosen) if not word.startswith("_")]
            raise ValueError(f"pitch has no option {name!r}; its options are: {', '.join(known)}")
        setattr(one, name, value)
    scaled = (wave.numpy() * 32768).tolist()
    x = np.array(knf.compute_and_process_kaldi_pitch(*both, scaled), np.float32)
    return x.reshape(-1, both[1].dim)
