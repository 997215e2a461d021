"""`speechllm data`: prepare corpora; validate, split, join and show manifests; a tokenizer."""

import argparse
import ast
import dataclasses
import importlib
import inspect
import typing
from pathlib import Path

from speechllm import config
from speechllm.cli import copies, shard, states
from speechllm.cli.options import Layout, model_folder, number
from speechllm.ranges import Positive

ROOM = "data.corpora"
WORK = {  # what each verb that has its own file does
    "copies": (copies, "copy a set's sounds faster, slower or in noise"),
    "shard": (shard, "put a manifest's sounds into tar files, here or elsewhere"),
    "states": (states, "run a frozen encoder once: store its states for training"),
}
EPILOGS = {
    **{name: module.EPILOG for name, (module, _) in WORK.items()},
    "data": """examples:
  speechllm data prepare librispeech --corpus LibriSpeech --out data
  speechllm data validate data/dev-clean.jsonl --deep
  speechllm data show 84-121123-0000 --manifest data/dev-clean.jsonl --preset exp/slam
  speechllm data tokenizer data/train.jsonl --out data/bpe""",
    "prepare": """Each corpus has its own --help, with its layout and options.

examples:
  speechllm data prepare librispeech --corpus LibriSpeech --out data
  speechllm data prepare kaldi --corpus data/train --out data
  speechllm data prepare folder --corpus recordings --lang en --out data   # a.wav with a.txt
  speechllm data prepare tsv --help""",
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
SHARED = {  # what an option means in each corpus that has it
    "corpus": "the corpus's folder or file, as published",
    "out": "folder of the manifests",
    "on_error": "at a faulty file or row",
    "splits": "those wanted; if not given, all that are there",
    "seed": "of what is drawn by chance",
    "workers": "processes; 0: one a core",
    "download": "fetch first what is not there",
    "n_dev": "utterances",
    "n_test": "utterances",
    "hours": "of speech in train",
    "snr_min": "dB",
    "snr_max": "dB",
    "lang": "language code, written into each row",
    "root": "where relative paths start; if not given, at the file that has them",
    "audio_column": "column of the sounds, where it is not called as usual",
    "text_column": "column of the texts",
    "id_column": "column of the ids",
    "audio_dir": "folder of the sounds, where it is another one",
    "text_dir": "folder of the texts, where it is another one",
    "speakers": "the name of a file's folder is its speaker",
    "source": "language code",
    "target": "language code",
}


def add(parser: argparse.ArgumentParser, argv: list[str]) -> None:
    """Describe the verbs; a corpus's options come from its Config."""
    parser.epilog = EPILOGS["data"]
    verbs = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def verb(name: str, text: str) -> argparse.ArgumentParser:
        return verbs.add_parser(
            name, help=text, description=text, epilog=EPILOGS[name], formatter_class=Layout
        )

    _add_prepare(verb("prepare", "turn a corpus into manifests"), argv)
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


def _add_prepare(parser: argparse.ArgumentParser, argv: list[str]) -> None:
    """Add a parser a corpus; only the one that is called is imported."""
    corpora = parser.add_subparsers(dest="corpus_name", metavar="CORPUS", required=True)
    for name in config.names(ROOM):
        sub = corpora.add_parser(name, help=_about(name), formatter_class=Layout)
        if name in argv:
            module = importlib.import_module(f"speechllm.{ROOM}.{name}")
            sub.description = f"{module.__doc__}\n{inspect.getdoc(module.Config)}"
            hints = typing.get_type_hints(module.Config)
            own = module.Config.__annotations__  # what several corpora share comes last
            for field in sorted(dataclasses.fields(module.Config), key=lambda f: f.name not in own):
                _add_field(sub, field, hints[field.name])
            sub.set_defaults(run=_prepare, config=module.Config)


def _about(name: str) -> str:
    """The first line of a corpus's file, which is not imported for it."""
    text = (config.ROOT / ROOM.replace(".", "/") / f"{name}.py").read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(text)).partition("\n")[0].replace("%", "%%")


def _prepare(args: argparse.Namespace) -> None:
    fields = [field.name for field in dataclasses.fields(args.config)]
    manifests = args.config(**{name: getattr(args, name) for name in fields}).prepare()
    for name, path in manifests.items():
        print(f"{name}: {path}")


def _add_field(parser: argparse.ArgumentParser, field: dataclasses.Field, hint) -> None:
    """Make an option of a Config field, by its type and default."""
    option = f"--{field.name.replace('_', '-')}"
    default = None if field.default is dataclasses.MISSING else field.default
    shown = SHARED.get(field.name, "")
    if default is None:
        shown += " (needed)"
    elif not shown:
        shown = f"default: {_shown(default)}"
    if hint is bool:
        parser.add_argument(
            option, action=argparse.BooleanOptionalAction, default=default, help=shown
        )
    elif typing.get_origin(hint) is tuple:
        kind = typing.get_args(hint)[0]
        parser.add_argument(option, nargs="+", type=kind, default=default, help=shown)
    else:
        kind = next((a for a in typing.get_args(hint) if a is not type(None)), hint)
        needed = field.default is dataclasses.MISSING
        choices = ("stop", "skip") if field.name == "on_error" else None
        parser.add_argument(
            option, type=kind, default=default, required=needed, choices=choices, help=shown
        )


def _shown(default) -> str:
    """A default as it would be typed."""
    words = default if isinstance(default, tuple) else (default,)
    return " ".join(str(word) for word in words if word != "") or "none"


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
    from speechllm.data.tokenizer import train

    rows = [row for path in args.manifest for row in Manifest(path)]
    keys = ("question", "text", "translation")
    texts = [row[key] for row in rows for key in keys if row.get(key)]
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
