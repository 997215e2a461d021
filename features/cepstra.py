"""From log-mel to cepstra: the cosine transform and the lifter, float64 numpy.

DCT-II, orthonormal, row 0 at sqrt(1 / N) (Kaldi, scipy norm="ortho"; HTK has sqrt(2 / N) there).
The lifter is 1 + L / 2 sin(pi n / L) with n from 0 (Kaldi, HTK; librosa: from 1). Sources: Kaldi
feat/mel-computations.cc, feat/feature-mfcc.cc; the HTK book, 5.6; librosa.feature.mfcc.
"""

import numpy as np


def dct_matrix(num_ceps: int, num_mel_bins: int, htk: bool = False) -> np.ndarray:
    """DCT-II (num_ceps, num_mel_bins): cepstra = matrix @ log_mel. `htk`: row 0 like the others."""
    n = np.arange(num_mel_bins) + 0.5
    rows = np.sqrt(2.0 / num_mel_bins) * np.cos(
        np.pi / num_mel_bins * np.outer(np.arange(num_ceps), n)
    )
    if not htk:
        rows[0] = np.sqrt(1.0 / num_mel_bins)
    return rows


def lifter(num_ceps: int, cepstral_lifter: float, start: int = 0) -> np.ndarray:
    """Weights (num_ceps,) of cepstra `start`, `start` + 1, ...; 1 when `cepstral_lifter` is 0."""
    if not cepstral_lifter:
        return np.ones(num_ceps)
    n = np.arange(start, start + num_ceps)
    return 1.0 + 0.5 * cepstral_lifter * np.sin(np.pi * n / cepstral_lifter)
