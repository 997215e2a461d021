"""`speechllm draw`: pictures through a model's discrete tokens, and new ones of what is named."""

import argparse
from pathlib import Path

from speechllm.cli.options import add_device, device, number
from speechllm.ranges import Count, NotNegative, Positive

EPILOG = """OUT has again.jsonl (each picture drawn again), new.jsonl (a new one of what each row's
answer says), pictures.png, and two scores for `speechllm report`: the error of those drawn again,
and the use of the codebook. A model that names pictures may decode both manifests.

examples:
  speechllm draw exp/titok data/test.jsonl
  speechllm decode exp/judge exp/titok/draw_test/new.jsonl   # do they show what they should?"""


def add(parser: argparse.ArgumentParser, argv: list[str]) -> None:
    """Describe the options."""
    parser.epilog = EPILOG
    parser.add_argument("model", type=Path, help="an experiment, or one phase or checkpoint of it")
    parser.add_argument("manifest", type=Path, help="rows of one picture each, and what it is")
    parser.add_argument("--out", type=Path, help="folder; MODEL/draw_MANIFEST otherwise")
    parser.add_argument(
        "--steps", type=number(Positive), default=8, help="in which a picture is written"
    )
    parser.add_argument(
        "--temperature",
        type=number(NotNegative),
        default=4.5,
        help="of the noise on what stays, at the first step: more of it, more kinds of pictures",
    )
    parser.add_argument(
        "--guidance",
        type=number(NotNegative),
        default=1.0,
        help="how far from pictures of anything: more of it, fewer kinds of pictures",
    )
    parser.add_argument("--rows", type=number(Positive), default=64, help="of a batch")
    parser.add_argument("--seed", type=number(Count), default=0, help="of what is drawn by chance")
    add_device(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Draw, and print the lines of both scores."""
    from speechllm import provenance
    from speechllm.data.manifest import Manifest
    from speechllm.decode import draw, maskgit
    from speechllm.models import store

    system, model = store.load(store.find(args.model))
    writing = maskgit.Config(args.steps, args.temperature, args.guidance)
    options = draw.Options(writing, args.rows, args.seed)
    out = args.out or args.model / f"draw_{args.manifest.stem}"
    facts = {"preset": system.preset.name, "seed": args.seed, "commit": provenance.commit()}
    model.to(device(args.device))
    for line in draw.draw(system, model, Manifest(args.manifest), out, options, facts):
        print(line)
