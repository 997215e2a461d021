"""The audio front end: from a sound file to features, usable alone.

    wave, rate = features.load("a.flac", sampling_rate=16000)   # float32 (N,)
    fbank = features.get("kaldi_fbank80")               # an Extractor; any option by its name
    x, n = fbank(wave)                                          # (T, 80), T
    fbank.count(len(wave)), fbank.dim, fbank.frame_rate_hz
    features.plot("a.flac", "steps.png")

Names are loaded when first used (PEP 562), so `import features` costs nothing: no torch, no numpy.
The one thing it does is to make a later `import torchaudio` harmless on a PyTorch without CUDA (see
`_torchaudio`).
"""

from importlib import import_module

from features import _torchaudio

_HOME = {
    "load": "audio",
    "info": "audio",
    "blocks": "audio",
    "resample": "resampling",
    "get": "extractor",
    "batch": "extractor",
    "pitch": "kaldi_pitch",
    "Extractor": "extractor",
    "names": "presets",
    "plot": "picture",
    "draw": "picture",
}
__all__ = sorted(_HOME)

_torchaudio.install()


def __getattr__(name):
    if name not in _HOME:
        raise AttributeError(f"module 'features' has no attribute {name!r}")
    value = getattr(import_module(f"features.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *_HOME})
