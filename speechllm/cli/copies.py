"""`speechllm data copies`: a manifest's sounds faster, slower or in noise, as further manifests."""

import argparse
from pathlib import Path

EPILOG = """A CONDITION is speed0.9 (0.25 to 4 times as fast, pitch and all) or noise10 (decibels
above noise). Each becomes a folder of WAV files with a manifest of the same ids and texts; one that
is there already, of the same sounds, is taken as it is. Where the states of a frozen encoder are
stored, speeds cannot be drawn in training: copies are what stands in for it.

examples:
  speechllm data copies data/train.jsonl speed0.9 speed1.1 --out data/copies
  speechllm data join data/train.jsonl data/copies/*/*.jsonl --prefix --out data/three.jsonl
  speechllm data copies data/test.jsonl noise20 noise5 --noise babble.wav --out data/copies"""


def add(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument("manifest", type=Path, help="JSON Lines")
    parser.add_argument("conditions", nargs="+", metavar="CONDITION", help="see below")
    parser.add_argument("--out", type=Path, required=True, help="where the folders are made")
    parser.add_argument(
        "--noise", type=Path, nargs="+", default=[], metavar="FILE", help="white noise if not given"
    )
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn of the noise")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Make them, and say where they are."""
    from speechllm.data import copies

    for condition in args.conditions:  # a wrong one is told before any is made
        copies.check(condition)
    for condition in args.conditions:
        path = copies.copy(args.manifest, condition, args.out, args.noise, args.seed)
        print(f"{condition}: {path}")
