"""`speechllm following`: the same audio under several instructions; is each one followed?"""

import argparse
from pathlib import Path

from speechllm.cli.options import number
from speechllm.ranges import Count

EPILOG = """Each decode is of the same utterances (same ids), under an instruction of its own.

examples:
  speechllm following asr=exp/decode_asr de=exp/decode_de qa=exp/decode_qa --out exp/following"""


def add(parser: argparse.ArgumentParser, argv: list[str]) -> None:
    """Describe the options."""
    parser.epilog = EPILOG
    parser.add_argument(
        "decode", nargs="+", metavar="KIND=DECODE", help="a decode's folder, or its hyp.jsonl"
    )
    parser.add_argument("--normaliser", default="basic", help="none, basic or whisper-en")
    parser.add_argument("--out", type=Path, help="folder for following.json")
    parser.add_argument("--seed", type=number(Count), default=0, help="seed of the bootstrap")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Measure and print a line an instruction."""
    from speechllm import files
    from speechllm.score.following import follow

    paths = {}
    for pair in args.decode:
        kind, equals, path = pair.partition("=")
        if not equals or not Path(path).exists():
            raise ValueError(f"wanted KIND=DECODE, an existing decode; got {pair!r}")
        paths[kind] = Path(path) / "hyp.jsonl" if Path(path).is_dir() else Path(path)
    results = follow(paths, args.normaliser, args.seed)
    for one in results:
        print(one)
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        files.write_json(args.out / "following.json", [vars(one) for one in results])
