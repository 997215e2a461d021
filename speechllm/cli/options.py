"""Options that several verbs share, and how all are shown."""

import argparse
import typing
from collections.abc import Callable
from pathlib import Path

from speechllm import config, files
from speechllm.ranges import LARGEST, AboveZero, Count, NotNegative, Positive, Share, Workers


class Layout(argparse.RawDescriptionHelpFormatter):
    """Help as it is written, each option with its default."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text, default = action.help or "", action.default
        none = default is None or default is False or default in ("", [], (), argparse.SUPPRESS)
        if none or not action.option_strings or "default" in text:
            return text
        shown = " ".join(map(str, default)) if isinstance(default, (list, tuple)) else default
        return f"{text} (default: {shown})".strip()


def model_folder(word: str) -> Path | None:
    """Return the model folder that a word names, None where it names a preset or a TOML file.

    A preset's name is the preset, also where a folder is called so: `./mini` is the folder `mini`.
    """
    return Path(word) if Path(word).is_dir() and word not in config.presets() else None


def number(hint) -> Callable:
    """Make what argparse reads a number by: `hint` is one of `speechllm.ranges`, as `Positive`."""
    kind, within = typing.get_args(hint)

    def read(text: str):
        try:
            value = kind(text)
        except ValueError:
            wanted = files.NAMES[kind]
            raise argparse.ArgumentTypeError(f"wanted {wanted}, got {text!r}") from None
        if not abs(value) <= LARGEST or not within.holds(value):  # of nan neither is true
            raise argparse.ArgumentTypeError(f"wanted a number {within}, got {text[:40]}")
        return value

    return read


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Add how audio is read, what to do where it cannot be, and where to compute."""
    parser.add_argument(
        "--workers", type=number(Workers), default=1, help="processes that read audio; 0: this one"
    )
    parser.add_argument(
        "--on-error",
        choices=("stop", "skip"),
        default="stop",
        help="at a file that cannot be read: stop, or go on without it",
    )
    add_device(parser)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add where to compute."""
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda", "mps"),
        default="auto",
        help="auto: a CUDA GPU if there is; mps: that of an Apple computer",
    )


def add_listener(parser: argparse.ArgumentParser) -> None:
    """Add the model that hears sound of any length."""
    parser.add_argument(
        "model",
        help="an experiment, one phase, a model folder; or a recogniser of transformers (Whisper, "
        "a CTC model) by folder or Hub name",
    )


def add_windows(parser: argparse.ArgumentParser, more: str) -> None:
    """Add how long sound is cut and batched; `more` goes on with the help of --vad."""
    parser.add_argument(
        "--vad",
        choices=("auto", "silero", "energy", "none"),
        default="auto",
        help=f"who finds speech{more}",
    )
    parser.add_argument(
        "--max-batch-s",
        type=number(AboveZero),
        default=200.0,
        help="size of a batch: windows times the longest, in seconds",
    )


def device(wanted: str) -> str:
    """Return "cpu", "cuda" or "mps" for what was asked of `--device`.

    Raises:
        ValueError: a GPU is wanted where there is none.
    """
    import torch

    there = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    if wanted == "auto":
        return "cuda" if there["cuda"]() else "cpu"
    if wanted in there and not there[wanted]():
        raise ValueError(
            f"--device {wanted}: torch sees no such GPU (speechllm doctor says why); take cpu"
        )
    return wanted


def add_ray(parser: argparse.ArgumentParser) -> None:
    """Add the cluster that works in place of this process."""
    parser.add_argument(
        "--ray",
        default="",
        metavar="ADDRESS",
        help="let a Ray cluster work (pip install 'speechllm[ray]'); local: processes here",
    )


SEARCH = {  # option -> range, default, help
    "num-beams": (Positive, 1, "beams of the search; 1 is greedy"),
    "num-best": (Positive, 1, "answers to keep of each, with beams: alternatives and their scores"),
    "temperature": (NotNegative, 0.0, "draw the answer; 0 takes the most probable"),
    "top-p": (Share, 1.0, "draw from the most probable tokens that make up this share"),
    "seed": (Count, 0, "of the draws"),
    "length-penalty": (
        NotNegative,
        None,
        "power of the length in a score, with beams (default: 1, with CTC 0)",
    ),
    "max-repeats": (
        Count,
        10,
        "repetitions of one n-gram that end an answer as a loop; 0: no guard",
    ),
    "ctc-weight": (
        NotNegative,
        0.0,
        "of the model's CTC head beside the LLM, in each step of the search; 0: the LLM alone",
    ),
    "lm-weight": (
        NotNegative,
        0.0,
        "of what the LLM says without LoRA, having heard nothing, beside what it says otherwise",
    ),
    "ctc-candidates": (
        Positive,
        20,
        "pieces that the LLM proposes in a step, where CTC takes part and proposes its own",
    ),
}
WORDS = {  # option -> choices, default, help
    "by": (
        ("llm", "ctc", "fusion"),
        "llm",
        "who decides: the LLM; the CTC head alone; or both, the LLM as a language model of text "
        "that hears nothing (shallow fusion, with --ctc-weight)",
    ),
    "ctc-at": (
        ("step", "end"),
        "step",
        "CTC takes part in each step, or only where it puts the --num-best answers in order",
    ),
    "draft": (
        ("", "ctc"),
        "",
        "ctc: what the CTC head reads is a draft that the LLM checks, several tokens at once; the "
        "same answer, sooner, where one file is answered at a time",
    ),
    "lm-prompt": (None, "", "text that the LLM reads first where it hears nothing"),
}


def add_search(parser: argparse.ArgumentParser) -> None:
    """Add how to search for an answer."""
    group = parser.add_argument_group(
        "search", "where none of these is given, the model's preset says how ([search])"
    )
    for name, (kind, default, text) in (SEARCH | WORDS).items():
        read = {"choices": kind} if name in WORDS else {"type": number(kind)}
        shown = "" if default in (None, "") else f" (default: {default})"
        group.add_argument(f"--{name}", default=argparse.SUPPRESS, help=text + shown, **read)
    group.add_argument(
        "--choices",
        type=_words,
        default=argparse.SUPPRESS,
        metavar="a,b,c",
        help="the answers that there are: the model says the most probable of them (yes,no)",
    )
    group.add_argument(
        "--exact",
        action="store_true",
        default=argparse.SUPPRESS,
        help="in bfloat16 on a processor: each answer to the bit as it is alone, in more time",
    )


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(","))


def searched(args: argparse.Namespace) -> dict:
    """Return the fields of `search.Config` that were given, checked before anything loads.

    Raises:
        ValueError: a value that means nothing.
    """
    from speechllm.decode.search import Config

    names = [name.replace("-", "_") for name in (*SEARCH, *WORDS, "choices", "exact")]
    given = {name: getattr(args, name) for name in names if hasattr(args, name)}
    Config(**given)
    return given
