"""Fixtures for scoring: sclite where it is installed, transcripts and ways to spoil them."""

import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest

VOCABULARY = (
    "the a of and to in he was it that his i with as had she not her for be on at by which you "
    "from they have this all so but one said were him we who when there no my what their would "
    "been if seven eight ship stone winter river captain morning letter garden music don't o'clock"
).split()


def sclite_command() -> list[str] | None:
    """Find sclite itself, Debian's `sctk sclite`, or the place where Debian hides it."""
    if shutil.which("sclite"):
        return ["sclite"]
    if shutil.which("sctk"):
        return ["sctk", "sclite"]
    hidden = Path("/usr/lib/sctk/bin/sclite")
    return [str(hidden)] if hidden.exists() else None


@pytest.fixture(scope="session")
def sclite(tmp_path_factory):
    """Function of (ref.trn, hyp.trn) or of two lists of texts: sclite's counts and alignments."""
    command = sclite_command()
    if not command:
        pytest.skip("needs sclite (Debian package sctk)")

    def run(refs, hyps):
        if not isinstance(refs, Path):
            folder = tmp_path_factory.mktemp("sclite")
            refs = write_trn(folder / "ref.trn", refs)
            hyps = write_trn(folder / "hyp.trn", hyps)
        options = ["-i", "spu_id", "-s", "-e", "utf-8", "-o", "pralign", "stdout", "-f", "0"]
        files = ["-r", str(refs), "trn", "-h", str(hyps), "trn"]
        out = subprocess.run(command + files + options, capture_output=True, check=True).stdout
        text = out.decode()
        scores = re.findall(r"^id: \((.*)\)\nScores: \(#C #S #D #I\) (.*)$", text, re.M)
        return {name: tuple(map(int, numbers.split())) for name, numbers in scores}, text

    return run


def write_trn(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(f"{text} (s-{i:05d})\n" for i, text in enumerate(texts)), "utf-8")
    return path


@pytest.fixture(scope="session")
def transcripts(request):
    """Some 2700 real transcripts where there is data, as many made up ones elsewhere."""
    folder = request.config.getoption("--data")
    if folder and (Path(folder) / "LibriSpeech").is_dir():
        files = sorted((Path(folder) / "LibriSpeech").glob("dev-clean/**/*.trans.txt"))
        lines = [line for file in files for line in file.read_text().splitlines()]
        return [line.split(" ", 1)[1].strip() for line in lines]
    rng = random.Random(7)
    return [" ".join(rng.choices(VOCABULARY, k=rng.randint(1, 35))) for _ in range(2700)]


def spoil(text: str, rate: float, rng: random.Random, vocabulary=VOCABULARY) -> str:
    """Corrupt a text: each word replaced, dropped, doubled, swapped or followed by others."""
    out = []
    for word in text.split():
        chance = rng.random()
        if chance > rate:
            out.append(word)
        elif chance < 0.45 * rate:
            out.append(rng.choice(vocabulary))
        elif chance < 0.65 * rate:
            pass
        elif chance < 0.8 * rate:
            out += [word, *rng.choices(vocabulary, k=rng.randint(1, 3))]
        elif chance < 0.9 * rate:
            out += [word, word]
        else:
            out.insert(rng.randint(0, len(out)), word)
    return " ".join(out)


@pytest.fixture(scope="session")
def spoiled(transcripts):
    """Pairs (references, hypotheses) at four error rates, drawn from the transcripts' own words."""
    rng = random.Random(11)
    words = [word for text in transcripts for word in text.split()]
    rates = (0.03, 0.15, 0.5, 0.95)
    return {
        rate: (transcripts[::2], [spoil(text, rate, rng, words) for text in transcripts[::2]])
        for rate in rates
    }
