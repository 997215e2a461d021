"""Random and mutated files: decoding never crashes the process, hangs, or takes much memory."""

import os
import subprocess
import sys
from pathlib import Path


def test_mutated_files(tmp_path):
    """In a process of its own: a crash there is a failure here, not the end of the tests."""
    script = Path(__file__).with_name("fuzzing.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), "0", "1500"],
        env=os.environ | {"PYTHONPATH": str(script.parents[2])},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    read, refused, grown_mb, slowest_s = map(float, result[0].split()[1:])
    assert read > 150 and refused > 600, "mutations must hit, and not always"
    assert grown_mb < 200 and slowest_s < 5.0
