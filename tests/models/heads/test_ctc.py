"""The CTC head is the model's: saved, loaded and used with it; older checkpoints still load."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from speechllm.data.collate import collate
from speechllm.models import heads, store
from speechllm.models.heads.ctc import Config
from speechllm.train import loop
from speechllm.train.phases import phases

HEAD = "heads.ctc.head."


def batch_of(run):
    examples = run.examples(phases(run.system.preset)[0], run.manifests["valid"], learning=False)
    return collate([examples.make(0, i) for i in range(3)], run.system.tokenizer.pad_token_id)


def older(folder):
    """Write a checkpoint's tensors and facts as they were when heads were the objectives' own."""
    model = load_file(folder / "model.safetensors")
    own = {k.removeprefix("heads."): model.pop(k) for k in list(model) if k.startswith("heads.")}
    save_file(model, folder / "model.safetensors")
    save_file(load_file(folder / "objectives.safetensors") | own, folder / "objectives.safetensors")
    moved = load_file(folder / "optimizer.safetensors")
    moved = {k.replace("heads.ctc.", "objectives.ctc."): v for k, v in moved.items()}
    save_file(moved, folder / "optimizer.safetensors")
    path = folder / "checkpoint.json"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in facts.items() if k not in ("heads", "files")}))


@torch.no_grad()
def test_a_loaded_model_has_its_head(make_run, tmp_path):
    """With its weights and its place: what it reads is what it read in training."""
    run = make_run(tmp_path)
    loop.train(run)
    batch = batch_of(run)
    for phase, on, width in (("encoder", "encoder", 16), ("tune", "adapter", 32)):
        folder = store.chosen(tmp_path / phase, "last")
        _, model = store.load(folder)
        held = load_file(folder / "model.safetensors")
        assert heads.table(model) == {"ctc": {"on": on}}
        head = model.heads["ctc"]
        assert head.head.weight.shape == (model.vocab_size + 1, width)
        assert torch.equal(head.head.weight, held[HEAD + "weight"])
        assert not load_file(folder / "objectives.safetensors")
        logits, lengths = head(model(batch))
        assert (
            logits.shape[::2] == (3, model.vocab_size + 1) and len(head.greedy(model(batch))) == 3
        )
        assert logits.shape[1] == lengths.max()


def test_a_checkpoint_of_before_goes_on_to_the_same_bits(make_run, tmp_path):
    """Its head and the head's moments stand under their old names."""
    loop.train(make_run(tmp_path / "whole"))
    whole = store.find(tmp_path / "whole")

    class StopError(Exception):
        pass

    def stopped(folder, phase):
        run = make_run(folder)
        step = loop.PhaseRun.step

        def dying(self, taken):
            if self.phase.name == phase and self.progress.step == 4:
                raise StopError
            return step(self, taken)

        with pytest.MonkeyPatch.context() as patch, pytest.raises(StopError):
            patch.setattr(loop.PhaseRun, "step", dying)
            loop.train(run)

    for phase in ("encoder", "tune"):
        folder = tmp_path / phase
        stopped(folder, phase)
        for checkpoint in folder.glob("*/step-*"):
            older(checkpoint)
        for checkpoint in folder.glob("*/step-*"):
            assert store.load(checkpoint)[1].heads.keys() == set()
        loop.train(make_run(folder))
        ended = load_file(store.find(folder) / "model.safetensors")
        wanted = load_file(whole / "model.safetensors")
        assert ended.keys() == wanted.keys() and HEAD + "weight" in wanted
        assert all(torch.equal(ended[name], wanted[name]) for name in wanted)


def test_a_training_begins_with_the_head_of_a_folder(make_run, tmp_path):
    """And keeps it where its phases read another place, or train none."""
    loop.train(make_run(tmp_path / "first"), until="encoder")
    start = store.find(tmp_path / "first")
    changes = "phase.encoder.steps=1", "phase.encoder.lr=1e-12", "phase.encoder.warmup_steps=0"
    loop.train(make_run(tmp_path / "second", *changes, start=start), until="encoder")
    before, after = (
        load_file(folder / "model.safetensors")[HEAD + "weight"]
        for folder in (start, store.find(tmp_path / "second"))
    )
    torch.testing.assert_close(before, after, rtol=0, atol=1e-6)


def test_a_head_that_there_is_not():
    with pytest.raises(ValueError, match="on: wanted 'encoder', 'adapter' or 'posterior', got 'x'"):
        Config(on="x")
    with pytest.raises(ValueError, match="c.json heads.ctd: no models.heads called 'ctd'"):
        heads.attach(None, {"heads": {"ctd": {}}}, "c.json")
    for wrong in ([], {"ctc": 3}):
        with pytest.raises(ValueError, match="c.json: 'heads'.*: wanted an object"):
            heads.attach(None, {"heads": wrong}, "c.json")
