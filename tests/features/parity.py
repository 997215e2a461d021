"""Prints how far each preset is from its references on sound files, and both from float64.

    python tests/features/parity.py FILE...

Figures are over all files: mean, 99.9th percentile and maximum of the absolute difference, in the
unit of the features. The two columns after them are the 99.9th percentiles of ours and of the
reference from our float64, which equals the references' own float64 and the specification to 1e-6.
The last one judges: "within" the limits of `test_parity`, or, in what is not, "nearer" the truth
than the reference, or as near. On speech all that is over 5e-4 lies 68 dB and more below the
loudest bin of its frame. There fp32 rounds, and half of the rounding is in the Fourier transform,
which no two programs do alike; the other half (mean, preemphasis, window) is done as Kaldi does.
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
# how much further than the reference still counts as near, on any processor: its transform and ours
# are other programs on each, and the worst bins are a matter of luck
NEAR = {"mean": 1.5, "p999": 2.0, "most": 4.0}


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
    yield (
        "kaldi_spectrogram",
        "torchaudio",
        lambda w: kaldi("spectrogram", w, RATE, energy_floor=0.0),
    )
    for name, reference in others.REFERENCES.items():
        if name != "ast":
            yield (
                name,
                name.split("_")[0],
                lambda w, f=reference, n=name: others.shown(n, f(w, RATE)),
            )
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


def figures(a, b) -> dict[str, float]:
    """Mean, 99.9th percentile and maximum of how far features of all files are apart."""
    found = apart(a, b)
    return {"mean": found.mean(), "p999": np.quantile(found, 0.999), "most": found.max()}


def measure(preset: str, reference, waves: list) -> tuple[dict, dict, dict]:
    """Figures of ours from the reference, of ours from float64, of the reference from float64."""
    theirs = [reference(wave) for wave in waves]
    ours, exact = ([others.ours(preset, w, RATE, d) for w in waves] for d in ("float32", "float64"))
    return figures(ours, theirs), figures(ours, exact), figures(theirs, exact)


def judge(preset: str, found: dict, ours: dict, theirs: dict) -> str:
    """ "within" the limits; "nearer" float64 than the reference where not, or "BEYOND" both."""
    over = [key for key, limit in others.within(preset).items() if found[key] > limit]
    if all(ours[key] <= NEAR[key] * theirs[key] for key in over):
        return "nearer" if over else "within"
    return "BEYOND"


def main(paths: list[str]) -> None:
    """Print the table."""
    warnings.simplefilter("ignore")
    waves = [features.load(path, RATE)[0] for path in paths]
    heads = f"{'mean':>9}{'p99.9':>9}{'max':>9}{'ours-64':>9}{'ref-64':>9}"
    print(f"{'preset':18}{'reference':20}{heads}  limits")
    for preset, name, reference in pairs():
        found, ours, theirs = measure(preset, reference, waves)
        shown = (*found.values(), ours["p999"], theirs["p999"])
        verdict = judge(preset, found, ours, theirs)
        print(f"{preset:18}{name:20}" + "".join(f"{x:9.1e}" for x in shown) + f"  {verdict}")


if __name__ == "__main__":
    main(sys.argv[1:])
