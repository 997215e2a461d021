"""The recipes: their layout, their help, and that the command understands each line they call."""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from features import cli as features_cli
from speechllm import cli

ROOT = Path(__file__).parents[1] / "egs"
RECIPES = sorted(ROOT.rglob("run.sh"))
SCRIPTS = [*RECIPES, ROOT / "options.sh"]
COLUMNS = 110
# Files that a recipe looks for before its first stage, empty, and the options that name them.
FILES = (
    "dataset/train.csv",
    *("audio_files/x", "audio/x", "clips/x", "recordings/x"),
    "table.tsv",
    "t10k-images-idx3-ubyte.gz",
    "9/x",
    *("index.csv", "sentence_level/x", "annotations/x"),
)
WORDS = {
    "audiocaps/caption": "--corpus .",
    "clotho_aqa/aqa": "--corpus .",
    "covost2/st": "--corpus . --source de --target en",
    "esc10/aqa": "--corpus . --spoken true",
    "fsdd_mnist": "--spoken . --written .",
    "fsdd/asr": "--corpus . --splits official",
    "how2sign/slt": "--corpus .",
    "librispeech/asr": "--corpus . --download yes",
    "llava/vqa": "--corpus table.tsv --captions table.tsv --images .",
    "mini/asr": "",
    "mnist/titok": "--corpus .",
    "mnist/vqa": "--corpus .",
    "multi": "--corpus table.tsv --sounds . --size tiny --speech-alone a --sounds-alone b",
    "must_c/st": "--corpus . --target de",
    "phoenix2014t/slt": "--corpus . --poses .",
    "sign_digits": "--corpus .",
    "sign_pose": "--corpus .",
    "tatoeba/st": "--corpus table.tsv",
}
# Recipes that take another way with other words.
AGAIN = [
    ("librispeech/asr", "--corpus . --preset whisper_llm --encoder a --llm b"),
    ("librispeech/asr", "--corpus . --cmvn yes"),
    ("librispeech/asr", "--corpus . --speeds 0.9 --train train-clean-100 --way _x"),
    ("sign_pose", "--corpus . --pretrain no"),
    ("esc10/aqa", "--corpus . --preset esc10_whisper --encoder a --llm b --sets test"),
    ("tatoeba/st", "--corpus table.tsv --preset tatoeba_whisper --encoder a --llm b"),
]
RECORDER = """#!{python}
import json, sys
with open({calls!r}, "a") as file:
    print(json.dumps(sys.argv[1:]), file=file)
"""


def title(path: Path) -> str:
    """Name a recipe by its folder."""
    return path.parent.relative_to(ROOT).as_posix()


def run(recipe: Path, words: str, folder: Path):
    """Run a recipe in a folder, with commands that only write down their arguments."""
    (folder / "bin").mkdir(exist_ok=True)
    for name, calls in (("speechllm", "calls.jsonl"), ("features", "features.jsonl")):
        command = folder / "bin" / name
        command.write_text(RECORDER.format(python=sys.executable, calls=calls))
        command.chmod(0o755)
    path = f"{folder / 'bin'}:/usr/bin:/bin"
    return subprocess.run(
        ["bash", recipe, *words.split()], cwd=folder, text=True, capture_output=True,
        env={"PATH": path}, check=False,
    )  # fmt: skip


@pytest.fixture
def copies(tmp_path):
    """A copy of the recipes, where no installation stands beside them."""
    if not shutil.which("bash"):
        pytest.skip("recipes are bash, which is not here")
    return Path(shutil.copytree(ROOT, tmp_path / "repository/egs"))


@pytest.mark.parametrize("path", SCRIPTS, ids=str)
def test_columns(path):
    """One thought a line: no line is wider than a page."""
    wide = [n for n, line in enumerate(path.read_text().splitlines(), 1) if len(line) > COLUMNS]
    assert not wide, f"{path}: lines {wide} have more than {COLUMNS} columns"


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")
def test_shellcheck():
    """shellcheck has nothing to say, with the settings of egs/.shellcheckrc."""
    done = subprocess.run(["shellcheck", *SCRIPTS], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stdout


@pytest.mark.parametrize("path", RECIPES, ids=title)
def test_help_is_the_comment_at_the_head(path, copies):
    """All of it and nothing else; a word that is no setting is refused before anything runs."""
    lines = path.read_text().split("\n\n")[0].splitlines()[1:]
    recipe = copies / path.relative_to(ROOT)
    told = run(recipe, "--help", copies)
    assert told.stdout.splitlines() == [line.removeprefix("#").removeprefix(" ") for line in lines]
    refused = run(recipe, "--no-such-setting 3", copies)
    assert refused.returncode == 2 and "no setting --no-such-setting" in refused.stderr


@pytest.mark.parametrize("name, words", [*WORDS.items(), *AGAIN])
def test_the_command_understands_every_line(name, words, copies, tmp_path, monkeypatch):
    """All stages, one after the other; what they call is read by the command's own parser."""
    assert {title(path) for path in RECIPES} == {*WORDS}
    out = tmp_path / "work/e"
    for file in (*FILES, *_files_of_stages()):
        (tmp_path / "work" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "work" / file).touch()
    done = run(copies / name / "run.sh", f"{words} --out e", out.parent)
    assert not done.returncode, done.stderr
    stages = [line.split(":")[0] for line in done.stdout.splitlines() if line.startswith("== ")]
    assert stages == sorted(set(stages)) and stages[-1] == "== stage 6"

    parse = argparse.ArgumentParser.parse_args

    def parse_only(self, words):
        args = parse(self, words)
        args.run = lambda args: 0
        return args

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_only)
    calls = [json.loads(line) for line in (out.parent / "calls.jsonl").open()]
    for words in calls:
        assert cli.main(words) == 0, words
    assert {"data", "train", "decode", "score", "report"} <= {words[0] for words in calls}
    statistics = out.parent / "features.jsonl"
    assert statistics.exists() == any("frontend.cmvn=global" in words for words in calls)
    for words in map(json.loads, statistics.open() if statistics.exists() else ()):
        assert features_cli.main(words) == 0 and words[0] == "stats"
        assert any(f"frontend.stats={words[2]}" in call for call in calls if call[0] == "train")


def _files_of_stages():
    """Files that one stage of a recipe writes and another reads without our command."""
    yield "e/data/train.jsonl"
    for fold in range(1, 6):
        for name in ("test", "questions_test", "spoken_test"):
            for how in ("", "_shuffled", "_silent"):
                for kind in ("", "_spoken"):
                    yield f"e/fold{fold}{kind}/decode_{name}{how}/hyp.jsonl"
