"""Files: whole or not at all, whatever fails; JSON that says where it is wrong."""

import errno
import json
import os

import pytest

from speechllm import files


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_file_is_whole_or_as_before(tmp_path, monkeypatch, call):
    path = tmp_path / "a.json"
    files.write_json(path, {"a": 1})
    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match=r"a\.json: cannot be written: No space left on device"):
        files.write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [f.name for f in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_folder_is_whole_or_absent(tmp_path, monkeypatch, call):
    monkeypatch.setattr(os, call, full)
    with (
        pytest.raises(OSError, match="new: cannot be written: No space left on device"),
        files.new_folder(tmp_path / "new") as folder,
    ):
        (folder / "x").write_text("x")
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    with files.new_folder(tmp_path / "new") as folder:
        (folder / "x").write_text("x")
    assert (tmp_path / "new" / "x").read_text() == "x"
    with pytest.raises(OSError, match="new: cannot be written"), files.new_folder(tmp_path / "new"):
        pass
    assert [f.name for f in tmp_path.iterdir()] == ["new"]


def test_an_interrupt_leaves_nothing_and_errors_of_others_pass(tmp_path):
    with pytest.raises(KeyboardInterrupt), files.writing(tmp_path / "a") as file:
        file.write("half")
        raise KeyboardInterrupt
    with pytest.raises(FileNotFoundError, match="elsewhere"), files.writing(tmp_path / "a"):
        open(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="the server is away"), files.writing(tmp_path / "a"):
        raise OSError("the server is away")
    with pytest.raises(ValueError, match=r"a: cannot be written as UTF-8"):
        files.write_text(tmp_path / "a", "\ud800")
    assert not list(tmp_path.iterdir())


def test_what_was_killed_is_swept(tmp_path):
    (tmp_path / ".a.json.123.tmp").write_text("{")
    (tmp_path / ".step-1.123.tmp").mkdir()
    (tmp_path / "a.tmp").write_text("somebody's")
    files.sweep(tmp_path)
    assert [f.name for f in tmp_path.iterdir()] == ["a.tmp"]


def test_digests(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert files.digest(tmp_path / "a") == files.digest(b"abc") == "ba7816bf8f01cfea"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", r"not JSON \(Expecting value at column 1\)"),
        (b'{"a": 1,\n "b" 2}', r"not JSON \(Expecting ':' delimiter at line 2, column 6\)"),
        (b"[" * 100_000, "nested too deep"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deep"),
        (b"1" * 10_000, "a number of thousands of digits"),
        (b'{"a": "\xff"}', r"not UTF-8 \(byte 7\)"),
        (b"[]", r"wanted an object \{...\}, got \[\]"),
        (b"null", "wanted an object"),
    ],
)
def test_damaged_json_is_one_line_with_the_file(tmp_path, data, says):
    path = tmp_path / "x.json"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"x\.json: .*{says}") as caught:
        files.read_json(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
    path.write_bytes(b'{"id": "good"}\n' + data.replace(b"\n", b" ") + b"\n")
    if data:
        with pytest.raises(ValueError, match=r"x\.json:2: "):
            list(files.json_lines(path))


def test_lines_end_at_newlines_alone(tmp_path):
    path = tmp_path / "x.jsonl"
    rows = [{"a": "one\u2028two\u0085three\u2029\x0b\x0c"}, {"a": "zwei"}, {"a": 3}]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows[:2])
    path.write_text("\ufeff" + text + '\n{"a": 3}\r\n{"a": ', "utf-8", newline="")
    assert list(files.json_lines(path, cut=True)) == list(zip((1, 2, 4), rows, strict=True))
    with pytest.raises(ValueError, match=r"x\.jsonl:5: not JSON"):
        list(files.json_lines(path))
    (tmp_path / "bom.json").write_text('\ufeff{"a": 3}', "utf-8")
    assert files.read_json(tmp_path / "bom.json") == {"a": 3}


@pytest.mark.parametrize(
    ("value", "kind", "limits", "says"),
    [
        (True, int, {}, "wanted a whole number, got True"),
        (1.0, int, {}, "wanted a whole number, got 1.0"),
        (float("nan"), float, {}, "wanted a number, got nan"),
        (float("inf"), float, {}, "wanted a number, got inf"),
        ("a", (int, type(None)), {}, "wanted a whole number or nothing, got 'a'"),
        (-1, int, {"low": 0}, "wanted at least 0, got -1"),
        (2.5, float, {"high": 2}, "wanted at most 2, got 2.5"),
        (["x" * 99], str, {}, r"wanted a text, got \['x+\.\.\.$"),
        pytest.param(10**9999, str, {}, "wanted a text, got a int too large to show", id="huge"),
    ],
)
def test_kinds_and_ranges(value, kind, limits, says):
    with pytest.raises(ValueError, match=f"^f.json: 'k': {says}"):
        files.entry({"k": value}, "k", kind, "f.json", **limits)


def test_what_is_right_passes():
    table = {"a": 1, "b": 2.5, "c": None}
    assert files.entry(table, "a", int, "f", 0, 1) == 1
    assert files.entry(table, "a", float, "f") == 1 and files.entry(table, "b", float, "f") == 2.5
    assert files.entry(table, "c", (str, type(None)), "f") is None
    with pytest.raises(ValueError, match="f: 'd' is missing"):
        files.entry(table, "d", int, "f")
