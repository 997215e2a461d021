"""Parts are disjoint, as large as wanted, drawn by the seed; joined manifests keep every row."""

import pytest

from speechllm.data import manifest
from speechllm.data.manifest import Manifest
from speechllm.data.partition import join, split


@pytest.fixture
def path(tmp_path):
    rows = [
        {
            "id": f"u{i}",
            "audio": str(tmp_path / f"{i}.wav"),
            "duration": 1.0,
            "speaker": f"s{i % 7}",
        }
        for i in range(200)
    ]
    manifest.write(tmp_path / "all.jsonl", rows)
    return tmp_path / "all.jsonl"


def parts(path, sizes, **options):
    out = path.parent / "parts" / "deeper"
    made = split(path, sizes, out, **options)
    opened = {name: Manifest(one) for name, (one, _) in made.items()}
    assert {name: n for name, (_, n) in made.items()} == {k: len(v) for k, v in opened.items()}
    return opened


def test_numbers_shares_and_the_rest(path):
    made = parts(path, {"dev": "13", "test": "5%", "few": "1/20", "train": "rest"})
    assert {name: len(one) for name, one in made.items()} == {
        "dev": 13, "test": 10, "few": 10, "train": 167,
    }  # fmt: skip
    ids = [id for one in made.values() for id in one.ids]
    assert sorted(ids) == sorted(Manifest(path).ids), "disjoint, and nothing is lost"
    order = {id: k for k, id in enumerate(Manifest(path).ids)}
    for one in made.values():
        assert one.ids == sorted(one.ids, key=order.get), "in the order of the manifest"
    row = made["dev"][0]
    assert row["audio"] == str(path.parent / f"{row['id'][1:]}.wav")


def test_the_seed_draws(path):
    first, again, other = (parts(path, {"a": "0.5"}, seed=seed)["a"].ids for seed in (0, 0, 1))
    assert first == again != other and len(first) == 100


def test_speakers_stay_together(path):
    made = parts(path, {"test": "2", "train": "rest"}, by="speaker")
    speakers = {name: {row["speaker"] for row in one} for name, one in made.items()}
    assert len(speakers["test"]) == 2 and len(speakers["train"]) == 5
    assert not speakers["test"] & speakers["train"]
    made = parts(path, {"dev": "0.15", "test": "0.3", "train": "rest"}, by="speaker")
    assert [len({row["speaker"] for row in one}) for one in made.values()] == [1, 2, 4]


@pytest.mark.parametrize(
    ("sizes", "options", "says"),
    [
        ({"a": "0.7", "b": "0.4"}, {}, "wanted 0 and 110% of 200 examples"),
        ({"a": "201"}, {}, "wanted 201 and 0% of 200 examples"),
        ({"a": "8"}, {"by": "speaker"}, "of 7 groups of one 'speaker'"),
        ({"a": "rest", "b": "rest"}, {}, "two parts of the rest"),
        ({"a": "-3"}, {}, "a=-3: wanted a share"),
        ({"a": ""}, {}, "a=: wanted a share"),
        ({"a": "1/0"}, {}, "a=1/0: wanted a share"),
        ({"a": "1e400"}, {}, "a=1e400: wanted a share"),
        ({"a": "nan"}, {}, "a=nan: wanted a share"),
        ({"a/b": "3"}, {}, "a part called 'a/b'"),
        ({"a": "200", "b": "rest"}, {}, "nothing is left for b"),
        ({"a": "3"}, {"by": "lang"}, "all.jsonl:1: 'u0' has no 'lang'"),
    ],
)
def test_refused(path, sizes, options, says):
    with pytest.raises(ValueError, match=says):
        split(path, sizes, path.parent / "out", **options)
    assert not (path.parent / "out").exists()


def test_never_over_the_manifest_itself(path):
    with pytest.raises(ValueError, match="would be written over"):
        split(path, {"all": "3"}, path.parent)
    with pytest.raises(ValueError, match="is one of those"):
        join([path], path)


def test_join(path):
    made = split(path, {"a": "3", "b": "rest"}, path.parent / "x")
    files = [one for one, _ in made.values()]
    assert join(files, path.parent / "y" / "both.jsonl") == 200
    both = Manifest(path.parent / "y" / "both.jsonl")
    assert both.ids == Manifest(files[0]).ids + Manifest(files[1]).ids
    assert both[0]["audio"] == Manifest(files[0])[0]["audio"]
    with pytest.raises(ValueError, match=r"'u\d+' stands at .*a.jsonl:1 and .*all.jsonl:\d+"):
        join([files[0], path], path.parent / "z.jsonl")
    assert join([files[0], path], path.parent / "z.jsonl", prefix=True) == 203
    assert Manifest(path.parent / "z.jsonl").ids[0].startswith("a-u")
