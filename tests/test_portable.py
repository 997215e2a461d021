"""What Windows and macOS lack is not needed: every command starts, a small training runs.

In a process of its own, in which those modules cannot be imported and those names are gone.
"""

import os
import subprocess
import sys

import pytest

MASK = """
import multiprocessing.context, os, signal, sys
import psutil  # which is made for this system, and wants its modules
sys.modules["resource"] = None
sys.modules["fcntl"] = None
for module, names in {
    os: "pread pwrite preadv sched_getaffinity sysconf O_DIRECTORY getloadavg".split(),
    signal: "pthread_sigmask SIGUSR1 SIGUSR2 sigwait sigwaitinfo".split(),
}.items():
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
multiprocessing.context._concrete_contexts.pop("forkserver", None)
multiprocessing.get_all_start_methods = lambda: ["spawn"]
"""
COMMANDS = """
from speechllm import cli
def main():
    def call(*words):
        code = cli.main([str(word) for word in words])
        assert not code, (words, code)
    tiny, out = sys.argv[1:]
    for verb in cli.VERBS:
        try:
            cli.main([verb, "--help"])
        except SystemExit as end:
            assert not end.code, verb
    data = [f"--data={name}={tiny}/{name}.jsonl" for name in ("train", "valid")]
    words = ["train", f"{tiny}/tiny.toml", *data, "--tokenizer", f"{tiny}/bpe", "--out", out]
    call(*words, "--workers", 0, "--device", "cpu")
    call("decode", out, f"{tiny}/valid.jsonl", "--workers", 0, "--device", "cpu")
    call("score", f"{out}/decode_valid", "--metric", "wer")
    call("data", "validate", f"{tiny}/valid.jsonl", "--deep")
    call("presets", "list")
    call("doctor")
if __name__ == "__main__":  # worker processes import this file again
    main()
"""
FEATURES = """
from features import cli
if __name__ == "__main__":  # worker processes import this file again
    tiny, out = sys.argv[1:]
    assert cli.main(["extract", f"{tiny}/train.jsonl", "--out", out, "--jobs", "2"]) == 0
    assert cli.main(["presets"]) == 0
"""


@pytest.mark.parametrize("commands", [COMMANDS, FEATURES], ids=["speechllm", "features"])
def test_without_what_unix_alone_has(tiny, tmp_path, commands):
    """Takes a quarter of a minute: a process that imports everything, and trains."""
    script = tmp_path / "script.py"
    script.write_text(MASK + commands, "utf-8")
    words = [sys.executable, str(script), str(tiny), str(tmp_path / "out")]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]


def test_nothing_is_told_of_a_gpus_kernels_on_import():
    pytest.importorskip("torchao")
    words = [sys.executable, "-c", "import speechllm, peft, torchao"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert not done.stderr
