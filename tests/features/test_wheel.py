"""The package as it is installed: one wheel for every Python, used where there is no compiler.

Each test compiles the library and fills an environment, which takes some four seconds.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

import features
from features import kernel

ROOT = Path(__file__).parents[2]
CODE = """
import numpy as np, sys
import features
from features import kernel
assert features.__file__.startswith(sys.argv[1]), features.__file__
wave = np.load(sys.argv[2])
np.save(sys.argv[3], features.get("kaldi_fbank80")(wave)[0].numpy())
print(kernel.status())
"""


@pytest.fixture
def wheel(tmp_path):
    """A function that builds the wheel in a clean copy of the source, with a C compiler or not."""

    def build(**environment: str) -> Path:
        copy = tmp_path / "source"
        ignored = shutil.ignore_patterns("__pycache__", "_kernel.*")
        for name in ("features", "speechllm"):
            shutil.copytree(ROOT / name, copy / name, ignore=ignored)
        for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, copy)
        command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
        done = subprocess.run(
            [*command, "--wheel-dir", str(tmp_path), str(copy)], env=os.environ | environment,
            capture_output=True, text=True,
        )  # fmt: skip
        if "setuptools" in done.stderr and done.returncode:
            pytest.skip("needs setuptools of 77 or newer and wheel in this environment")
        assert not done.returncode, done.stdout + done.stderr
        return next(iter(tmp_path.glob("*.whl")))

    return build


def installed(wheel: Path, tmp_path: Path) -> tuple[np.ndarray, np.ndarray, str]:
    """Features by this tree and by the wheel in an empty environment, and what the latter says.

    The environment has no compiler; numpy and torch it sees by their folder.
    """
    empty = tmp_path / "empty"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(empty)], check=True)
    pip = [sys.executable, "-m", "pip", "-q", "--python", str(empty), "install", "--no-deps"]
    subprocess.run([*pip, str(wheel)], check=True)
    wave = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    np.save(tmp_path / "wave.npy", wave)
    python = empty / ("Scripts" if os.name == "nt" else "bin") / "python"
    places = [str(empty), str(tmp_path / "wave.npy"), str(tmp_path / "x.npy")]
    done = subprocess.run(
        [str(python), "-c", CODE, *places], capture_output=True, text=True, cwd=tmp_path,
        env={"PATH": str(tmp_path), "PYTHONPATH": sysconfig.get_path("purelib")},
    )  # fmt: skip
    assert not done.returncode, done.stderr
    return features.get("kaldi_fbank80")(wave)[0].numpy(), np.load(tmp_path / "x.npy"), done.stdout


def test_wheel_serves_where_there_is_no_compiler(wheel, tmp_path):
    if kernel.load()[0] is None:
        pytest.skip(kernel.status())
    built = wheel()
    assert "-py3-none-" in built.name and not built.name.endswith("any.whl")
    ours, theirs, said = installed(built, tmp_path)
    assert said.startswith("C kernel active") and str(tmp_path / "empty") in said
    assert np.array_equal(ours, theirs)


def test_it_installs_without_a_compiler(wheel, tmp_path, close):
    ours, theirs, said = installed(wheel(CC="absent-compiler"), tmp_path)
    assert said.startswith("C kernel absent") and "reinstall" in said
    close(ours, theirs)
