"""Batches: shapes, workers, and files that cannot be read."""

import json

import pytest
import torch

from speechllm.data import loader
from speechllm.data.batch import IGNORE, Kind
from speechllm.data.manifest import Manifest, write
from speechllm.train.phases import phases


@pytest.fixture
def job(make_run, tmp_path):
    return make_run(tmp_path)


def examples(job, manifest, learning=False):
    return job.examples(phases(job.system.preset)[1], manifest, learning)


def all_batches(job, manifest, on_error="stop", workers=0, learning=False, **options):
    data = loader.Config(max_batch_s=4.0, workers=workers, on_error=on_error, **options)
    plan = enumerate(data.sampler(manifest, 0, True).epoch(0))
    keys = [(number, 0, indices) for number, indices in plan]
    return list(loader.batches(examples(job, manifest, learning), data, keys))


def test_a_batch_fits_together(job):
    for _, batch, _ in all_batches(job, job.manifests["train"], learning=True):
        kinds = batch.kinds
        assert (kinds[:, -1] == Kind.CLOSE).all(), "rows are padded on the left"
        assert ((batch.labels != IGNORE) == (kinds >= Kind.ANSWER)).all()
        assert (batch.segments == (kinds != Kind.PAD)).all()
        assert [len(t) for t in batch.media["audio"]] == [len(batch.slots)] * 2
        for row, start, count in batch.slots.tolist():
            assert (kinds[row, start : start + count] == Kind.SLOT).all()
            assert (kinds[row] == Kind.SLOT).sum() == count
        first = (kinds != Kind.PAD).int().argmax(1)
        assert (batch.positions.gather(1, first[:, None]) == 0).all()


def test_workers_make_the_same_batches(job):
    alone = all_batches(job, job.manifests["train"], learning=True)
    helped = all_batches(job, job.manifests["train"], learning=True, workers=2)
    for (n, a, _), (m, b, _) in zip(alone, helped, strict=True):
        assert n == m and a.names == b.names
        assert torch.equal(a.media["audio"].x, b.media["audio"].x) and torch.equal(a.ids, b.ids)


def test_augmentation_depends_on_epoch_and_example_alone(job):
    made = examples(job, job.manifests["train"], learning=True)
    one, two, same = made.make(0, 3), made.make(1, 3), made.make(0, 3)
    assert torch.equal(one.media[0], same.media[0])
    assert one.media[0].shape != two.media[0].shape or not torch.equal(one.media[0], two.media[0])


@pytest.fixture
def with_faults(job, tmp_path):
    """A manifest in which two of five files cannot be read."""
    rows = [job.manifests["valid"][i] for i in range(5)]
    (tmp_path / "empty.wav").touch()
    rows[1]["audio"] = str(tmp_path / "empty.wav")
    rows[3]["audio"] = str(tmp_path / "missing.wav")
    write(tmp_path / "m.jsonl", rows)
    return Manifest(tmp_path / "m.jsonl")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_file_stops_with_its_name(job, with_faults, workers):
    with pytest.raises(ValueError, match=r"utterance 'valid\d': .*(empty|missing)\.wav") as caught:
        all_batches(job, with_faults, workers=workers)
    assert "\n" not in str(caught.value)


def test_bad_files_are_skipped_counted_and_listed(job, with_faults):
    made = all_batches(job, with_faults, on_error="skip")
    names = {name for _, batch, _ in made if batch is not None for name in batch.names}
    errors = [error for _, _, errors in made for error in errors]
    assert names == {"valid0", "valid2", "valid4"}
    assert len(errors) == 2


def test_too_short_for_a_soft_token_is_said(job, tmp_path):
    row = {**job.manifests["valid"][0], "duration": 0.01}
    (tmp_path / "s.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(ValueError, match=r"utterance 'valid0': .*(short|fewer|frame)"):
        examples(job, Manifest(tmp_path / "s.jsonl")).make(0, 0)


def test_lengths_outside_the_bounds_are_left_out(job):
    manifest = job.manifests["train"]
    kept = loader.Config(min_duration_s=0.4).select(manifest)
    assert 0 < len(kept) < len(manifest)
    assert kept.durations.min() >= 0.4


def test_cached_frames_are_the_frames(make_run, tmp_path):
    """Frames kept in memory give what decoding again gives, augmentation included."""
    job = make_run(tmp_path, "augment={freq_masks=1,time_masks=1,vtln=1.2}")
    plain = examples(job, job.manifests["train"], learning=True)
    cached = examples(job, job.manifests["train"], learning=True)
    cached.cache_mb = 100
    for epoch in range(3):
        for i in range(4):
            a, b = plain.make(epoch, i), cached.make(epoch, i)
            assert torch.equal(a.media[0], b.media[0])
    assert len(cached._cache) == 4 and not plain._cache


def test_nothing_is_kept_where_the_wave_changes_or_room_is_short(job):
    made = examples(job, job.manifests["train"], learning=True)
    made.cache_mb = 100
    made.make(0, 0)
    assert not made._cache, "the preset perturbs speed: each epoch has other frames"
