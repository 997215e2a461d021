"""Options and fixtures for all tests: the folder of real data, threads, small shared objects."""

import os
from pathlib import Path

# One thread: the order of float sums, and so the last bit, depends on the number of threads; and
# several test processes with many threads each are slow.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest  # noqa: E402

# Before any test file imports transformers: on a torch without CUDA it needs the torchaudio hook.
import features  # noqa: E402, F401


def pytest_addoption(parser):
    parser.addoption(
        "--data", default=os.environ.get("SPEECHLLM_DATA", ""), help="real data folder"
    )
    parser.addoption(
        "--models",
        default=os.environ.get("SPEECHLLM_MODELS", ""),
        help="folder of published checkpoints (whisper-tiny.en, ...)",
    )
    parser.addoption("--slow", action="store_true", help="also the tests that take long")


@pytest.fixture(scope="session")
def slow(request) -> None:
    """Skips a test that takes half a minute or more, unless `--slow` is given."""
    if not request.config.getoption("--slow"):
        pytest.skip("takes long: pytest --slow")


@pytest.fixture(scope="session")
def real_data(request) -> Path:
    """Folder of real development data; the test is skipped, saying so, where it is absent."""
    folder = request.config.getoption("--data")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs real data: make test DATA=DIR (or SPEECHLLM_DATA=DIR)")
    return Path(folder)


WORDS = {"low": 300.0, "mid": 900.0, "high": 2500.0}  # word -> frequency in Hz


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """Folder of a tiny corpus of tones (train.jsonl, valid.jsonl), tokenizer and preset."""
    import numpy as np
    import soundfile

    from speechllm.data import manifest, tokenizer

    folder = tmp_path_factory.mktemp("tiny")
    rng = np.random.default_rng(0)
    for split, n in (("train", 12), ("valid", 5)):
        rows = []
        for i in range(n):
            words = [str(w) for w in rng.choice(list(WORDS), size=rng.integers(1, 4))]
            time = np.arange(4000) / 16000
            wave = np.concatenate([0.1 * np.sin(2 * np.pi * WORDS[w] * time) for w in words])
            path = folder / f"{split}{i}.wav"
            soundfile.write(path, wave, 16000)
            row = {"id": path.stem, "audio": str(path), "duration": len(wave) / 16000}
            rows.append({**row, "text": " ".join(words), "speaker": f"s{i % 2}"})
        manifest.write(folder / f"{split}.jsonl", rows)
    tokenizer.train(["low mid high say write"] * 3, 40, folder / "bpe")
    (folder / "tiny.toml").write_text((Path(__file__).parent / "tiny.toml").read_text())
    return folder


@pytest.fixture
def make_run(tiny):
    """Return a function that makes a training run of the tiny system."""
    import accelerate

    from speechllm import config
    from speechllm.data.manifest import Manifest
    from speechllm.models.system import System
    from speechllm.models.tokens import load_tokenizer
    from speechllm.train.context import Run

    def make(out, *changes, **options) -> Run:
        preset = config.load(tiny / "tiny.toml", changes)
        manifests = {name: Manifest(tiny / f"{name}.jsonl") for name in ("train", "valid")}
        return Run(
            system=System(preset, load_tokenizer(tiny / "bpe")),
            manifests=manifests,
            out=out,
            accelerator=accelerate.Accelerator(cpu=True),
            **{"workers": 0, **options},
        )

    return make
