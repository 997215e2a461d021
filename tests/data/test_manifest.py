"""The manifest: reading by offset, atomic writing, and errors that name file and line."""

import json
import os
import pickle
import tracemalloc

import numpy as np
import pytest

from speechllm.data import manifest
from speechllm.data.manifest import Manifest


def rows(n):
    return [
        {"id": f"u{i}", "audio": f"wav/{i}.wav", "duration": 1.0 + i, "text": f"tëxt {i}"}
        for i in range(n)
    ]


def test_read_back(tmp_path):
    path = tmp_path / "a.jsonl"
    assert manifest.write(path, iter(rows(5))) == 5
    opened = Manifest(path)
    assert len(opened) == 5
    assert opened.ids == [f"u{i}" for i in range(5)]
    assert opened[3]["text"] == "tëxt 3"
    assert opened[-1]["id"] == "u4"
    assert opened[0]["start"] == 0.0
    assert opened[2]["audio"] == str(tmp_path / "wav/2.wav")
    np.testing.assert_array_equal(opened.durations, np.arange(1, 6, dtype=np.float32))
    assert [row["id"] for row in opened] == opened.ids
    with pytest.raises(IndexError):
        opened[5]


def test_empty_manifest(tmp_path):
    manifest.write(tmp_path / "a.jsonl", [])
    opened = Manifest(tmp_path / "a.jsonl")
    assert len(opened) == 0 and opened.durations.shape == (0,) and opened.ids == []


def test_paths_below_the_folder_become_relative(tmp_path):
    inside = {"id": "a", "audio": str(tmp_path / "x" / "a.wav"), "duration": 1}
    outside = {"id": "b", "audio": "/corpus/b.wav", "duration": 1}
    manifest.write(tmp_path / "m.jsonl", [inside, outside])
    os.rename(tmp_path, tmp_path.with_name("moved"))
    moved = Manifest(tmp_path.with_name("moved") / "m.jsonl")
    assert moved[0]["audio"] == str(tmp_path.with_name("moved") / "x" / "a.wav")
    assert moved[1]["audio"] == "/corpus/b.wav"


def test_messages_and_text(tmp_path):
    parts = [
        {"type": "audio", "audio": "a.wav", "duration": 2.0},
        {"type": "text", "text": "What is said?"},
        {"type": "audio", "audio": "b.wav", "duration": 0.5},
    ]
    chat = {"id": "a", "messages": [{"role": "user", "content": parts}]}
    manifest.write(tmp_path / "m.jsonl", [chat, {"id": "b", "text": "only text"}])
    opened = Manifest(tmp_path / "m.jsonl")
    np.testing.assert_array_equal(opened.durations, [2.5, 0.0])
    assert opened[0]["messages"][0]["content"][2]["audio"] == str(tmp_path / "b.wav")
    assert opened[1] == {"id": "b", "text": "only text"}


def test_subset_find_digest(tmp_path):
    manifest.write(tmp_path / "m.jsonl", rows(6))
    opened = Manifest(tmp_path / "m.jsonl")
    part = opened.subset([4, 1, 3]).subset([2, 0])
    assert part.ids == ["u3", "u4"] and list(part.durations) == [4.0, 5.0]
    assert part.find("u4") == 1 and opened.find("u4") == 4
    with pytest.raises(ValueError, match="did you mean u"):
        opened.find("uu3")
    with pytest.raises(ValueError, match="no example"):
        part.find("u0")
    assert opened.digest() == Manifest(tmp_path / "m.jsonl").digest()


def test_pickles_cheaply_and_reopens(tmp_path):
    manifest.write(tmp_path / "m.jsonl", rows(1000))
    opened = Manifest(tmp_path / "m.jsonl")
    assert opened[7]["id"] == "u7"
    data = pickle.dumps(opened)
    assert len(data) < 1000 * 20 + 2000
    assert pickle.loads(data)[999]["id"] == "u999"
    manifest.write(tmp_path / "m.jsonl", rows(3))
    assert opened[999]["id"] == "u999", "an opened manifest keeps the file that it scanned"
    with pytest.raises(ValueError, match="was changed"):
        pickle.loads(data)[0]


def test_memory_does_not_hold_the_lines(tmp_path):
    long = "word " * 400
    lines = ({"id": f"u{i}", "text": long} for i in range(2000))
    manifest.write(tmp_path / "m.jsonl", lines)
    tracemalloc.start()
    opened = Manifest(tmp_path / "m.jsonl")
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(opened) == 2000 and size < 200_000


BAD = [
    ('{"id": "x", "text": "half', "not JSON"),
    ("", "empty line"),
    ("[1, 2]", "wanted a JSON object, got list"),
    ('{"text": "a"}', "no 'id'"),
    ('{"id": 7, "text": "a"}', "in quotes"),
    ('{"id": "", "text": "a"}', "not empty"),
    ('{"id": "x"}', "no 'audio', 'text' or 'messages'"),
    ('{"id": "x", "audio": "a.wav"}', "no 'duration'"),
    ('{"id": "x", "audio": "a.wav", "duration": -1}', "above 0"),
    ('{"id": "x", "audio": "a.wav", "duration": 0}', "above 0"),
    ('{"id": "x", "audio": "a.wav", "duration": NaN}', "above 0"),
    ('{"id": "x", "audio": "a.wav", "duration": true}', "above 0"),
    ('{"id": "x", "audio": "a.wav", "duration": "1.0"}', "above 0"),
    ('{"id": "x", "audio": "a.wav", "duration": 1, "start": -0.1}', "'start' is -0.1"),
    ('{"id": "x", "text": "a\\tb"}', "U\\+0009"),
    ('{"id": "x", "text": "a\\ud800b"}', "U\\+D800"),
    ('{"id": "x", "text": ["a"]}', "'text' is"),
    ('{"id": "x", "messages": "hello"}', "not a list"),
    ('{"id": "u0", "text": "a"}', "is that of line 1 already"),
]


@pytest.mark.parametrize("line,message", BAD)
def test_faults_name_file_and_line(tmp_path, line, message):
    path = tmp_path / "bad.jsonl"
    path.write_text(f'{json.dumps(rows(1)[0])}\n{line}\n{{"id": "y", "text": "b"}}\n')
    with pytest.raises(ValueError, match=message) as caught:
        Manifest(path)
    assert str(caught.value).startswith(f"{path}:2: ")


def test_not_utf8_names_the_line(tmp_path):
    (tmp_path / "m.jsonl").write_bytes('{"id": "x", "text": "é"}\n'.encode("latin-1"))
    with pytest.raises(ValueError, match="m.jsonl:1: not UTF-8"):
        Manifest(tmp_path / "m.jsonl")


def test_empty_lines_at_the_end_and_a_byte_order_mark_are_taken(tmp_path):
    (tmp_path / "m.jsonl").write_text('\ufeff{"id": "x", "text": "a"}\n\n \n')
    assert Manifest(tmp_path / "m.jsonl").ids == ["x"]


def test_write_is_atomic(tmp_path):
    path = tmp_path / "m.jsonl"
    manifest.write(path, rows(2))

    def interrupted():
        yield from rows(1)
        raise KeyboardInterrupt

    for bad, error in [
        (interrupted(), KeyboardInterrupt),
        ([{"id": "a", "text": "b\n"}], ValueError),
        (rows(2) + rows(1), ValueError),
    ]:
        with pytest.raises(error):
            manifest.write(path, bad)
        assert Manifest(path).ids == ["u0", "u1"]
        assert os.listdir(tmp_path) == ["m.jsonl"]


def test_write_names_the_row(tmp_path):
    with pytest.raises(ValueError, match=r"row 2 \(id 'b'\): 'duration' is -1"):
        manifest.write(
            tmp_path / "m.jsonl",
            [{"id": "a", "text": "x"}, {"id": "b", "text": "x", "duration": -1}],
        )


def test_what_is_null_is_not_there(tmp_path):
    path = tmp_path / "m.jsonl"
    messages = [{"role": "user", "content": [{"type": "audio", "audio": "a.wav", "start": None}]}]
    lines = [
        {
            "id": "a",
            "audio": "a.wav",
            "duration": 1.0,
            "text": None,
            "start": None,
            "channel": None,
        },
        {"id": "b", "text": None, "messages": [*messages, {"role": "assistant", "content": "x"}]},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    first, second = Manifest(path)
    assert set(first) == {"id", "audio", "duration", "start"} and first["start"] == 0.0
    assert "text" not in second


def test_what_is_no_json_is_not_written(tmp_path):
    for value in (b"x", float("nan"), {1, 2}):
        with pytest.raises(ValueError, match=r"m.jsonl, row 2 \(id 'b'\): cannot be written"):
            rows = [{"id": "a", "text": "x"}, {"id": "b", "text": "x", "more": value}]
            manifest.write(tmp_path / "m.jsonl", rows)
    assert not (tmp_path / "m.jsonl").exists()
