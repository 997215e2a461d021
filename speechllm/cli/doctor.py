"""`speechllm doctor`: what is installed, whether it works together, and what to do."""

import argparse
import importlib
import os

from speechllm import provenance

PACKAGES = (
    "numpy torch torchaudio transformers peft accelerate tokenizers safetensors soundfile soxr "
    "librosa jiwer sacrebleu rapidfuzz tensorboard matplotlib espeakng_loader"
).split()
NEEDED = set(
    "numpy torch transformers peft accelerate tokenizers safetensors soundfile soxr".split()
)
EPILOG = """Exit status: 0 where all that is needed works, 1 where something does not.

example:
  speechllm doctor"""


def add(parser: argparse.ArgumentParser, argv: list[str]) -> None:
    """Describe the options."""
    parser.epilog = EPILOG
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the findings; the status is 1 where something needed does not work."""
    print(f"hardware    {provenance.hardware()}")
    print(f"commit      {provenance.commit()}")
    faults = [fault for package in PACKAGES if (fault := _package(package)) and package in NEEDED]
    _torch()
    from features import _torchaudio, kernel

    print(f"hook        {_torchaudio.status()}")
    print(f"front end   {kernel.status()}")
    for fault in faults:
        print(f"FAULT       {fault}")
    print("all that is needed works" if not faults else "see FAULT above")
    return 1 if faults else 0


def _package(name: str) -> str:
    """Print a package's version; return what is wrong with it, if anything."""
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        hint = "pip install" if isinstance(error, ModuleNotFoundError) else "reinstall"
        print(f"{name:<16}missing: {hint} {name.replace('_', '-')}")
        return f"{name}: {error}"
    except OSError as error:
        print(f"{name:<16}does not load: {error}")
        return f"{name}: {error}"
    print(f"{name:<16}{getattr(module, '__version__', 'present')}")
    return ""


def _torch() -> None:
    """Print what torch can do here."""
    try:
        import torch
    except ImportError:
        return
    cuda = torch.version.cuda or "none (CPU build)"
    print(f"CUDA        built for {cuda}, {torch.cuda.device_count()} GPU(s) visible")
    if torch.version.cuda and not torch.cuda.is_available():
        print("            torch has CUDA but sees no GPU: check the driver with nvidia-smi")
    capability = torch.backends.cpu.get_cpu_capability()
    print(
        f"CPU         {capability}, {torch.get_num_threads()} threads; OMP_NUM_THREADS="
        f"{os.environ.get('OMP_NUM_THREADS', 'unset')}"
    )
