"""`speechllm ask`: what a model says of a sound, or of several together."""

import argparse
from pathlib import Path

from speechllm.cli.options import add_device, add_search, device, number, searched
from speechllm.ranges import Positive

EPILOG = """The answer goes to standard output. For many utterances: speechllm decode.

examples:
  speechllm ask exp/mini a.flac                      # what its task asks
  speechllm ask qwen2_audio a.wav b.wav --question "Which one is longer?"
"""


def add(parser: argparse.ArgumentParser, argv: list[str]) -> None:
    """Describe the options."""
    parser.epilog = EPILOG
    parser.add_argument("model", type=Path, help="an experiment, one phase, or a model folder")
    parser.add_argument("audio", type=Path, nargs="+", help="sound files, in one prompt")
    parser.add_argument("--question", default="", help="said after the sounds")
    parser.add_argument(
        "--max-tokens", type=number(Positive), default=200, help="of the answer, at most"
    )
    add_search(parser)
    add_device(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print the answer.

    Raises:
        ValueError: the model ends its answer before it has said anything.
    """
    import speechllm

    options = searched(args)
    speech = speechllm.load(args.model, device(args.device))
    said = speech.ask(args.audio, args.question, args.max_tokens, **options)
    if not said:
        raise ValueError(
            f"{args.audio[0]}: the model says nothing: it ended its answer at once; is there "
            "speech in it, no longer than what the model was trained on?"
        )
    print(said)
