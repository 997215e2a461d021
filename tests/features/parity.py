"""Prints how far each preset is from its references on sound files, and both from float64.

    python tests/features/parity.py FILE...

Figures are over all files: mean, 99.9th percentile and maximum of the absolute difference, in the
unit of the features. `test_parity` and `test_parity_others` hold the same pairs within bounds; here
they are only shown. Where fp32 itself is the limit (near-silent bins), the last two columns say so:
the 99.9th percentile of ours and of the reference from our float64, which equals the references'
own float64 and the specification to 1e-6.
"""

import sys
import warnings

import numpy as np
import test_parity
import test_parity_others as others
from transformers import WhisperFeatureExtractor

import features

RATE = 16000
KNF = test_parity.knf


def pairs():
    """Rows (preset, name of the reference, function of a wave -> (T, dim))."""
    native, kaldi = test_parity.native, test_parity.kaldi
    for bins in (40, 80):
        preset = f"kaldi_fbank{bins}"
        yield (
            preset, "kaldi-native-fbank",
            lambda w, n=bins: native(KNF.FbankOptions(), KNF.OnlineFbank, w, RATE, num_bins=n),
        )  # fmt: skip
        yield preset, "torchaudio", lambda w, n=bins: kaldi("fbank", w, RATE, num_mel_bins=n)
    yield (
        "kaldi_mfcc13", "kaldi-native-fbank",
        lambda w: native(KNF.MfccOptions(), KNF.OnlineMfcc, w, RATE, use_energy=False),
    )  # fmt: skip
    yield "kaldi_mfcc13", "torchaudio", lambda w: kaldi("mfcc", w, RATE)
    hires = {"num_bins": 40, "num_ceps": 40, "high_freq": -400.0, "use_energy": False}
    yield (
        "kaldi_mfcc40", "kaldi-native-fbank",
        lambda w: native(KNF.MfccOptions(), KNF.OnlineMfcc, w, RATE, **hires),
    )  # fmt: skip
    yield "kaldi_spectrogram", "torchaudio", lambda w: kaldi("spectrogram", w, RATE)
    for name, reference in others.REFERENCES.items():
        if name != "ast":
            yield name, name.split("_")[0], lambda w, f=reference: f(w, RATE)
    yield "ast", "transformers", lambda w: others.ast(w[: 40 * RATE // 100], RATE)
    yield "seamless", "transformers", lambda w: others.seamless(w, RATE)
    options = {"sampling_rate": RATE, "padding": "do_not_pad", "return_tensors": "np"}
    for bins in (80, 128):
        theirs = WhisperFeatureExtractor(feature_size=bins)
        yield (
            f"whisper{bins}", "transformers",
            lambda w, f=theirs: f(w, **options).input_features[0].T,
        )  # fmt: skip


def apart(a, b) -> np.ndarray:
    """Absolute differences of all features of all files, float64."""
    return np.concatenate(
        [np.abs(np.float64(x) - np.float64(y)).ravel() for x, y in zip(a, b, strict=True)]
    )


def main(paths: list[str]) -> None:
    """Print the table."""
    warnings.simplefilter("ignore")
    waves = [features.load(path, RATE)[0] for path in paths]
    heads = f"{'mean':>9}{'p99.9':>9}{'max':>9}{'ours-64':>9}{'ref-64':>9}"
    print(f"{'preset':18}{'reference':24}{heads}")
    for preset, name, reference in pairs():
        theirs = [reference(wave) for wave in waves]
        ours, exact = (
            [others.ours(preset, w, RATE, d) for w in waves] for d in ("float32", "float64")
        )
        found = apart(ours, theirs)
        ends = [np.quantile(apart(x, exact), 0.999) for x in (ours, theirs)]
        figures = (found.mean(), np.quantile(found, 0.999), found.max(), *ends)
        print(f"{preset:18}{name:24}" + "".join(f"{figure:9.1e}" for figure in figures))


if __name__ == "__main__":
    main(sys.argv[1:])
