"""A training killed before any of its file operations ends, resumed, with the same bits.

The kill is SIGKILL, in a forked process, from an audit hook: Python tells it of every file that is
opened for writing, renamed or removed, before it is.
"""

import os
import signal
import sys

import pytest

from speechllm import files
from speechllm.train import loop

WATCHED = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "open"}


def contents(experiment):
    """Return the bytes of the tensors, what the facts say, and the losses of the log."""
    found = {}
    for folder in sorted(experiment.glob("*/step-*")):
        name = f"{folder.parent.name}/{folder.name}"
        progress = files.read_json(folder / "checkpoint.json")["progress"]
        found[name] = [progress[key] for key in ("step", "best", "best_step", "pending")]
        found |= {f"{name}/{f.name}": f.read_bytes() for f in folder.glob("*.safetensors")}
    lines = [line for _, line in files.json_lines(experiment / "log.jsonl")]
    return found | {"log": [(v["phase"], v["step"], v.get("loss"), v.get("valid")) for v in lines]}


def leftovers(experiment):
    return [f.name for f in experiment.rglob(".*") if f.is_file() or f.suffix == ".tmp"]


def forked(job, hook=None):
    """Run a job in a process of its own; return its exit status, negative for a signal."""
    pid = os.fork()
    if not pid:
        try:
            if hook:
                sys.addaudithook(hook)
            job()
        except BaseException as error:
            os.write(2, f"{error!r}\n".encode())
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def operations(folder, then):
    """Make an audit hook that calls `then("event path")` before each change below a folder."""

    def hook(event, args):
        if event not in WATCHED or not str(args[0]).startswith(str(folder)):
            return
        if event == "open" and not (args[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        if "/tb/" not in str(args[0]):  # of TensorBoard, which another thread writes
            then(f"{event} {args[0]}")

    return hook


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return tmp_path_factory.mktemp("uninterrupted") / "exp"


@pytest.fixture
def planned(make_run, uninterrupted):
    """The operations of a whole training, by the order they come in (once a module)."""
    note = uninterrupted.parent / "operations"
    if not note.exists():
        with open(note, "w", encoding="utf-8", buffering=1) as file:
            hook = operations(uninterrupted, lambda operation: file.write(f"{operation}\n"))
            assert forked(lambda: loop.train(make_run(uninterrupted)), hook) == 0
    return note.read_text("utf-8").splitlines()


def killed_and_resumed(make_run, out, at):
    """Train, killed before operation `at`; then train again, and return what there is."""
    left = [at]

    def kill(_):
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    assert forked(lambda: loop.train(make_run(out)), operations(out, kill)) == -signal.SIGKILL
    assert forked(lambda: loop.train(make_run(out))) == 0
    return contents(out)


def test_killed_around_the_last_checkpoint_of_a_phase(make_run, uninterrupted, planned, tmp_path):
    """Before its rename, and before that of the one it supersedes; some seconds each."""
    of_save = ("os.rename", "encoder/.step-00000006", "encoder/step-00000003")
    at = [n for n, line in enumerate(planned) if line.startswith(of_save[0]) and
          any(line.split("/exp/")[1].startswith(path) for path in of_save[1:])]  # fmt: skip
    assert len(at) >= 2
    wanted = contents(uninterrupted)
    for number in at[-2:]:
        assert killed_and_resumed(make_run, tmp_path / f"{number}", number) == wanted
        assert not leftovers(tmp_path / f"{number}")


def test_killed_before_every_operation(make_run, uninterrupted, planned, tmp_path, slow):
    wanted = contents(uninterrupted)
    print(f"{len(planned)} operations")
    for at in range(len(planned)):
        assert killed_and_resumed(make_run, tmp_path / f"{at}", at) == wanted, f"operation {at}"
        assert not leftovers(tmp_path / f"{at}")
