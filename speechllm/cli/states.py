"""`speechllm data states`: what a frozen encoder makes of each sound, stored once."""

import argparse
import contextlib
import functools
from pathlib import Path

from speechllm.cli.options import add_device, add_ray, device, number
from speechllm.ranges import Workers

EPILOG = """A training whose encoder does not learn runs it on the same sounds in each pass. Stored,
its states are read in place of the sounds wherever a manifest refers to them: --manifest writes one
that does, --beside one for each of several. They are refused for another encoder, other weights,
another front end, a segment that was moved; by a phase that trains the encoder; and beside an
[augment] that changes waves or frames, which lie before the states (state_masks works). Run again,
it goes on with what is missing.

    float32    as the encoder gives them    2 KB a state of 512 values
    bfloat16   half of that, each value within 0.4 %
    int8       a quarter, within 0.4 % of the largest of its dimension in the utterance

examples:
  speechllm data states whisper_llm data/train.jsonl --out states --manifest data/train.states.jsonl
  speechllm data states whisper_llm data/train.jsonl data/valid.jsonl --out states --beside states
  speechllm data states exp/mini data/train.jsonl --out states --dtype int8"""


def add(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument("preset", help="a preset with a pretrained encoder, or a model folder")
    parser.add_argument("manifests", type=Path, nargs="+", metavar="manifest", help="JSON Lines")
    parser.add_argument("--out", type=Path, required=True, help="the set's folder")
    also = parser.add_mutually_exclusive_group()
    also.add_argument("--manifest", dest="new", type=Path, metavar="NEW",
                      help="also write the manifest, referring to the states")  # fmt: skip
    also.add_argument("--beside", metavar="WORD",
                      help="also write each M.jsonl as M.WORD.jsonl, referring so")  # fmt: skip
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="TABLE.KEY=VALUE",
        help="change a setting of the preset, such as encoder.pretrained=DIR",
    )
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16", "int8"), default="bfloat16", help="of the states"
    )
    parser.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16"),
        default="auto",
        help="of the encoder; auto: bf16 where the machine has it, but fp32 for --dtype float32",
    )
    parser.add_argument(
        "--workers", type=number(Workers), default=1, help="processes that read audio; 0: this one"
    )
    add_device(parser)
    add_ray(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Store, manifest after manifest; exit status 1 where some sounds could not be read."""
    from speechllm.models import kernels, states, storing

    names = [_referring(args, path) for path in args.manifests]
    branch, encoder = states.opened(args.preset, args.set)
    precision = kernels.precision(args.precision, args.dtype != "float32")
    encoder.to(device(args.device))
    job = storing.Job(branch, encoder, args.out, args.dtype, precision, args.workers)
    with _spread(args, job, precision) as spread:
        pairs = zip(args.manifests, names, strict=True)
        failed = [_store(args, job, *pair, spread) for pair in pairs]
    return 1 if any(failed) else 0


@contextlib.contextmanager
def _spread(args: argparse.Namespace, job, precision: str):
    """Give what lets a cluster store, or None where none is wanted."""
    if not args.ray:
        yield None
        return
    from features import cluster
    from speechllm.models import storing

    where, out = next(job.encoder.parameters()).device.type, args.out.absolute()
    what = str(Path(args.preset).absolute()) if Path(args.preset).exists() else args.preset
    opening = (what, tuple(args.set), where, out, args.dtype, precision, 0)
    with cluster.workers(args.ray, gpus=where == "cuda") as run:
        yield lambda pieces: run(
            functools.partial(storing.stored, opening), map(cluster.whole, pieces)
        )


def _referring(args: argparse.Namespace, path: Path) -> Path | None:
    """Name the manifest that is to refer to the states of `path`; None: none is wanted.

    Raises:
        ValueError: one name for several manifests; --beside with what is no word.
    """
    if args.new and len(args.manifests) > 1:
        raise ValueError(
            f"--manifest {args.new} is one, but there are {len(args.manifests)} manifests; "
            "--beside states writes one for each"
        )
    if args.beside is not None and (not args.beside or "/" in args.beside):
        raise ValueError(f"--beside wants a word, such as states; got {args.beside!r}")
    return path.with_suffix(f".{args.beside}{path.suffix}") if args.beside else args.new


def _store(args: argparse.Namespace, job, path: Path, new: Path | None, spread) -> bool:
    """Store one manifest's states, and say how it went; whether some sounds could not be read."""
    from tqdm import tqdm

    from features import sources
    from speechllm.models import storing

    with tqdm(unit="utt", disable=None) as bar:

        def progress(tally) -> None:
            bar.total = tally.total - tally.skipped
            bar.update(tally.done - bar.n)

        tally = storing.make(job, path, progress, spread)
    for error in tally.errors:
        print(f"not stored: {error}")
    print(_summary(args, job.precision, tally))
    if new:
        n = sources.refer(path, args.out, new)
        print(f"{new}: {n} of {tally.total} rows refer to states in {args.out}")
    return bool(tally.errors)


def _summary(args: argparse.Namespace, precision: str, tally) -> str:
    lost = f", rounding {tally.noise_db:.0f} dB below them" if tally.error else ""
    return (
        f"{args.out}: states of {tally.done} sounds stored as {args.dtype} (computed in "
        f"{precision}{lost}), {tally.skipped} were there already, {len(tally.errors)} failed; "
        f"{tally.audio_s:.0f} s of sound in {tally.seconds:.0f} s (RTFx {tally.rtfx:.0f})"
    )
