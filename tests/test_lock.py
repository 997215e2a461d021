"""One writer a folder: the second is refused, a dead one's place is taken, nothing stays behind."""

import os
import signal
import subprocess
import sys

import pytest

from speechllm import lock

HOLDER = """
import sys, time
from speechllm import lock
if {masked}:
    lock.fcntl = None
with lock.hold(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def holder(folder, masked=False):
    words = [sys.executable, "-c", HOLDER.format(masked=masked), str(folder)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("masked", [False, True], ids=["fcntl", "elsewhere"])
def test_a_second_writer_is_refused_until_the_first_dies(tmp_path, monkeypatch, masked):
    if masked:
        monkeypatch.setattr(lock, "fcntl", None)
    process = holder(tmp_path / "exp", masked)
    try:
        who = "" if masked else f"process {process.pid} on .* since .*"
        with (
            pytest.raises(ValueError, match=rf"exp: another run writes there \({who}.*\); wait"),
            lock.hold(tmp_path / "exp"),
        ):
            pass
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    with lock.hold(tmp_path / "exp"), pytest.raises(ValueError, match="this very process"):
        with lock.hold(tmp_path / "exp"):
            pass
    assert not list((tmp_path / "exp").iterdir())


def test_a_forked_process_does_not_keep_the_lock_of_a_dead_one(tmp_path):
    """Data workers live some seconds longer than a training that is killed."""
    fork = "    import os\n    child = os.fork()\n    child and os.write(1, b'%d\\n' % child)\n"
    code = HOLDER.format(masked=False).replace("    time", f"{fork}    time")
    words = [sys.executable, "-c", code, str(tmp_path)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    child = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    process.wait()
    try:
        os.kill(child, 0)  # it is there
        with lock.hold(tmp_path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)


def test_where_there_are_no_locks_it_is_said(tmp_path, monkeypatch, caplog):
    def without(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(lock.fcntl, "lockf", without)
    with lock.hold(tmp_path):
        assert "no locks here" in caplog.text
