"""`speechllm data`: validate, split, join and show manifests; a tokenizer; further verbs."""

import argparse
from pathlib import Path

from speechllm import config
from speechllm.cli import copies, prepare, shard, states
from speechllm.cli.options import Layout, model_folder, number
from speechllm.ranges import Positive

WORK = {  # what each verb that has its own file does
    "copies": (copies, "copy a set's sounds faster, slower or in noise"),
    "shard": (shard, "put a manifest's sounds into tar files, here or elsewhere"),
    "states": (states, "run a frozen encoder once: store its states for training"),
}
EPILOGS = {
    "prepare": prepare.EPILOG,
    **{name: module.EPILOG for name, (module, _) in WORK.items()},
    "data": """examples:
  speechllm data prepare librispeech --corpus LibriSpeech --out data
  speechllm data validate data/dev-clean.jsonl --deep
  speechllm data show 84-121123-0000 --manifest data/dev-clean.jsonl --preset exp/slam
  speechllm data tokenizer data/train.jsonl --out data/bpe""",
    "validate": """A manifest is JSON Lines, a row an utterance, times in seconds:

  {"id": "a-1", "audio": "a.flac", "start": 0.0, "duration": 3.2, "text": "hello"}

Of several channels the mean is heard, or the one that "channel" says, from 0. Relative paths start
at the manifest's folder. Each kind of fault is told once, with how often it
is there and the first three places. Exit status 1 where something is wrong.

examples:
  speechllm data validate data/train.jsonl           # every row
  speechllm data validate data/train.jsonl --deep    # and every sound""",
    "split": """A SIZE is a share of the examples (0.05, 5%, 1/20), a number of them (100), or
rest, what the others leave. With --by examples of one value stay together: a number is then one of
such groups, of speakers say, and a share is met as nearly as they allow. The same seed draws the
same parts.

examples:
  speechllm data split data/all.jsonl --parts dev=100 test=5% train=rest --out data
  speechllm data split data/all.jsonl --parts test=4 train=rest --by speaker --out data
  speechllm data split data/all.jsonl --parts few=1/20 --out data""",
    "join": """examples:
  speechllm data join data/train-clean-100.jsonl data/train-clean-360.jsonl --out data/train.jsonl
  speechllm data join fold1/test.jsonl fold2/test.jsonl --prefix --out all.jsonl""",
    "show": """examples:
  speechllm data show a-1 --manifest data/dev.jsonl --preset mini --tokenizer data/bpe
  speechllm data show a-1 --manifest data/dev.jsonl --preset exp/mini --plot a-1.png""",
    "tokenizer": """example:
  speechllm data tokenizer data/train.jsonl data/text.jsonl --vocab-size 1000 --out data/bpe""",
}


def add(parser: argparse.ArgumentParser, argv: list[str]) -> None:
    """Describe the verbs; a corpus's options come from its Config."""
    parser.epilog = EPILOGS["data"]
    verbs = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def verb(name: str, text: str) -> argparse.ArgumentParser:
        return verbs.add_parser(
            name, help=text, description=text, epilog=EPILOGS[name], formatter_class=Layout
        )

    prepare.add(verb("prepare", "turn a corpus into manifests"), argv)
    sub = verb("validate", "check a manifest, cheaply or by decoding everything")
    sub.add_argument("manifest", type=Path, help="JSON Lines")
    sub.add_argument("--deep", action="store_true", help="decode every file")
    sub.add_argument("--all", action="store_true", help="list every fault, not each kind once")
    sub.set_defaults(run=_validate)
    _add_parts(verb)
    for name, (module, text) in WORK.items():
        module.add(verb(name, text))
    sub = verb("show", "show an example token by token, with its spectrogram")
    sub.add_argument("id", help="the example's id")
    sub.add_argument("--manifest", type=Path, required=True, help="where it stands")
    sub.add_argument("--preset", required=True, help="a preset, or an experiment or checkpoint")
    sub.add_argument("--tokenizer", help="its folder, where preset is not a checkpoint")
    sub.add_argument("--plot", type=Path, help="draw the spectrogram into this PNG")
    sub.set_defaults(run=_show)
    sub = verb("tokenizer", "train a small BPE tokenizer on manifests' texts")
    sub.add_argument("manifest", type=Path, nargs="+", help="whose texts it is made of")
    sub.add_argument(
        "--vocab-size", type=number(Positive), default=500, help="word pieces, at most"
    )
    sub.add_argument(
        "--also",
        nargs="+",
        default=[],
        help="texts of prompts and the like, counted as if they stood in each tenth line",
    )
    sub.add_argument("--out", type=Path, required=True, help="its folder")
    sub.set_defaults(run=_tokenizer)


def _add_parts(verb) -> None:
    """Describe `split` and `join`."""
    sub = verb("split", "cut a manifest into disjoint parts")
    sub.add_argument("manifest", type=Path, help="JSON Lines")
    sub.add_argument("--parts", nargs="+", required=True, metavar="NAME=SIZE", help="see below")
    sub.add_argument("--by", default="", help="key whose examples stay together, as speaker")
    sub.add_argument("--seed", type=int, default=0, help="of what is drawn by chance")
    sub.add_argument("--out", type=Path, help="folder of the parts; if not given, the manifest's")
    sub.set_defaults(run=_split)
    sub = verb("join", "make one manifest of several")
    sub.add_argument("manifest", type=Path, nargs="+", help="JSON Lines")
    sub.add_argument(
        "--prefix", action="store_true", help="put the manifest's name before each id, as dev-17"
    )
    sub.add_argument("--out", type=Path, required=True, help="the new manifest")
    sub.set_defaults(run=_join)


def _validate(args: argparse.Namespace) -> int:
    from speechllm.data.validate import grouped, summary, validate

    problems = validate(args.manifest, deep=args.deep)
    for problem in problems if args.all else grouped(problems):
        print(problem)
    print(summary(args.manifest))
    return 1 if problems else 0


def _split(args: argparse.Namespace) -> None:
    from speechllm.data.partition import split

    parts = dict(word.partition("=")[::2] for word in args.parts)
    if len(parts) < len(args.parts):
        raise ValueError(f"--parts {' '.join(args.parts)}: two parts of one name")
    out = args.out or args.manifest.parent
    for name, (path, n) in split(args.manifest, parts, out, args.by, args.seed).items():
        print(f"{name}: {path} ({n} examples)")


def _join(args: argparse.Namespace) -> None:
    from speechllm.data.partition import join

    print(f"{args.out}: {join(args.manifest, args.out, args.prefix)} examples")


def _tokenizer(args: argparse.Namespace) -> None:
    from speechllm.data.manifest import Manifest
    from speechllm.data.rows import texts_of
    from speechllm.data.tokenizer import train

    rows = [row for path in args.manifest for row in Manifest(path)]
    texts = [text for row in rows for text in texts_of(row)]
    size = train(texts + args.also * -(-len(rows) // 10), args.vocab_size, args.out)
    print(f"{args.out}: {size} units")


def _show(args: argparse.Namespace) -> None:
    from speechllm.data.show import show
    from speechllm.models import store
    from speechllm.models.system import System

    if folder := model_folder(args.preset):
        system = store.system_of(store.find(folder))
    else:
        system = System.open(config.load(args.preset), args.tokenizer)
    print(show(system, args.manifest, args.id, args.plot))
