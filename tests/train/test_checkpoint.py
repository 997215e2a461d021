"""Which checkpoint goes on: the best or the newest, of a phase and of an experiment."""

import json

import pytest

from speechllm import files
from speechllm.models import filling, store, whole
from speechllm.train import checkpoint, loop


def phase_of(folder, steps, best=None):
    """Make the folders of a phase's checkpoints, as a training leaves them."""
    for step in steps:
        made = folder / f"step-{step:08d}"
        made.mkdir(parents=True)
        progress = {"step": step, "best_step": -1 if best is None else best}
        files.write_json(made / "checkpoint.json", {"trained": [], "progress": progress})
    (folder / "step-00000099.tmp").mkdir()  # half a save has another name
    return folder


def test_best_and_last(tmp_path, caplog):
    folder = phase_of(tmp_path / "a", (3, 6), best=3)
    assert store.chosen(folder, "best").name == "step-00000003"
    assert store.chosen(folder, "last").name == "step-00000006"
    lost = phase_of(tmp_path / "b", (3, 6), best=2)
    assert store.chosen(lost, "best").name == "step-00000006"
    assert "step-00000002 is not a checkpoint" in caplog.text and "taken instead" in caplog.text
    with pytest.raises(ValueError, match=r"step-00000002.*; remove .*b to train that phase again"):
        store.chosen(lost, "best", strict=True)
    with pytest.raises(ValueError, match="no checkpoint yet; train first"):
        store.chosen(tmp_path / "c", "last")


def test_a_best_that_training_has_just_removed(tmp_path, monkeypatch, caplog):
    """Between the look at the newest and the one at its best another training step was saved."""
    phase, verify, looked = phase_of(tmp_path / "p", (3, 6), best=3), whole.verify, []

    def meanwhile(folder):
        looked.append(folder.name)
        if looked == ["step-00000006", "step-00000003"]:
            (phase / "step-00000099.tmp").rmdir()
            phase_of(phase, (9,), best=9)
            checkpoint.tidy(phase, phase / "step-00000009", checkpoint.Progress(best_step=9))
        verify(folder)

    monkeypatch.setattr(whole, "verify", meanwhile)
    assert store.chosen(phase, "best") == phase / "step-00000009"
    assert len(looked) == 4 and not caplog.records


def test_a_checkpoint_that_goes_while_it_is_read(make_run, tmp_path, monkeypatch):
    loop.train(make_run(tmp_path))
    folder, fill = store.find(tmp_path), filling.fill

    def meanwhile(model, wanted, file):
        files.remove_folder(folder)
        fill(model, wanted, file)

    monkeypatch.setattr(filling, "fill", meanwhile)
    with pytest.raises(ValueError, match="step-.* was removed while it was read: a training"):
        store.load(folder)
    with pytest.raises(ValueError, match="is not a checkpoint of speechllm"):
        store.load(folder)


def test_what_an_experiment_is_decoded_with(tmp_path):
    """The newest phase that has begun, as it hands on; a phase or a checkpoint may be named."""
    order = [{"name": name, "keep": keep} for name, keep in (("a", "best"), ("b", "last"))]
    (tmp_path / "phases.json").write_text(json.dumps([*order, {"name": "c", "keep": "best"}]))
    phase_of(tmp_path / "a", (1, 2), best=1)
    assert store.find(tmp_path).name == "step-00000001"
    second = phase_of(tmp_path / "b", (1, 2), best=1)
    assert store.find(tmp_path) == second / "step-00000002"
    assert store.find(tmp_path / "a").name == "step-00000001"
    assert store.find(second / "step-00000001") == second / "step-00000001"
    with pytest.raises(ValueError, match="neither an experiment nor a checkpoint"):
        store.find(tmp_path / "d")


@pytest.mark.parametrize(("losses", "best"), [((2.0, 1.0), 6), ((1.0, 2.0), 3)])
def test_the_best_has_the_lowest_validation_loss(make_run, tmp_path, monkeypatch, losses, best):
    found = iter(losses)
    monkeypatch.setattr(loop.PhaseRun, "validation", lambda self: {"valid": {"loss": next(found)}})
    loop.train(make_run(tmp_path), until="encoder")
    assert store.chosen(tmp_path / "encoder", "best").name == f"step-{best:08d}"
    assert store.chosen(tmp_path / "encoder", "last").name == "step-00000006"
