"""Copies of a set under other conditions: faster, slower, with noise; for tests of robustness.

    made = copy("dev-clean.jsonl", "speed0.9", "copies")          # copies/dev-clean-speed0.9/...
    made = copy("dev-clean.jsonl", "noise10", "copies", noises)   # at 10 dB

Each sound is written as a WAV of 16 kHz and 16 bits beside a manifest of the same texts, so that
every recogniser, a program too, hears the same. What is drawn depends on the seed and the id alone.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

import features
from features import augment
from speechllm import files
from speechllm.data import manifest
from speechllm.data.manifest import Manifest
from speechllm.media import audio

RATE = 16000
FACTS = "copies.json"
CONDITION = re.compile(r"(speed|noise)(-?\d+(?:\.\d+)?)")
WHITE_S = 60.0  # of white noise, of which each sound has a part
LOUDEST = 0.999  # what 16 bits hold; louder copies are scaled, speech and noise alike
MOVED = ("start", "channel", "features")  # what no longer holds of a copy


def check(condition: str) -> tuple[str, float]:
    """Split "speed0.9" or "noise10" into kind and strength.

    Raises:
        ValueError: it is neither.
    """
    match = CONDITION.fullmatch(condition)
    if not match or (match[1] == "speed" and not 0.25 <= float(match[2]) <= 4):
        raise ValueError(
            f"a condition called {condition!r}; wanted speed0.9 (0.25 to 4 times as fast) or "
            "noise10 (decibels above noise)"
        )
    return match[1], float(match[2])


def copy(
    source: Path, condition: str, out: Path, noises: Sequence[Path] = (), seed: int = 0
) -> Path:
    """Write a copy of a manifest with its sounds; the path of its manifest.

    Args:
        source: the manifest.
        condition: see `check`.
        out: the copy is a folder there; one that was made of the same is taken as it is.
        noises: sounds to add; white noise if there are none.
        seed: of what is drawn.

    Raises:
        ValueError: no such condition, a sound that cannot be read.
    """
    kind, strength = check(condition)
    source, name = Path(source), f"{Path(source).stem}-{condition}"
    folder = Path(out).absolute() / name
    rows = Manifest(source)
    facts = {"source": rows.digest(), "condition": condition, "seed": seed, "rate": RATE}
    if kind == "noise":
        facts["noises"] = [files.digest(path) for path in noises] or "white"
    if (folder / FACTS).is_file():
        if files.read_json(folder / FACTS) == facts:
            return folder / f"{name}.jsonl"
        files.remove_folder(folder)
    sounds = [features.load(path, RATE)[0] for path in noises] or [_white(seed)]
    with files.new_folder(folder) as unfinished:
        made = [
            _copied(row, number, kind, strength, sounds, seed, unfinished)
            for number, row in enumerate(tqdm(rows, desc=name, unit="utt", disable=None))
        ]
        manifest.write(unfinished / f"{name}.jsonl", made)
        files.write_json(unfinished / FACTS, facts)
    return folder / f"{name}.jsonl"


def _copied(row: dict, number: int, kind: str, strength: float, noises, seed: int, folder: Path):
    """Write one sound; the row that says so."""
    wave = audio.open(row, RATE)
    if kind == "speed":
        wave = augment.speed_perturb(wave, strength)
    else:
        drawn = int(files.digest(json.dumps([seed, row["id"]]).encode()), 16)
        wave = augment.add_noise(wave, noises, strength, np.random.default_rng(drawn))
    peak = float(np.abs(wave).max())
    wave = wave * (LOUDEST / peak) if peak > LOUDEST else wave
    name = f"{number:06d}.wav"  # an id may hold what no file's name may
    soundfile.write(folder / name, wave, RATE, subtype="PCM_16")
    kept = {key: value for key, value in row.items() if key not in MOVED}
    return {**kept, "audio": str(folder / name), "duration": len(wave) / RATE}


def _white(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 0.1 * rng.standard_normal(round(WHITE_S * RATE), dtype=np.float32)
