"""`speechllm ask`: what a model says of a sound, or of several together."""

import argparse
from pathlib import Path

from speechllm.cli.options import add_device, device

EPILOG = """The answer goes to standard output. For many utterances: speechllm decode.

examples:
  speechllm ask exp/mini a.flac                      # what its task asks
  speechllm ask qwen2_audio a.wav b.wav --question "Which one is longer?"
"""


def add(parser: argparse.ArgumentParser, argv: list[str]) -> None:
    """Describe the options."""
    parser.epilog = EPILOG
    parser.add_argument("model", type=Path, help="an experiment, one stage, or a model folder")
    parser.add_argument("audio", type=Path, nargs="+", help="sound files, in one prompt")
    parser.add_argument("--question", default="", help="said after the sounds")
    parser.add_argument("--max-tokens", type=int, default=200, help="of the answer, at most")
    parser.add_argument("--num-beams", type=int, default=1, help="beams of the search; 1 is greedy")
    add_device(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print the answer."""
    import features
    import speechllm

    where = device(args.device)
    system, model = speechllm.load(args.model)
    rate = system.extractor.sampling_rate
    waves = [features.load(path, sampling_rate=rate)[0] for path in args.audio]
    options = {"max_tokens": args.max_tokens, "num_beams": args.num_beams}
    print(speechllm.ask(system, model.to(where), waves, args.question, **options))
