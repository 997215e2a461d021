"""Damaged checkpoints: one line that names the file, or the newest whole one, and that is said."""

import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from speechllm import files
from speechllm.models import store
from speechllm.train import loop


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


@pytest.fixture(scope="session")
def begun(tmp_path_factory):
    return tmp_path_factory.mktemp("begun")


@pytest.fixture
def experiment(make_run, begun, tmp_path, monkeypatch):
    """An experiment whose second phase was killed after the checkpoint of its step 3."""
    if not (begun / "exp").exists():
        step = loop.PhaseRun.step

        def dying(self, taken):
            if self.phase.name == "tune" and self.progress.step == 4:
                raise Killed
            return step(self, taken)

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(loop.PhaseRun, "step", dying)
            loop.train(make_run(begun / "exp"))
    shutil.copytree(begun / "exp", tmp_path / "exp")
    return tmp_path / "exp"


def newest(experiment):
    return experiment / "tune" / "step-00000003"


def without_digests(folder):
    """Make a checkpoint as older versions wrote them."""
    facts = files.read_json(folder / "checkpoint.json")
    del facts["files"], facts["data"], facts["progress"]["pending"]
    files.write_json(folder / "checkpoint.json", facts)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage", [cut, flip, lambda path: path.unlink()], ids=["cut", "bit", "lost"]
)
@pytest.mark.parametrize(
    "file",
    [
        "model.safetensors",
        "optimizer.safetensors",
        "objectives.safetensors",
        "preset.toml",
        "tokenizer/tokenizer.json",
        "checkpoint.json",
    ],
)
def test_any_damage_is_one_line_that_names_the_file(make_run, experiment, file, damage):
    damage(newest(experiment) / file)
    if file == "checkpoint.json" and damage is flip:
        pytest.skip("a bit of its last lines is of a digest or of white space")
    with pytest.raises(ValueError, match=f"tune/step-00000003/{file}") as caught:
        loop.train(make_run(experiment))
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=f"tune/step-00000003/{file}"):
        store.load(newest(experiment))


@pytest.mark.parametrize("file", ["model", "optimizer", "objectives"])
def test_a_cut_file_of_an_older_version_is_named(make_run, experiment, file):
    without_digests(newest(experiment))
    cut(newest(experiment) / f"{file}.safetensors")
    with pytest.raises(ValueError, match=f"tune/step-00000003/{file}.safetensors: cut short"):
        loop.train(make_run(experiment))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{}", "'trained' is missing"),
        ("[]", r"wanted an object \{...\}, got \[\]"),
        ("null", "wanted an object"),
        ("[" * 100_000, "JSON that is nested too deep"),
        ('{"trained": 3}', "'trained': wanted a list, got 3"),
        ('{"trained": [["a", 3]]}', "'trained': wanted a text, got 3"),
        ('{"trained": [["encoder.*"]], "files": [3]}', "'files': wanted an object"),
        ('{"trained": [["encoder.*"]], "files": {"a": 3}}', "'files': wanted a text"),
        ('{"trained": [["encoder.*"]]}', "'progress': wanted a table of settings, got None"),
        ('{"trained": [["encoder.*"]], "progress": []}', "'progress': wanted a table of settings"),
        ('{"trained": [[]], "progress": {"step": null}}', "'progress' step: wanted a whole number"),
        (
            '{"trained": [[]], "progress": {"step": -1}}',
            "'progress' step: wanted a number at least 0",
        ),
        ('{"trained": [[]], "progress": {"stop": 1}}', "'progress': no setting called 'stop'"),
    ],
)
def test_facts_of_the_wrong_kind(make_run, experiment, text, says):
    (newest(experiment) / "checkpoint.json").write_text(text, "utf-8")
    with pytest.raises(ValueError, match=f"step-00000003/checkpoint.json: {says}") as caught:
        loop.train(make_run(experiment))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["{}", "[3]", "[{}]", '[{"name": 1, "keep": "best"}]', "[", ""])
def test_the_order_of_phases_is_named(experiment, text):
    (experiment / "phases.json").write_text(text, "utf-8")
    with pytest.raises(ValueError, match=r"phases\.json: "):
        store.find(experiment)


def change(path, edit):
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path)


def test_an_entry_of_another_shape_names_both(make_run, experiment):
    """It made torch's fused step read beyond the tensor: the process ended."""
    without_digests(newest(experiment))
    path = newest(experiment) / "optimizer.safetensors"
    name = next(k for k, v in load_file(path).items() if k.endswith(":exp_avg") and v.ndim == 2)
    shape = tuple(load_file(path)[name].shape)
    change(path, lambda t: t.update({name: torch.zeros(1, 1)}))
    with pytest.raises(ValueError) as caught:
        loop.train(make_run(experiment))
    said = f"{path}: '{name}' is float32 of shape (1, 1), wanted numbers of shape {shape}"
    assert str(caught.value) == said
    change(path, lambda t: t.update({name: torch.zeros(shape, dtype=torch.long)}))
    with pytest.raises(ValueError, match="is int64 of shape"):
        loop.train(make_run(experiment))


def test_lost_entries_of_the_optimiser_are_never_made_anew(make_run, experiment, caplog):
    without_digests(newest(experiment))
    path = newest(experiment) / "optimizer.safetensors"
    key = next(k for k in load_file(path) if k.endswith(":exp_avg_sq"))
    change(path, lambda t: t.pop(key))
    with pytest.raises(ValueError, match=f"optimizer.safetensors: {key} is missing, though others"):
        loop.train(make_run(experiment))
    change(path, lambda t: t.update({"llm.nothing:exp_avg": torch.zeros(2)}))
    with pytest.raises(ValueError, match="'llm.nothing:exp_avg' is of no parameter that learns"):
        loop.train(make_run(experiment))
    name = key.split(":")[0]
    change(path, lambda t: [t.pop(k) for k in [*t] if k.split(":")[0] in (name, "llm.nothing")])
    loop.train(make_run(experiment))
    assert f"optimizer.safetensors: nothing of {name} and" in caplog.text


def test_lost_heads_are_never_made_anew(make_run, experiment):
    without_digests(newest(experiment))
    path = newest(experiment) / "model.safetensors"
    key = next(name for name in load_file(path) if name.startswith("heads."))
    change(path, lambda t: t.pop(key))
    with pytest.raises(ValueError, match=f"model.safetensors does not fit.*missing: {key}"):
        loop.train(make_run(experiment))


def test_old_checkpoints_resume_to_the_bit(make_run, experiment, tmp_path):
    shutil.copytree(experiment, tmp_path / "old")
    for folder in (tmp_path / "old").glob("*/step-*"):
        without_digests(folder)
    loop.train(make_run(experiment))
    loop.train(make_run(tmp_path / "old"))
    for file in ("model", "objectives", "optimizer"):
        paths = [
            e / f"tune/step-00000006/{file}.safetensors" for e in (experiment, tmp_path / "old")
        ]
        assert paths[0].read_bytes() == paths[1].read_bytes()


def test_the_newest_whole_one_is_taken_and_that_is_said(make_run, tmp_path, monkeypatch, caplog):
    """The last of a phase is damaged, the best is whole: the same weights, one step back."""
    rising = iter(range(99))
    monkeypatch.setattr(
        loop.PhaseRun, "validation", lambda self: {"valid": {"loss": float(next(rising))}}
    )
    out, last = tmp_path / "exp", tmp_path / "exp/encoder/step-00000006"
    loop.train(make_run(out), until="encoder")
    wanted = {f.name: f.read_bytes() for f in last.glob("*.safetensors")}
    assert store.chosen(out / "encoder", "best").name == "step-00000003"
    cut(last / "optimizer.safetensors")
    monkeypatch.setattr(loop.PhaseRun, "validation", lambda self: {"valid": {"loss": 9.0}})
    assert store.find(out / "encoder").name == "step-00000003"
    caplog.clear()
    loop.train(make_run(out), until="encoder")
    assert "step-00000006/optimizer.safetensors: damaged" in caplog.text
    assert "taken instead: " in caplog.text and "step-00000003" in caplog.text
    assert {f.name: f.read_bytes() for f in last.glob("*.safetensors")} == wanted


def test_another_tokenizer_is_refused(make_run, experiment, tmp_path):
    from speechllm.data import tokenizer
    from speechllm.models.tokens import load_tokenizer

    run = make_run(experiment)
    size = len(run.system.tokenizer)
    tokenizer.train(["row mid high sty wriwe"] * 3, size, tmp_path / "other")
    run.system = replace(run.system, tokenizer=load_tokenizer(tmp_path / "other"))
    with pytest.raises(ValueError, match=r"made with another tokenizer; give --tokenizer .*/step"):
        loop.train(run)


def test_a_full_disk_under_the_tokenizer_is_one_line(make_run, tmp_path, monkeypatch):
    """The library that writes it raises a bare Exception."""

    def full(*_, **__):
        raise Exception("No space left on device (os error 28)")

    run = make_run(tmp_path / "exp")
    monkeypatch.setattr(type(run.system.tokenizer), "save_pretrained", full)
    with pytest.raises(OSError, match=r"step-00000003: the disk is full: free some space"):
        loop.train(run)


def test_another_manifest_is_refused_with_a_way_to_go_on(make_run, experiment, tiny, tmp_path):
    from speechllm.data.manifest import Manifest, write

    rows = [dict(row) for row in Manifest(tiny / "train.jsonl")]
    write(tmp_path / "less.jsonl", rows[1:])
    run = make_run(experiment)
    run.manifests["train"] = Manifest(tmp_path / "less.jsonl")
    with pytest.raises(ValueError, match=r"another manifest under --data train; .*--other-data"):
        loop.train(run)
    run.other_data = True
    loop.train(run)
    assert store.find(experiment).parent.name == "tune"
