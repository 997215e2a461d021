"""Compiling at first use: once, whole, healed, and never from a folder that others can write."""

import os
import subprocess
import sys

import pytest

from features import _compile


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A small C file, and a fresh cache folder; skips where there is no compiler."""
    try:
        _compile._compiler()
    except OSError as error:
        pytest.skip(str(error))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = tmp_path / "small.c"
    source.write_text("int answer(void) { return 42; }\n")
    return source


def test_compiles_once_and_heals(small):
    library, place = _compile.load(small)
    assert library.answer() == 42
    before = os.stat(place).st_mtime_ns
    assert _compile.load(small)[1] == place and os.stat(place).st_mtime_ns == before
    small.write_text("int answer(void) { return 43; }\n")
    other, elsewhere = _compile.load(small)
    assert other.answer() == 43 and elsewhere != place
    small.write_text("int answer(void) { return 44; }\n")
    target = _compile._cache() / f"small-{_compile._key(small, _compile._compiler())}.so"
    target.write_bytes(b"cut off")
    assert _compile.load(small)[0].answer() == 44
    small.write_text("int answer(void) { return }\n")
    library, said = _compile.load(small)
    assert library is None and "error" in said and "CC" in said
    assert not list(target.parent.glob(".*"))


def test_no_code_is_loaded_from_where_others_write(small, tmp_path):
    (tmp_path / "cache" / "speechllm").mkdir(parents=True)
    (tmp_path / "cache" / "speechllm").chmod(0o777)
    library, said = _compile.load(small)
    assert library is None and "chmod go-w" in said


def test_processes_that_start_together(small, tmp_path):
    code = (
        "import sys, pathlib\nfrom features import _compile\n"
        "library, place = _compile.load(pathlib.Path(sys.argv[1]))\n"
        "assert library.answer() == 42, place"
    )
    runs = [subprocess.Popen([sys.executable, "-c", code, str(small)]) for _ in range(4)]
    assert [run.wait() for run in runs] == [0] * 4
    assert len(os.listdir(tmp_path / "cache" / "speechllm")) == 1
