"""`speechllm data prepare`: a corpus into manifests, with the options of its own Config."""

import argparse
import ast
import contextlib
import dataclasses
import importlib
import inspect
import typing
from collections.abc import Iterator

from speechllm import config
from speechllm.cli.options import Layout, add_ray

ROOM = "data.corpora"
EPILOG = """Each corpus has its own --help, with its layout and options.

examples:
  speechllm data prepare librispeech --corpus LibriSpeech --out data
  speechllm data prepare kaldi --corpus data/train --out data
  speechllm data prepare folder --corpus recordings --lang en --out data   # a.wav with a.txt
  speechllm data prepare tsv --help"""
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
            add_ray(sub)
            sub.set_defaults(run=run, config=module.Config)


def _about(name: str) -> str:
    """The first line of a corpus's file, which is not imported for it."""
    text = (config.ROOT / ROOM.replace(".", "/") / f"{name}.py").read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(text)).partition("\n")[0].replace("%", "%%")


def run(args: argparse.Namespace) -> None:
    """Prepare, and say which manifests there are."""
    fields = [field.name for field in dataclasses.fields(args.config)]
    corpus = args.config(**{name: getattr(args, name) for name in fields})
    with _headers(args.ray):
        manifests = corpus.prepare()
    for name, path in manifests.items():
        print(f"{name}: {path}")


@contextlib.contextmanager
def _headers(address: str) -> Iterator[None]:
    """Let a cluster read the headers of sounds, where one is wanted."""
    if not address:
        yield
        return
    from features import cluster
    from speechllm.data.corpora import _headers

    with cluster.workers(address) as run:
        token = _headers.ELSEWHERE.set(run)
        try:
            yield
        finally:
            _headers.ELSEWHERE.reset(token)


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
