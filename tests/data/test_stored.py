"""Training on stored features: the same batches as from the audio, or a plain refusal."""

import json

import pytest
import torch

from features import extract, sources
from speechllm.data.examples import Examples
from speechllm.data.manifest import Manifest
from speechllm.train.phases import phases


@pytest.fixture
def job(make_run, tmp_path):
    return make_run(tmp_path / "run")


@pytest.fixture
def referring(job, tmp_path):
    """The training manifest, its rows referring to stored features."""
    old, fe = job.manifests["train"].path, job.system.extractor
    tally = extract.extract(sources.find(old), tmp_path / "set", fe.name, fe.options())
    assert not tally.errors
    assert sources.refer(old, tmp_path / "set", tmp_path / "train.jsonl") == len(sources.find(old))
    return tmp_path / "train.jsonl"


def test_the_same_examples_without_the_audio(job, referring, tmp_path):
    manifest = Manifest(referring)
    assert manifest[0]["features"] == f"{tmp_path}/set#{manifest[0]['id']}"
    stored = Examples.of(job.system, manifest)
    heard = Examples.of(job.system, job.manifests["train"])
    for index in range(len(manifest)):
        one, two = stored.make(0, index), heard.make(0, index)
        assert torch.equal(one.media[0], two.media[0]) and one.lengths == two.lengths
        assert torch.equal(torch.as_tensor(one.encoded.ids), torch.as_tensor(two.encoded.ids))
    rows = [json.loads(line) | {"audio": "gone.wav"} for line in referring.read_text().splitlines()]
    referring.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert torch.equal(Examples.of(job.system, Manifest(referring)).make(0, 3).media[0],
                       heard.make(0, 3).media[0])  # fmt: skip


def test_augmentation_of_the_wave_reads_the_audio(job, referring):
    """Stored features are of the wave as it is; masks on frames can be put on them."""
    manifest, phase = Manifest(referring), phases(job.system.preset)[1]
    augmented = job.examples(phase, manifest, True)
    from_audio = job.examples(phase, job.manifests["train"], True)
    for epoch in range(3):
        one, two = augmented.make(epoch, 2), from_audio.make(epoch, 2)
        assert torch.equal(one.media[0], two.media[0])


def test_features_of_another_front_end_are_refused(job, referring, tmp_path):
    note = tmp_path / "set" / "preset.json"
    about = json.loads(note.read_text())
    about["options"]["preemphasis"] = 0.5
    note.write_text(json.dumps(about))
    with pytest.raises(ValueError, match=r"utterance 'train0': .*different: preemphasis"):
        Examples.of(job.system, Manifest(referring)).make(0, 0)


def test_a_row_that_was_changed_since_is_refused(job, referring):
    rows = [json.loads(line) for line in referring.read_text().splitlines()]
    rows[1]["duration"] += 0.2
    rows[2]["features"] = rows[2]["features"].partition("#")[0] + "#nobody"
    referring.write_text("".join(json.dumps(row) + "\n" for row in rows))
    examples = Examples.of(job.system, Manifest(referring))
    with pytest.raises(ValueError, match="frames, but .* the row was changed since"):
        examples.make(0, 1)
    with pytest.raises(ValueError, match="has no features of 'nobody'"):
        examples.make(0, 2)


def test_a_reference_names_a_folder_and_an_id(referring):
    row = json.loads(referring.read_text().splitlines()[0]) | {"features": "set"}
    referring.write_text(json.dumps(row) + "\n")
    with pytest.raises(ValueError, match="'features' is 'set'; write FOLDER#ID"):
        Manifest(referring)


def test_workers_share_a_set(job, referring):
    from speechllm.data import loader

    data = loader.Config(max_batch_s=4.0, workers=2)
    manifest = Manifest(referring)
    keys = [(i, 0, indices) for i, indices in enumerate(data.sampler(manifest, 0, True).epoch(0))]
    examples, heard = Examples.of(job.system, manifest), job.manifests["train"]
    alone = loader.batches(Examples.of(job.system, heard), loader.Config(workers=0), keys)
    for (_, a, _), (_, b, _) in zip(loader.batches(examples, data, keys), alone, strict=True):
        assert torch.equal(a.media["audio"].x, b.media["audio"].x) and a.names == b.names
