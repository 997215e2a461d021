"""Signals: a checkpoint at the next step, said, and a training that goes on to the same bits."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from speechllm import files
from speechllm.models import store
from speechllm.train import checkpoint, loop
from speechllm.train.stopping import NAMES, Stop, Stopped

LONG = ("--set", "phase.encoder.steps=100000", "--set", "phase.encoder.valid_every=100000")


@pytest.fixture(autouse=True)
def interruptible():
    """A shell lets what it starts by `&` ignore SIGINT, these tests among them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    return tmp_path_factory.mktemp("uninterrupted")


@pytest.fixture
def uninterrupted(make_run, whole):
    """The bytes of all checkpoints of a training in one go (once a session)."""
    if not (whole / "exp").exists():
        loop.train(make_run(whole / "exp"))
    return contents(whole / "exp")


def contents(experiment):
    """Return the tensors' files and what the facts say of the best, by name."""
    found = {}
    for folder in sorted(experiment.glob("*/step-*")):
        name = f"{folder.parent.name}/{folder.name}"
        progress = files.read_json(folder / "checkpoint.json")["progress"]
        found[name] = [progress[key] for key in ("step", "best", "best_step", "pending")]
        found |= {f"{name}/{f.name}": f.read_bytes() for f in folder.glob("*.safetensors")}
    return found


def send(number):
    os.kill(os.getpid(), number)
    time.sleep(0.01)  # the handler runs between two lines of the main thread


def signalling(monkeypatch, method, phase, at, number):
    """Let a signal come inside a method of the phase's run, once, at a step."""
    inner, sent = getattr(loop.PhaseRun, method), []

    def outer(self, *args):
        if (self.phase.name, self.progress.step) == (phase, at) and not sent:
            sent.append(send(number))
        return inner(self, *args)

    monkeypatch.setattr(loop.PhaseRun, method, outer)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("phase", "at"), [("encoder", 0), ("encoder", 2), ("tune", 4)])
def test_a_signal_saves_the_step_and_says_so(
    make_run, uninterrupted, tmp_path, monkeypatch, capfd, name, phase, at
):
    number = getattr(signal, name)
    signalling(monkeypatch, "step", phase, at, number)
    folder = store.step_name(at + 1, validated=at != 2)  # the third step's would come next
    with pytest.raises(Stopped, match=f"{name}: saved in .*/{phase}/{folder}; the same"):
        loop.train(make_run(tmp_path / "exp"))
    assert f"{name}: saving a checkpoint after this step\n" == capfd.readouterr().err
    assert store.checkpoints(tmp_path / "exp" / phase)[-1].name == folder
    assert signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)
    loop.train(make_run(tmp_path / "exp"))
    assert contents(tmp_path / "exp") == uninterrupted


@pytest.mark.parametrize(("phase", "at"), [("encoder", 3), ("encoder", 6), ("tune", 6)])
def test_a_signal_in_a_validation_does_not_wait_for_it(
    make_run, uninterrupted, tmp_path, monkeypatch, phase, at
):
    signalling(monkeypatch, "validation", phase, at, signal.SIGTERM)
    with pytest.raises(Stopped, match=f"step-0000000{at}-unvalidated") as stopped:
        loop.train(make_run(tmp_path / "exp"))
    assert stopped.value.code == 143
    assert store.chosen(tmp_path / "exp" / phase, "last").name == f"step-0000000{at}-unvalidated"
    loop.train(make_run(tmp_path / "exp"))
    assert contents(tmp_path / "exp") == uninterrupted


def test_a_checkpoint_each_so_many_minutes(make_run, uninterrupted, tmp_path, monkeypatch):
    saved, save = [], checkpoint.save

    def note(job, progress):
        saved.append((job.folder.name, progress.step))
        return save(job, progress)

    monkeypatch.setattr(checkpoint, "save", note)
    loop.train(make_run(tmp_path / "often", save_minutes=1e-9))
    assert saved == [(phase, n) for phase in ("encoder", "tune") for n in range(1, 7)]
    assert contents(tmp_path / "often") == uninterrupted
    saved.clear()
    loop.train(make_run(tmp_path / "never", save_minutes=0))
    assert saved == [(phase, n) for phase in ("encoder", "tune") for n in (3, 6)]
    with pytest.raises(ValueError, match="--save-minutes: wanted 0 or more, got -1"):
        make_run(tmp_path, save_minutes=-1)


def test_a_second_interrupt_ends_at_once_and_what_is_ignored_stays_so(capfd):
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        with Stop() as stop:
            send(signal.SIGUSR1)
            assert not stop.number
            send(signal.SIGTERM)
            send(signal.SIGTERM)
            assert stop.number == signal.SIGTERM
            with pytest.raises(KeyboardInterrupt):
                send(signal.SIGINT)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert capfd.readouterr().err.count("\n") == 1


def command(tiny, out, *more):
    data = [f"--data={name}={tiny}/{name}.jsonl" for name in ("train", "valid")]
    return [sys.executable, "-m", "speechllm", "train", str(tiny / "tiny.toml"), *data,
            "--tokenizer", str(tiny / "bpe"), "--out", str(out), "--device", "cpu",
            "--log-every", "1", *more]  # fmt: skip


def started(words, **more):
    """Start a command; wait until it has printed its second step."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more
    )
    while line := process.stdout.readline():
        if re.match(r"encoder +2 ", line):
            return process
    raise AssertionError(process.stderr.read())


def descendants(pid):
    """Return the processes below one."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    own = [int(word) for word in children.read_text("utf-8").split()]
    return own + [child for one in own for child in descendants(one)]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pids, within_s):
    """Say whether processes end within a time."""
    end = time.monotonic() + within_s
    while any(map(alive, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    return not any(map(alive, pids))


def test_slurm_signals_all_processes_of_the_command(tiny, tmp_path):
    """Also the data workers, which are deaf to it."""
    process = started(command(tiny, tmp_path / "exp", *LONG), start_new_session=True)
    below = descendants(process.pid)
    assert below
    os.killpg(process.pid, signal.SIGTERM)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 143 and "Traceback" not in error
    assert re.search(r"SIGTERM: saved in .*/encoder/step-\d{8}; the same command goes on\n$", error)
    assert len(store.checkpoints(tmp_path / "exp" / "encoder")) == 1
    assert gone(below, 10)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for orphans in /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_two_processes_end_with_the_one_who_started_them(tiny, tmp_path, number):
    """Nothing trains on; the signal that can be heard saves, in both, the same step."""
    process = started(command(tiny, tmp_path / "exp", *LONG, "--num-processes", "2"))
    below = descendants(process.pid)
    assert len(below) >= 2
    process.send_signal(number)
    out, error = process.communicate(timeout=60)
    assert gone(below, 10)
    if number == signal.SIGTERM:
        assert process.returncode == 143 and error.count("SIGTERM: saved in") == 1, error
        (saved,) = store.checkpoints(tmp_path / "exp" / "encoder")
        assert load_file(saved / "model.safetensors")


def test_what_two_processes_run_into_is_said_once(tiny, tmp_path):
    words = command(tiny, tmp_path / "exp", "--num-processes", "2", "--set", "encoder.layers=x")
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "encoder] layers: wanted a whole number, got 'x'" in done.stderr
