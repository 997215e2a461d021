"""`speechllm decode`: decode a manifest; an interrupted decode goes on."""

import argparse
import contextlib
import dataclasses
import functools
from pathlib import Path

from speechllm.cli.options import add_ray, add_reading, add_search, device, number, searched
from speechllm.ranges import AboveZero, Positive

EPILOG = """Results stand in OUT/hyp.jsonl, one line an utterance; the same call goes on. Answers
of another model, manifest or search are refused: OUT/decode.json says what they are of.

examples:
  speechllm decode exp/slam data/test-clean.jsonl --num-beams 4
  speechllm decode exp/mini data/test.jsonl --by ctc            # what the CTC head alone reads
  speechllm decode exp/mini data/test.jsonl --ctc-weight 0.5 --num-beams 4         # both together
  speechllm decode exp/spell data/test.jsonl --by fusion --ctc-weight 1 --num-beams 4  # LLM deaf
  speechllm decode exp/slam data/test.jsonl --audio real shuffled silent   # does it listen?
  speechllm decode exp/multi data/test.jsonl --task translate --set task.way=chain
  speechllm decode exp/slam/adapter data/dev.jsonl --out exp/dev_adapter   # after one phase"""


def add(parser: argparse.ArgumentParser, argv: list[str]) -> None:
    """Describe the options."""
    parser.epilog = EPILOG
    parser.add_argument("model", type=Path, help="an experiment, or one phase or checkpoint of it")
    parser.add_argument("manifest", type=Path, nargs="+", help="what to decode")
    parser.add_argument(
        "--out",
        type=Path,
        help="folder, of one manifest; MODEL/decode_MANIFEST[_TASK][_AUDIO] otherwise",
    )
    parser.add_argument(
        "--task", default="", help="ask every row under this task, with the preset's settings of it"
    )
    add_search(parser)
    _add_bounds(parser)
    parser.add_argument(
        "--words",
        action="store_true",
        help="with times and confidence of words in hyp.jsonl, by the model's CTC head",
    )
    parser.add_argument(
        "--again", action="store_true", help="decode anew, whatever answers are there"
    )
    _add_changes(parser)
    add_reading(parser)
    add_ray(parser)
    parser.add_argument(
        "--precision", choices=("fp32", "bf16"), default="fp32", help="of the computation"
    )
    parser.set_defaults(run=run)


def _add_bounds(parser: argparse.ArgumentParser) -> None:
    """Add how much is computed at once, and how long an answer may be."""
    parser.add_argument(
        "--max-batch-s",
        type=number(AboveZero),
        default=200.0,
        help="size of a batch: utterances times the longest, in seconds",
    )
    parser.add_argument(
        "--max-tokens-per-s",
        type=number(AboveZero),
        default=25.0,
        help="of the answer, at most, by the audio's duration",
    )
    parser.add_argument(
        "--max-tokens",
        type=number(Positive),
        default=200,
        help="of the answer to text alone, or to a picture, at most",
    )


def _add_changes(parser: argparse.ArgumentParser) -> None:
    """Add what the model hears and is asked in place of what a row says."""
    parser.add_argument(
        "--audio",
        "--media",
        dest="audio",
        nargs="+",
        type=_way,
        metavar="WAY",
        default=["real"],
        help="real, shuffled or silent: each sound (or picture, pose) as it is, another's of the "
        "manifest, or silence (or blank): does the model listen, or look? shuffled:image and "
        "silent:image change that medium alone",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="task.KEY=VALUE",
        help="change a setting of the task, such as what is asked: task.way=chain",
    )


def _way(text: str) -> str:
    """Check the first word of --media; which media there are says the model."""
    kind, colon, medium = text.partition(":")
    if kind not in ("real", "shuffled", "silent") or bool(colon) != bool(medium):
        raise argparse.ArgumentTypeError(
            f"wanted real, shuffled, silent, or one of the last two and a medium, "
            f"shuffled:image, got {text!r}"
        )
    if kind == "real" and medium:
        raise argparse.ArgumentTypeError("real: all media are as they are")
    return text


def asked(system, changes: list[str]):
    """Change the task of a system.

    Raises:
        ValueError: a change of anything else, which would not be the model that was trained.
    """
    from speechllm import config

    if other := [change for change in changes if not change.startswith("task.")]:
        raise ValueError(f"--set {other[0]}: a decode may only change its task, task.KEY=VALUE")
    return dataclasses.replace(system, preset=config.changed(system.preset, changes))


def run(args: argparse.Namespace) -> None:
    """Decode each manifest, heard in each way."""
    from speechllm.data.asked import asked as table_of
    from speechllm.decode.run import Options
    from speechllm.decode.settings import Config, usual
    from speechllm.models import kernels, store

    jobs = [(manifest, audio) for manifest in args.manifest for audio in args.audio]
    if args.out and len(jobs) > 1:
        raise ValueError(f"--out is for one manifest, heard in one way; got {len(jobs)}")
    names = {field.name for field in dataclasses.fields(Options)} - {"search", "task", "audio"}
    values = {name: getattr(args, name) for name in names}
    values["precision"] = kernels.precision(args.precision)
    given, options = searched(args), Options(**values)
    where = device(args.device)
    folder = store.find(args.model)
    system, model = store.load(folder)
    system = asked(system, args.set)
    table = table_of(system.preset, args.task) if args.task else None
    search = Config(**usual(system.preset, given, args.task))
    options = dataclasses.replace(options, search=search)
    model.to(where)
    for path, audio in jobs:
        parts = ["decode", path.stem, args.task, "" if audio == "real" else audio.replace(":", "_")]
        out = args.out or args.model / "_".join(filter(None, parts))
        chosen = dataclasses.replace(options, audio=audio, task=table)
        with _spread(args, folder, where, path, chosen) as spread:
            facts = {"checkpoint": str(folder)}
            _decode(system, model, path, out, chosen, args.again, facts, spread)


@contextlib.contextmanager
def _spread(args: argparse.Namespace, folder: Path, where: str, path: Path, options):
    """Give what lets a cluster answer, or None where none is wanted."""
    if not args.ray:
        yield None
        return
    from features import cluster
    from speechllm.decode import elsewhere

    place = elsewhere.Place(
        str(folder.absolute()), tuple(args.set), where, str(path.absolute()),
        dataclasses.replace(options, workers=0),
    )  # fmt: skip
    with cluster.workers(args.ray, gpus=where == "cuda") as run:
        yield lambda parts: run(functools.partial(elsewhere.answered, place), parts)


def _decode(
    system, model, path: Path, out: Path, options, again: bool, facts: dict, spread=None
) -> None:
    from tqdm import tqdm

    from speechllm.data.manifest import Manifest
    from speechllm.decode.run import decode

    manifest = Manifest(path)
    facts |= {"manifest": str(path)}
    with tqdm(total=len(manifest), unit="utt", disable=None) as bar:
        tally = decode(system, model, manifest, out, options, bar.update, again, facts, spread)
    for error in tally.errors:
        print(f"skipped: {error}")
    speed = f", RTFx {tally.rtfx:.1f}" if tally.audio_s else ""
    print(
        f"{out / 'hyp.jsonl'}: {tally.n_utterances} utterances decoded, "
        f"{tally.n_done_before} were there already{speed}"
    )
