"""What is written beside results: the peak memory of a program is its own."""

import subprocess
import sys

from speechllm import provenance

LARGE = 300 * 2**20


def test_a_program_that_a_large_one_starts_is_small():
    """Linux gives a program the peak of the one that it was started by, as `ru_maxrss`."""
    block = bytearray(LARGE)
    block[::4096] = b"x" * len(block[::4096])
    code = "from speechllm import provenance; print(provenance.peak_memory_mb())"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0 < float(said.stdout) < LARGE / 2e6
    assert provenance.peak_memory_mb() > LARGE / 1e6
