"""Every command and block of code of the documentation runs, and says what is printed there.

Pages speak of large models; here small ones of the same families stand where these would, in one
folder that all pages share: recordings, manifests, `exp/mini`, checkpoints by their Hub names.
"""

import contextlib
import io
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import transformers

from speechllm import config
from speechllm.models import store
from speechllm.models import tiny as small_forms
from speechllm.models.system import System
from tests import checkpoints
from tests.docs import pages
from tests.models.families import conftest as families

ROOT = pages.DOCS.parent
QWEN = ["<|audio_bos|>", "<|AUDIO|>", "<|audio_eos|>"]
RATE = 16000


@pytest.fixture(scope="module")
def world(tiny, tmp_path_factory) -> Path:
    """Make the folder in which the pages' commands run."""
    home = tmp_path_factory.mktemp("docs")
    for path in tiny.glob("*"):
        target = home / "data" / path.name
        shutil.copytree(path, target) if path.is_dir() else _copy(path, target)
    _copy(tiny / "train.jsonl", home / "data" / "train.jsonl")
    for name in ("dev", "test"):
        _copy(tiny / "valid.jsonl", home / "data" / f"{name}.jsonl")
    _recordings(home)
    _mini(tiny, home / "exp" / "mini")
    checkpoints.whisper(home / "openai" / "whisper-tiny.en")
    _qwen(home / "Qwen" / "Qwen2-Audio-7B-Instruct")
    (home / "benchmarks").symlink_to(ROOT / "benchmarks")
    return home


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _recordings(home: Path) -> None:
    words = {"low": 300, "mid": 900, "high": 2500}
    for i, (speaker, letter) in enumerate([(s, c) for s in ("s0", "s1", "s2") for c in "abc"]):
        said = [list(words)[(i + j) % 3] for j in range(1 + i % 3)]
        time = np.arange(RATE) / RATE
        wave = np.concatenate([0.1 * np.sin(2 * np.pi * words[w] * time) for w in said])
        folder = home / "recordings" / speaker
        folder.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / f"{letter}.wav", wave, RATE)
        (folder / f"{letter}.txt").write_text(" ".join(said) + "\n")
    from tests.serve.sounds import LONG, talk

    soundfile.write(home / "talk.wav", talk(*LONG, seconds=42), RATE)
    soundfile.write(home / "short.wav", talk((0.5, 1.5, 900), seconds=2), RATE)


def _mini(tiny: Path, folder: Path) -> None:
    lively = config.changed(config.load(tiny / "tiny.toml"), ["llm.config.initializer_range=0.5"])
    system = System.open(lively, str(tiny / "bpe"))
    torch.manual_seed(0)
    tensors = {"model": store.state(system, system.build(), [["*"]])}
    store.save(folder, system, tensors, {"trained": [["*"]]})


def _qwen(folder: Path) -> None:
    torch.manual_seed(0)
    names = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    tokenizer = families.tokenizer_of([*families.CHATML, *QWEN], **names)
    settings = transformers.Qwen2AudioConfig(
        audio_config={"model_type": "qwen2_audio_encoder", **families.WHISPER},
        text_config={"model_type": "qwen2", **families.TEXT},
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
    )
    made = transformers.Qwen2AudioForConditionalGeneration(settings)
    families.published(made, folder, tokenizer)


@pytest.fixture
def here(world, monkeypatch):
    """Be in that folder; presets that name large checkpoints are opened in their tiny form."""
    whole = System.open.__func__

    def small(cls, preset, tokenizer=None):
        large = any("pretrained" in preset.table(noun) for noun in ("encoder", "llm"))
        return small_forms.system(preset) if large else whole(cls, preset, tokenizer)

    monkeypatch.setattr(System, "open", classmethod(small))
    monkeypatch.chdir(world)
    return world


class Page:
    """Runs a page's blocks one after another.

    `servers` are those it has started, which end with it.
    """

    def __init__(self):
        self.names, self.said, self.replaced, self.servers = {}, "", {}, []

    def run(self, block: pages.Block) -> None:
        """Run a block, or hold what the one before has said against it."""
        if block.kind == "text":
            assert pages.fits(self.said, block.text), f"wanted {block.text}\ngot {self.said}"
        elif block.kind == "python":
            self._python(block.text)
        elif block.kind == "sh":
            said = [self._command(self._changed(words)) for words in pages.commands(block.text)]
            self.said = "".join(said)
        elif block.kind == "toml":
            small_forms.system(config.Preset(tomllib.loads(block.text), "block.toml")).build()
        else:
            raise AssertionError(f"a block of {block.kind} is run by nobody")

    def _changed(self, words: list[str]) -> list[str]:
        for old, new in self.replaced.items():
            words = [word.replace(old, new) for word in words]
        return words

    def _python(self, text: str) -> None:
        for old, new in self.replaced.items():
            text = text.replace(old, new)
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(compile(text, "block", "exec"), self.names)  # noqa: S102  # that is the test
        self.said = said.getvalue()

    def _command(self, words: list[str]) -> str:
        if words[0] in pages.ELSEWHERE or _many(words):
            read(words)
            return ""
        if words[:2] == ["speechllm", "serve"]:
            return self._serve(words)
        if words[0] == "python":
            words = [sys.executable, *words[1:]]
        return pages.call(words)

    def _serve(self, words: list[str]) -> str:
        from speechllm.serve import backends, run
        from speechllm.serve.service import Service
        from speechllm.serve.settings import Settings

        read(words)
        settings = Settings(port=0, name=Path(words[2]).name, vad="energy")
        server = run.background(Service(backends.load(words[2], "cpu"), settings))
        address = server.__enter__()
        self.servers.append(server)
        self.replaced["127.0.0.1:8000"] = address.removeprefix("http://")
        return ""


def _many(words: list[str]) -> bool:
    """Say whether a command wants several processes of accelerators."""
    return "fsdp" in words or "--num-processes" in words


def read(words: list[str]) -> None:
    """Hold what is not run here against the options that there are."""
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif words[0] == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        named = re.search(r"\[(.+)\]", words[-1])
        assert set(named[1].split(",") if named else []) <= set(extras["optional-dependencies"])
    if "speechllm" in words:
        verb = words[words.index("speechllm") + 1]
        given = [word for word in words[words.index("speechllm") :] if word.startswith("--")]
        done = subprocess.run(
            [sys.executable, "-m", "speechllm", verb, "--help"],
            stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT,
        )  # fmt: skip
        assert all(option in done.stdout for option in given), words


@pytest.mark.parametrize("path", sorted(pages.DOCS.glob("*.md")), ids=lambda path: path.stem)
def test_every_block_of_a_page_runs(path, here):
    page = Page()
    try:
        for block in pages.blocks(path):
            page.run(block)
    finally:
        for server in page.servers:
            server.__exit__(None, None, None)


def test_what_is_wrong_on_a_page_is_seen(here):
    page = Page()
    with pytest.raises(AssertionError):
        page.run(pages.Block("sh", "speechllm data validate nothing.jsonl\n", 1))
    with pytest.raises(AssertionError):
        page.run(pages.Block("sh", "torchrun -m speechllm train x --no-such-option\n", 1))
    page.run(pages.Block("python", "print(1)", 1))
    with pytest.raises(AssertionError):
        page.run(pages.Block("text", "2", 1))


def test_pages_are_those_of_the_menu_and_links_lead_somewhere():
    menu = (ROOT / "mkdocs.yml").read_text()
    for path in pages.DOCS.glob("*.md"):
        assert path.name in menu
        for link in re.findall(r"\]\(([^)#:]+)", path.read_text()):
            assert (path.parent / link).exists(), f"{path.name}: {link}"


def test_the_notebook_runs(world, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    notebook = nbformat.read(ROOT / "examples" / "speechllm.ipynb", 4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # kept without them
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    where = {"metadata": {"path": str(world)}}
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3", resources=where).execute()
    said = [
        cell.outputs[-1] for cell in notebook.cells if cell.cell_type == "code" and cell.outputs
    ]
    assert "42.0 s at 16000 Hz" in said[0]["text"]
    assert sum("image/png" in one.get("data", {}) for one in said) == 2
    assert all(isinstance(one["data"]["text/plain"], str) for one in said[2:4])
