"""Taking part in a benchmark in a process of its own."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

PROGRAM = """
import os, sys, time
open(sys.argv[1], "w").write(str(os.getppid()))
time.sleep(60)
"""


@pytest.mark.skipif(os.name == "nt", reason="signals of Unix")
def test_who_takes_part_ends_with_who_asked_it(tiny, tmp_path):
    """Killed, not interrupted: nothing can be told any more."""
    script, marker = tmp_path / "slow.py", tmp_path / "pid"
    script.write_text(PROGRAM)
    slow = f"slow={sys.executable} {script} {marker} {{audio}}"
    words = ["benchmark", "--manifest", tiny / "valid.jsonl", "--command", slow]
    asking = subprocess.Popen(
        [sys.executable, "-m", "speechllm", *words, "--out", tmp_path / "out"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until = time.monotonic() + 60
    while not (marker.exists() and marker.read_text()) and time.monotonic() < until:
        time.sleep(0.05)
    taking_part = psutil.Process(int(marker.read_text()))
    assert taking_part.ppid() == asking.pid
    asking.send_signal(signal.SIGKILL)
    asking.wait()
    taking_part.wait(timeout=20)  # raises where it goes on
