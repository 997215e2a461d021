"""Pictures through a trained model's tokens, and new ones: the files, the measures, the faults."""

import json

import numpy as np
import pytest
from PIL import Image

from speechllm.cli import main
from speechllm.data import manifest

SIZES = ("side=4", "patch=2", "in_channels=1", "width=16", "layers=1", "heads=2", "latents=5",
         "codes=16", "code_dim=8")  # fmt: skip


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Two phases of a few steps on squares and bars, and what is drawn then: (folder, rows)."""
    folder = tmp_path_factory.mktemp("draw")
    rows = []
    for i in range(12):
        pixels = np.zeros((8, 8), np.uint8)
        pixels[(slice(2, 6) if i % 2 else slice(0, 8)), i // 3 : i // 3 + 4] = 250
        Image.fromarray(pixels).save(folder / f"{i}.png")
        asked = [
            {"type": "image", "image": str(folder / f"{i}.png")},
            {"type": "text", "text": "?"},
        ]
        turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": "bs"[i % 2]}]
        rows.append({"id": f"r{i}", "messages": turns, "text": "bs"[i % 2], "duration": 1.0})
    manifest.write(folder / "m.jsonl", rows)
    manifest.write(folder / "t.jsonl", [{"id": "t", "text": "b s ?"}])
    main(
        ["data", "tokenizer", str(folder / "t.jsonl"), "--vocab-size", "12", "--out", f"{folder}/t"]
    )
    sizes = [f"branch.image.encoder.{size}" for size in SIZES]
    sizes += ["branch.image.frontend.size=8", "branch.image.frontend.patch=2"]
    sizes += ["phase.tokens.steps=80", "phase.tokens.warmup_steps=5", "phase.write.steps=4"]
    for phase, name in (("tokens", "titok"), ("write", "maskgit")):
        sizes.append(f"phase.{phase}.objectives={{{name}={{width=16,layers=1,heads=2}}}}")
    command = ["train", "titok_mnist", "--tokenizer", f"{folder}/t", "--out", f"{folder}/exp"]
    command += ["--data", f"train={folder}/m.jsonl", "--data", f"valid={folder}/m.jsonl"]
    command += ["--workers", "0", "--device", "cpu"]
    assert main(command + [word for size in sizes for word in ("--set", size)]) == 0
    return folder


def draw(folder, *options) -> int:
    return main(["draw", f"{folder}/exp", f"{folder}/m.jsonl", "--device", "cpu", *options])


def test_files_and_measures(drawn):
    assert draw(drawn, "--rows", "5") == 0
    out = drawn / "exp" / "draw_m"
    was = np.stack([np.asarray(Image.open(drawn / f"{i}.png")) for i in range(12)]) / 255
    for name in ("again", "new"):
        rows = [*manifest.Manifest(out / f"{name}.jsonl")]
        assert [row["id"] for row in rows] == [f"r{i}" for i in range(12)]
        paths = [row["messages"][0]["content"][0]["image"] for row in rows]
        pictures = np.stack([np.asarray(Image.open(path)) for path in paths]) / 255
        assert pictures.shape == (12, 8, 8)
        if name == "again":
            error = ((pictures - was) ** 2).mean() / was.var()
    score = json.loads((out / "score_error" / "score.json").read_text())
    assert score["value"] == pytest.approx(100 * error, abs=1.0), "pictures are rounded to 8 bits"
    assert score["ci95"][0] < score["value"] < score["ci95"][1]
    codes = json.loads((out / "score_codes" / "score.json").read_text())
    assert 0 < codes["value"] <= 100 and "of 16, perplexity" in codes["line"]
    assert np.asarray(Image.open(out / "pictures.png")).shape == (24, 5 * 8)
    assert main(["report", str(drawn / "exp"), "--out", str(drawn / "R.md")]) == 0
    assert "| exp | draw_m | ERROR |" in (drawn / "R.md").read_text()


def test_a_seed_is_a_picture(drawn):
    def new(name, *options):
        assert draw(drawn, "--out", str(drawn / name), *options) == 0
        return [(drawn / name / "new" / f"{i:06d}.png").read_bytes() for i in range(12)]

    assert new("a") == new("b") != new("c", "--seed", "1")


def test_what_cannot_be_drawn(drawn, tmp_path, capsys):
    rows = [*manifest.Manifest(drawn / "m.jsonl")]
    rows[3]["messages"][0]["content"].insert(0, rows[0]["messages"][0]["content"][0])
    manifest.write(tmp_path / "two.jsonl", rows)
    assert main(["draw", f"{drawn}/exp", f"{tmp_path}/two.jsonl", "--device", "cpu"]) == 2
    assert (
        "two.jsonl:4: utterance 'r3': wanted one picture of 16 patches" in capsys.readouterr().err
    )
    first = drawn / "exp" / "write"
    assert main(["draw", f"{drawn}/exp/tokens", f"{drawn}/m.jsonl", "--out", f"{tmp_path}/o"]) == 0
    assert not (tmp_path / "o" / "new.jsonl").exists() and first.is_dir()
