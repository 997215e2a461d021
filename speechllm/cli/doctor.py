"""`speechllm doctor`: what is installed, whether it works together, and what to do."""

import argparse
import importlib
import importlib.metadata
import os
import shutil

from speechllm import provenance

PACKAGES = (
    "numpy torch torchaudio transformers peft accelerate tokenizers safetensors soundfile soxr "
    "librosa jiwer sacrebleu rapidfuzz tensorboard matplotlib espeakng_loader"
).split()
NEEDED = set(
    "numpy torch transformers peft accelerate tokenizers safetensors soundfile soxr".split()
)
# extra -> what it is for, and the distributions that it brings
EXTRAS = {
    "docs": ("the pages of docs/ as a site: make docs", "mkdocs-material"),
    "export": (
        "LLMs in 4 and 8 bits: speechllm export --quantize",
        "compressed-tensors torchao",
    ),
    "hub": ("data sets of the Hub, as Parquet", "pyarrow"),
    "kaldi": ("features as ark and scp; Kaldi's pitch", "kaldiio kaldi-native-fbank"),
    "live": ("the microphone of speechllm transcribe --live", "sounddevice"),
    "pose": ("files of poses, .pose", "pose-format"),
    "quantize": ("LLMs in 4 and 8 bits while LoRA learns", "bitsandbytes"),
    "ray": ("--ray: a cluster that decodes and extracts", "ray"),
    "serve": (
        "speechllm serve: OpenAI's routes",
        "fastapi prometheus-client python-multipart uvicorn websockets",
    ),
    "remote": ("shards elsewhere, by http and S3", "aiohttp s3fs"),
    "tokens": ("pictures as discrete tokens: the encoder titok", "vector-quantize-pytorch"),
    "vad": ("who finds speech in long files: silero's network", "silero-vad"),
    "video": ("videos in containers", "av"),
}
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
    for name, (purpose, distributions) in EXTRAS.items():
        print(_extra(name, purpose, distributions.split()))
    print(_ffmpeg())
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


def _extra(name: str, purpose: str, distributions: list[str]) -> str:
    """Say whether an extra is there, what it is for, and how to get it."""
    missing = [one for one in distributions if not _is_installed(one)]
    state = f"missing {', '.join(missing)}: pip install 'speechllm[{name}]'" if missing else "there"
    return f"{f'[{name}]':<16}{purpose}: {state}"


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _ffmpeg() -> str:
    """Say whether the ffmpeg command is there."""
    path = shutil.which("ffmpeg")
    state = path or "missing: apt install ffmpeg, or your system's way"
    return f"{'ffmpeg':<16}M4A, MP4, AAC, WebM, WMA, AMR: {state}"


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
