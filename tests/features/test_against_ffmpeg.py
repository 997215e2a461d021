"""Loading equals ffmpeg's decoding; `benchmarks/loading.py` has every rate and layout."""

import importlib.util
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "loading.py"


@pytest.fixture(scope="module")
def loading():
    spec = importlib.util.spec_from_file_location("loading", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["loading"] = module  # its dataclass looks itself up there
    spec.loader.exec_module(module)
    if not module.FFMPEG:
        pytest.skip("needs the ffmpeg command")
    return module


@pytest.mark.parametrize(("only", "rate", "channels"), [
    ("flac", 16000, 2), ("mp3", 44100, 1), ("vorbis", 22050, 6), ("alac", 48000, 6),
    ("wav pcm", 11025, 6), ("rf64", 8000, 2), ("aiff", 16000, 1), ("gsm", 8000, 1),
    ("aac", 44100, 2), ("webm", 48000, 1),
])  # fmt: skip
def test_same_samples(loading, only, rate, channels):
    rows = loading.table([rate], [channels], only)
    assert rows and all(row.files for row in rows.values())
    assert {name: vars(row) for name, row in rows.items() if not row.good} == {}
