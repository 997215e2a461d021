"""Who takes part in a benchmark, and on what: words of the command become checked things.

Everything that can be known to be wrong is said before the first sound is heard.
"""

import argparse
import re
from collections import Counter
from pathlib import Path

from speechllm import places

ALL_COPIES = "speed0.9,speed1.1,noise20,noise10,noise5"


def contestants(args: argparse.Namespace) -> list:
    """Return those that are to be run: models of ours, of transformers, programs.

    Raises:
        ValueError: one that is none of these, has no weights or another vocabulary; a name twice.
    """
    from speechllm.decode.contest import PROGRAM, Contestant
    from speechllm.decode.program import split

    found = []
    for word in args.model:
        name, source = _named(word)
        found.append(Contestant(name, kind_of(source), source))
    for word in args.command:
        name, mark, command = word.partition("=")
        if not (mark and name.strip()):
            raise ValueError(f"--command wants NAME=PROGRAM WORDS..., got {word!r}")
        split(command)
        found.append(Contestant(_safe(name), PROGRAM, command))
    names = Counter([c.name for c in found] + list(foreign_files(args.hypotheses)))
    if twice := [name for name, n in names.items() if n > 1]:
        raise ValueError(f"two recognisers are called {twice[0]!r}; name them, NAME={twice[0]}")
    if not names:
        raise ValueError("nobody takes part: give a MODEL, a --command or --hypotheses")
    return found


def kind_of(source: str) -> str:
    """Say whether a model is ours or transformers', and check what can be before it is loaded.

    Raises:
        ValueError: it is neither, or its parts do not belong together.
    """
    from speechllm.decode.contest import OURS, TRANSFORMERS
    from speechllm.models import recognisers, store

    place = places.find(source)
    if place is not None and not (place / "config.json").is_file():
        store.find(place)
        return OURS
    recognisers.inspect(source)
    return TRANSFORMERS


def _named(word: str) -> tuple[str, str]:
    """Split [NAME=]MODEL; a path may hold "=" itself, and is then what it names."""
    name, mark, source = word.partition("=")
    if mark and not Path(word).exists():
        return _safe(name), source
    return _safe(Path(word).name or Path(word).resolve().name), word


def _safe(name: str) -> str:
    return re.sub(r"[^\w.+ -]+", "_", name.strip()) or "model"


def foreign_files(words: list[str]) -> dict[str, list[Path]]:
    """Return the files of each name of --hypotheses.

    Raises:
        ValueError: not NAME=FILE, or no such file.
    """
    found: dict[str, list[Path]] = {}
    for word in words:
        name, mark, path = word.partition("=")
        if not (mark and name.strip() and path):
            raise ValueError(f"--hypotheses wants NAME=FILE, got {word!r}")
        if not Path(path).is_file():
            raise ValueError(f"--hypotheses {word}: no such file; {places.near(Path(path))}")
        found.setdefault(_safe(name), []).append(Path(path))
    return found


def sets(args: argparse.Namespace) -> dict[str, Path]:
    """Make the manifests of all sets, copies among them, by name.

    Raises:
        ValueError: no corpus, no such split, rows without sound or text, an empty set.
    """
    from speechllm.data import copies

    wanted = ALL_COPIES if args.copies == "all" else args.copies
    conditions = [one for one in wanted.split(",") if one]
    for condition in conditions:
        copies.check(condition)
    found = {}
    for path in _given(args):
        path = _every(path, args.every, args.out / "manifests")
        _refuse_untold(path)
        found[path.stem] = path
        for condition in conditions:
            made = copies.copy(path, condition, args.out / "copies", args.noise)
            found[made.stem] = made
    return found


def _given(args: argparse.Namespace) -> list[Path]:
    """Return manifests as they are given or made of the corpus."""
    splits = tuple(one for one in args.splits.split(",") if one)
    if splits and not args.corpus:
        raise ValueError("--splits are those of a --corpus; of manifests give --manifest")
    if bool(args.corpus) == bool(args.manifest):
        raise ValueError("give --corpus DIR with --splits, or --manifest FILE")
    if args.manifest:
        if len({path.stem for path in args.manifest}) < len(args.manifest):
            raise ValueError("--manifest: two of one name; the tables could not tell them apart")
        return args.manifest
    if not splits:
        raise ValueError("--corpus wants --splits, such as dev-clean,dev-other")
    from speechllm.data.corpora import librispeech

    made = librispeech.Config(args.corpus, str(args.out / "manifests"), splits).prepare()
    return [made[name] for name in splits]


def _every(path: Path, step: int, out: Path) -> Path:
    if step == 1:
        return path
    from speechllm.data.manifest import Manifest, write

    rows = Manifest(path)
    chosen = out.absolute() / f"{path.stem}-every{step}.jsonl"
    chosen.parent.mkdir(parents=True, exist_ok=True)
    write(chosen, rows.subset(range(0, len(rows), step)))
    return chosen


def _refuse_untold(path: Path) -> None:
    """Refuse a set of which not every row has sound and a transcript."""
    from speechllm.data.manifest import Manifest

    rows = Manifest(path)
    if not len(rows):
        raise ValueError(f"{path}: is empty: no utterance to recognise")
    for i, row in enumerate(rows):
        missing = [key for key in ("audio", "text") if not row.get(key)]
        if missing:
            what = "a transcript ('text')" if missing == ["text"] else "audio and 'text'"
            raise ValueError(
                f"{path}:{rows.line(i)}: utterance {row['id']!r}: a benchmark wants {what} in "
                "each row; take such rows out"
            )


def take_hypotheses(words: list[str], manifests: dict[str, Path], out: Path) -> list[str]:
    """Write hypotheses of others as answers, `OUT/NAME/SET/hyp.jsonl`; their names.

    Raises:
        ValueError: a line is of another form, an id is in no set or there twice.
    """
    from speechllm.data.manifest import Manifest
    from speechllm.score.formats import foreign, hypotheses

    ids = {split: Manifest(path).ids for split, path in manifests.items()}
    known = set().union(*ids.values())
    every = foreign_files(words)
    for name, paths in every.items():
        said: dict[str, str] = {}
        for path in paths:
            more = foreign.read(path)
            if twice := [one for one in more if one in said]:
                raise ValueError(f"{path}: ids that {paths[0]} has too: {hypotheses.some(twice)}")
            said |= more
            if lost := [one for one in more if one not in known]:
                sets = ", ".join(manifests)
                raise ValueError(f"{path}: no reference in {sets} for {hypotheses.some(lost)}")
        for split, names in ids.items():
            rows = [(one, said[one]) for one in names if one in said]
            foreign.write(rows, paths, out / name / split, manifests[split])
    return list(every)
