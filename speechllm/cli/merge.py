"""`speechllm merge`: several checkpoints of one model as one, the mean of their weights."""

import argparse
from pathlib import Path

from speechllm.cli.options import number
from speechllm.ranges import Positive

EPILOG = """What comes is a model folder like any other: decode it, serve it, train it on.
One checkpoint whose weights several processes wrote in parts (--parallel fsdp) becomes one file.

examples:
  speechllm merge exp/mini --last 3 --out exp/mini_mean
  speechllm merge exp/a/tune/step-00000900 exp/a/tune/step-00001000 --out exp/a_mean"""


def add(parser: argparse.ArgumentParser, argv: list[str]) -> None:
    """Describe the options."""
    parser.epilog = EPILOG
    parser.add_argument("model", type=Path, nargs="+", help="checkpoints; or, with --last, one run")
    parser.add_argument("--last", type=number(Positive), help="so many of its last phase")
    parser.add_argument("--out", type=Path, required=True, help="the model folder to be written")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Average, and say of what."""
    from speechllm.models import average

    folders = args.model
    if args.last:
        if len(folders) > 1:
            raise ValueError(f"--last {args.last}: wanted one experiment, got {len(folders)}")
        folders = average.last(folders[0], args.last)
    n = average.average(folders, args.out)
    print(f"{args.out}: the mean of {', '.join(folder.name for folder in folders)}, {n} tensors")
