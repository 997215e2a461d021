"""Random and mutated files: decoding never crashes the process, hangs, or takes much memory."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

FFMPEG = shutil.which("ffmpeg")


def mutated(folder, count: int, *given: str) -> list[float]:
    """Read `count` mutated files in a process of its own: a crash there is a failure here."""
    script = Path(__file__).with_name("fuzzing.py")
    path = os.environ["PATH"] if given else ""  # without ffmpeg
    done = subprocess.run(
        [sys.executable, str(script), str(folder), "0", str(count), *given],
        env=os.environ | {"PYTHONPATH": str(script.parents[2]), "PATH": path},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    return [float(word) for word in result[0].split()[1:]]


def test_mutated_files(tmp_path):
    read, refused, grown_mb, slowest_s = mutated(tmp_path, 1500)
    assert read > 150 and refused > 600, "mutations must hit, and not always"
    assert grown_mb < 200 and slowest_s < 5.0


@pytest.mark.skipif(not FFMPEG, reason="needs the ffmpeg command")
def test_mutated_files_through_ffmpeg(tmp_path):
    """Each is a process of some 0.1 s: a few here."""
    files = [tmp_path / name for name in ("a.m4a", "a.webm", "a.aac", "a.wma")]
    soundfile.write(tmp_path / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(8000), 16000)
    for path in files:
        subprocess.run([FFMPEG, "-v", "error", "-i", tmp_path / "a.wav", path], check=True)
    read, refused, grown_mb, slowest_s = mutated(tmp_path, 12, *map(str, files))
    assert read + refused == 12 and refused and grown_mb < 200 and slowest_s < 5.0
