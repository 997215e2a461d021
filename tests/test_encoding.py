"""Every text file names its encoding: under an ASCII locale the default one reads no preset."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechllm import config

ROOT = Path(__file__).parent.parent
FOLDERS = ("features", "speechllm", "benchmarks")
FILES = sorted(file for folder in FOLDERS for file in ROOT.glob(f"{folder}/**/*.py"))


def without_encoding(tree: ast.AST) -> list[int]:
    """Return the lines of calls that read or write text in the locale's encoding."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _guesses(node)]
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    return [call.lineno for call in calls if ast.unparse(call.func) not in own]


def _guesses(call: ast.Call) -> bool:
    words = {keyword.arg for keyword in call.keywords}
    if "encoding" in words or None in words:
        return False
    function = call.func
    if isinstance(function, ast.Name):
        return function.id == "open" and "b" not in _mode(call, 1)
    if not isinstance(function, ast.Attribute):
        return False
    if function.attr in ("read_text", "write_text"):  # (encoding) and (data, encoding)
        return len(call.args) < (1 if function.attr == "read_text" else 2)
    return _is(function, "gzip.open lzma.open bz2.open") and "t" in _mode(call, 1)


def _is(function: ast.Attribute, names: str) -> bool:
    return ast.unparse(function) in names.split()


def _mode(call: ast.Call, place: int) -> str:
    given = [k.value for k in call.keywords if k.arg == "mode"] + call.args[place : place + 1]
    return ast.unparse(given[0]).replace("'", "") if given else ""


@pytest.mark.parametrize(
    ("line", "guesses"),
    [
        ("open(path)", True),
        ("open(path, 'a')", True),
        ("open(path, mode='w', encoding='utf-8')", False),
        ("open(path, 'rb')", False),
        ("open(path, 'ab' if more else 'wb')", False),
        ("path.read_text()", True),
        ("path.write_text(text, 'utf-8')", False),
        ("path.write_text(text)", True),
        ("gzip.open(path, 'rt')", True),
        ("gzip.open(path)", False),
    ],
)
def test_what_is_seen(line, guesses):
    assert bool(without_encoding(ast.parse(line))) == guesses


def test_under_an_ascii_locale_presets_are_read(tmp_path):
    """TOML beyond ASCII in a preset of the user's, and the shipped ones."""
    text = 'prompt = "Schreibe auf, was du h\u00f6rst."'
    (tmp_path / "own.toml").write_text(f'seed = 1\n[task]\nname = "asr"\n{text}\n', "utf-8")
    code = """
import locale, sys
from speechllm import config
assert locale.getpreferredencoding(False).upper() in ("ANSI_X3.4-1968", "US-ASCII", "ASCII")
assert config.load(sys.argv[1]).table("task")["prompt"].endswith("h\\u00f6rst.")
for name in config.presets():
    config.load(name)
"""
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    words = [sys.executable, "-c", code, str(tmp_path / "own.toml")]
    done = subprocess.run(words, env={**os.environ, **ascii_only}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_number_of_thousands_of_digits_names_the_file(tmp_path):
    (tmp_path / "own.toml").write_text(f"seed = {'1' * 5000}\n", "utf-8")
    with pytest.raises(ValueError, match=r"own\.toml: not valid TOML: "):
        config.load(tmp_path / "own.toml")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_text_file_names_its_encoding(path):
    lines = without_encoding(ast.parse(path.read_bytes()))
    assert not lines, f"{path}: without encoding='utf-8' in lines {lines}"


@pytest.mark.parametrize("module", ["features", "speechllm"])
def test_names_beyond_ascii_under_an_ascii_locale(tmp_path, module):
    """A folder, a manifest and a sound with umlauts, in and out: no half characters."""
    soundfile.write(tmp_path / "h\u00f6r.wav", np.zeros(4000), 16000)
    row = {"id": "\u00e9", "audio": "h\u00f6r.wav", "duration": 0.25, "text": "h\u00f6rst"}
    (tmp_path / "h\u00f6r.jsonl").write_text(json.dumps(row) + "\n", "utf-8")
    words = {
        "features": ["extract", "h\u00f6r.jsonl", "--out", "\u00e9", "--manifest", "n\u00e9.jsonl"],
        "speechllm": ["data", "join", "h\u00f6r.jsonl", "--out", "n\u00e9.jsonl"],
    }
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-m", module, *words[module]],
        env={**os.environ, **ascii_only, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "n\u00e9.jsonl").read_text("utf-8"))["text"] == "h\u00f6rst"
