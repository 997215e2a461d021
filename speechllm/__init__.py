"""speechllm: speech LLMs from their own audio front end to a word error rate.

    speech = speechllm.load("exp/mini")          # an experiment, a phase, a model folder
    print(speech.ask("a.flac"))                  # what its task asks
    print(speech.transcribe(["a.flac", "b.flac"]))

Importing does two things: it lets torchaudio's Python parts (which transformers imports) load on a
torch without CUDA, as `features` does; see `features/_torchaudio.py`; and it keeps torchao, where
that is installed, from telling on each import which of a GPU's kernels it has not found. What is
heavy is imported when a model is loaded.
"""

import logging

import features  # noqa: F401  (installs the torchaudio hook; light)

for _name in ("torchao", "torch.utils._pytree"):  # the second speaks of the first's classes
    logging.getLogger(_name).setLevel(logging.ERROR)

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def load(folder, device: str = "cpu"):
    """Load a trained or imported model, as a `Speech` (decode/speech.py) with `system` and `model`.

    Raises:
        ValueError: the folder is no experiment, phase or model folder, or not a whole one.
    """
    from speechllm.decode.speech import Speech

    return Speech.load(folder, device)


def __dir__() -> list[str]:
    """Show what is meant to be used."""
    return __all__
