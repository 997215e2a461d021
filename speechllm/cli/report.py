"""`speechllm report`: RESULTS.md and a page of pictures, from what experiments left behind."""

import argparse
import sys
from pathlib import Path

EPILOG = """Nothing is written there that was not run; what is declared and was not says "not run".
Experiments of one preset under different seeds have their mean and deviation in a table.

examples:
  speechllm report exp/mini0 exp/mini1 exp/mini2 --seeds --out RESULTS.md
  speechllm report exp/mini exp/100h --out RESULTS.md --page exp/report.html \\
      --declared "960h=run.sh --size 960" """


def add(parser: argparse.ArgumentParser, argv: list[str]) -> None:
    """Describe the options."""
    parser.epilog = EPILOG
    parser.add_argument("experiments", type=Path, nargs="+", help="folders of experiments")
    parser.add_argument("--out", type=Path, help="write the Markdown there instead of printing it")
    parser.add_argument("--page", type=Path, help="write an HTML page with curves and tables")
    parser.add_argument("--title", default="Results", help="heading of both")
    parser.add_argument(
        "--declared",
        action="append",
        default=[],
        metavar="NAME=COMMAND",
        help="a configuration that exists, whether or not anybody ran it",
    )
    parser.add_argument(
        "--benchmark",
        type=Path,
        metavar="DIR",
        help="a folder of speechllm benchmark, whose tables stand in the Markdown too",
    )
    parser.add_argument(
        "--seeds",
        action="store_true",
        help="these are one configuration under several seeds: refuse what is not",
    )
    parser.add_argument(
        "--flops",
        action="store_true",
        help="count what the trainings computed, and their MFU on GPUs that speechllm plan knows",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Report."""
    from speechllm import report

    if bad := [pair for pair in args.declared if "=" not in pair]:
        raise ValueError(
            f"--declared wants NAME=COMMAND, the line that would run it; got {bad[0]!r}"
        )
    declared = dict(pair.split("=", 1) for pair in args.declared)
    for absent in (folder for folder in args.experiments if not folder.is_dir()):
        print(f"speechllm report: {absent}: no such folder, left out", file=sys.stderr)
    folders = [folder for folder in args.experiments if folder.is_dir()]
    spent = {}
    if args.flops:
        from speechllm.cli import spent as counting

        spent = {str(folder): counting.of(folder) for folder in folders}
    text = report.results(
        folders,
        args.out,
        args.page,
        declared=declared,
        title=args.title,
        seeds=args.seeds,
        spent=spent,
        benchmark=args.benchmark,
    )
    print(text if args.out is None else f"{args.out}: written")
