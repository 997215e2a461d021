"""A page of the documentation as blocks, and how each kind is run."""

import contextlib
import io
import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# what wants the network, another machine or an installation: its options are read, it is not run
ELSEWHERE = ("pip", "make", "torchrun", "sbatch")


@dataclass(frozen=True)
class Block:
    """A block of a page: its kind, its text, the line it begins in."""

    kind: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    """Take a page apart."""
    text = page.read_text("utf-8")
    return [
        Block(one[1], one[2], text.count("\n", 0, one.start()) + 1) for one in BLOCK.finditer(text)
    ]


def commands(text: str) -> list[list[str]]:
    """Split a block of shell into commands and these into words; comments are left out."""
    joined = text.replace("\\\n", " ")
    found = [shlex.split(line, comments=True) for line in joined.split("\n")]
    return [words for words in found if words]


def fits(said: str, wanted: str) -> bool:
    """Say whether an output is the one printed, in which "..." stands for anything."""
    parts = [re.escape(part) for part in wanted.strip().split("...")]
    return re.fullmatch(".*".join(parts), said.strip(), re.DOTALL) is not None


def call(words: list[str]) -> str:
    """Run one command in this process where it is one of ours; gives all that it says."""
    from features import cli as features_cli
    from speechllm import cli

    said = io.StringIO()
    mains = {"speechllm": cli.main, "features": features_cli.main}
    if main := mains.get(words[0]):
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                status = main(words[1:])
            except SystemExit as end:
                status = end.code
    else:
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        said.write(done.stdout)
        status = done.returncode
    assert not status, f"{shlex.join(words)}: {status}\n{said.getvalue()}"
    return said.getvalue()
