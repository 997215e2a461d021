"""speechllm: speech LLMs from their own audio front end to a word error rate.

    system, model = speechllm.load("exp/mini")          # an experiment, a stage, a model folder
    wave, rate = features.load("a.flac", system.extractor.sampling_rate)
    print(speechllm.ask(system, model, wave))

Importing does one thing: it lets torchaudio's Python parts (which transformers imports) load on a
torch without CUDA, as `features` does; see `features/_torchaudio.py`. Names are loaded when first
used (PEP 562).
"""

import features  # noqa: F401  (installs the torchaudio hook; light)

__version__ = "0.1.0"
__all__ = ["ask", "load"]


def load(folder):
    """Load a trained or imported model: (system, model in evaluation mode).

    Raises:
        ValueError: the folder is no experiment, stage or model folder, or not a whole one.
    """
    from speechllm.models import store

    return store.load(store.find(folder))


def __getattr__(name):
    if name != "ask":
        raise AttributeError(f"module 'speechllm' has no attribute {name!r}")
    from speechllm.decode.ask import ask

    return ask
