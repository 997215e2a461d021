"""Long manifests: the index on the disk, and batches without sorting or shuffling in memory."""

import os
import pickle
import time
from pathlib import Path

import numpy as np
import pytest

from speechllm.data import columns, index, loader, manifest
from speechllm.data.large import LargeSampler, permuted
from speechllm.data.manifest import Manifest


@pytest.fixture
def lengths():
    return -np.sort(-np.random.default_rng(0).uniform(1, 20, size=1017))


def sampler_of(lengths, seed=1, **options):
    return LargeSampler(len(lengths), lengths.__getitem__, 60.0, seed=seed, **options)


@pytest.mark.parametrize("n", [1, 2, 3, 6, 17, 100, 1025])
def test_the_formula_is_a_permutation_of_any_number(n):
    orders = {tuple(permuted(np.arange(n), n, (0, k))) for k in range(40)}
    assert all(sorted(order) == list(range(n)) for order in orders)
    assert len(orders) == 40 or n < 7


def test_each_place_is_as_probable_as_any_other():
    """Chi-square of 3000 permutations of 8; 49 degrees of freedom, 85 is the 0.1 % point."""
    seen = np.zeros((8, 8))
    for k in range(3000):
        seen[np.arange(8), permuted(np.arange(8), 8, (3, k))] += 1
    assert ((seen - 375) ** 2 / 375).sum() < 85


def test_each_epoch_has_every_example_once_and_as_many_batches(lengths):
    sampler = sampler_of(lengths, max_rows=16)
    for number in range(3):
        batches = sampler.epoch(number)
        assert len(batches) == len(sampler)
        assert sorted(np.concatenate(batches)) == list(range(len(lengths)))
        for batch in batches:
            assert 0 < len(batch) <= 16 and len(batch) * lengths[batch].max() <= 60.0


def test_any_batch_is_known_without_those_before_it(lengths):
    whole = [list(i) for _, _, i in zip(range(400), range(400), walk(lengths, 400), strict=True)]
    for at in (0, 57, 399):
        assert list(sampler_of(lengths).batch(at)[1]) == whole[at]
    assert list(sampler_of(lengths, seed=2).batch(57)[1]) != whole[57]


def walk(lengths, n):
    return [i for (_, _, i), _ in zip(sampler_of(lengths).batches(), range(n), strict=False)]


def test_processes_share_out_the_batches_of_one(lengths):
    shares = [sampler_of(lengths).batches(first=rank, step=2) for rank in (0, 1)]
    both = [list(next(shares[k % 2])[2]) for k in range(300)]
    assert both == [list(i) for i in walk(lengths, 300)]


def test_epochs_differ(lengths):
    sampler = sampler_of(lengths)
    assert list(sampler.batch(0)[1]) != list(sampler.batch(len(sampler))[1])
    assert sampler.batch(len(sampler))[0] == 1


def test_no_examples():
    with pytest.raises(ValueError, match="the manifest is empty"):
        sampler_of(np.empty(0))


def rows(n):
    rng = np.random.default_rng(1)
    for i in range(n):
        speech = {"audio": f"{i}.wav", "duration": round(float(rng.uniform(0.05, 50)), 2)}
        yield {"id": f"u{i}", "text": "a" * int(rng.integers(9, 99)), **(speech if i % 3 else {})}


@pytest.fixture
def long(tmp_path, monkeypatch):
    """A manifest of 600 lines where 500 are many."""
    monkeypatch.setattr(index, "LARGE", 500)
    manifest.write(tmp_path / "m.jsonl", rows(600))
    return tmp_path / "m.jsonl"


def test_a_side_file_is_written_once_and_says_the_same(long, monkeypatch):
    scanned = Manifest(long)
    assert index.side_of(long).exists()
    monkeypatch.setattr(index, "_scan", None)
    mapped = Manifest(long)
    assert mapped.ids == [f"u{i}" for i in range(600)] and mapped[7] == scanned[7]
    assert mapped.find("u599") == 599
    monkeypatch.undo()
    index.side_of(long).unlink()
    small = Manifest(long)
    assert not small.is_large and not index.side_of(long).exists(), "600 are few again"
    np.testing.assert_array_equal(small.durations, mapped.durations)
    np.testing.assert_array_equal(small.lengths_s, mapped.lengths_s)


def test_a_changed_manifest_is_scanned_again(long):
    before = Manifest(long)
    assert before[0]["id"] == "u0"
    manifest.write(long, list(rows(601)))
    assert len(Manifest(long)) == 601
    time.sleep(0.01)
    os.utime(long)
    assert len(Manifest(long)) == 601


@pytest.mark.parametrize("damage", [b"", b"{}\n", b"speechllm index 1 {", None])
def test_a_damaged_side_file_is_built_anew(long, damage):
    Manifest(long)
    side = index.side_of(long)
    side.write_bytes(side.read_bytes()[:3000] if damage is None else damage)
    assert Manifest(long).ids[-1] == "u599" and side.stat().st_size > 10_000


def test_faults_are_found_before_a_side_file_is_written(long):
    with open(long, "a") as file:
        file.write('{"id": "u3", "text": "again"}\n')
    with pytest.raises(ValueError, match="601: the id 'u3' is that of line 4 already"):
        Manifest(long)
    assert not index.side_of(long).exists()


def test_a_folder_that_cannot_be_written_is_read_all_the_same(long, monkeypatch, caplog):
    def refused(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(index, "_save", refused)
    opened = Manifest(long)
    assert len(opened) == 600 and opened.is_large and "each opening scans again" in caplog.text
    assert len(pickle.loads(pickle.dumps(opened))) == 600


def test_columns_are_those_of_an_array(long):
    mapped = Manifest(long)._index
    whole = index._scan(long, index.stamp(long))
    for name in index.DTYPES:
        kept, there = getattr(mapped, name), getattr(whole, name)
        assert isinstance(kept, columns.Column) and len(kept) == len(there)
        for place in (
            0,
            -1,
            slice(None),
            slice(3, 9),
            slice(9, 3),
            [7, 1, 1],
            np.arange(len(kept)),
        ):
            np.testing.assert_array_equal(kept[place], there[place])
        assert kept[5].dtype == there.dtype and kept[[]].shape == (0,)
        with pytest.raises(IndexError):
            kept[len(kept)]
    np.testing.assert_array_equal(mapped.lengths_s(), whole.lengths_s(np.arange(600)))
    assert mapped.firsts == whole.firsts == (0, 1)


def test_a_long_run_keeps_nothing_of_the_side_file(long):
    """Each row of each epoch is looked up, and no page of the index is mapped."""
    part = loader.Config().select(Manifest(long))
    maps = Path("/proc/self/maps")
    assert [part[i]["id"] for i in range(len(part))] and part.line(0) >= 1
    assert not maps.exists() or ".index" not in maps.read_text()


def test_what_is_between_two_lengths_stands_longest_first(long):
    opened = Manifest(long)
    data = loader.Config(min_duration_s=0.1, max_duration_s=40.0, max_batch_s=100.0)
    part = data.select(opened)
    kept = (opened.lengths_s >= 0.1) & (opened.lengths_s <= 40.0)
    assert len(part) == kept.sum() < 600
    assert (np.diff(part.lengths_s) <= 0).all()
    assert {row["id"] for row in part} == {f"u{i}" for i in np.flatnonzero(kept)}
    sampler = data.sampler(part, 0, shuffle=True)
    assert isinstance(sampler, LargeSampler)
    assert sorted(np.concatenate(sampler.epoch(0))) == list(range(len(part)))
    longest_first = np.concatenate(data.sampler(part, 0, shuffle=False).epoch(0))
    assert (np.diff(part.lengths_s[longest_first]) <= 0).all()


def test_pickles_as_a_name_and_is_mapped_again(long):
    part = loader.Config().select(Manifest(long))
    data = pickle.dumps(part)
    assert len(data) < 1000
    assert pickle.loads(data)[3] == part[3]
    manifest.write(long, list(rows(3)))
    with pytest.raises(ValueError, match="was changed"):
        pickle.loads(data)[0]
