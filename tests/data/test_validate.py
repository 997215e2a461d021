"""The validator: each kind of fault is found once, with file, line, id and what to do."""

import json
import tracemalloc

import numpy as np
import pytest
import soundfile

from features import sources
from features.extract import extract
from speechllm.data import manifest
from speechllm.data.validate import grouped, summary, validate

RATE = 8000


@pytest.fixture
def folder(tmp_path):
    noise = 0.1 * np.random.default_rng(0).standard_normal(2 * RATE)
    waves = {
        "good": noise,
        "silent": np.zeros(RATE),
        "clipped": np.clip(noise * 50, -1, 1),
        "nan": np.where(np.arange(RATE) == 7, np.nan, 0.1),
        "none": np.zeros(0),
    }
    for name, wave in waves.items():
        soundfile.write(tmp_path / f"{name}.wav", wave, RATE, subtype="FLOAT")
    whole = (tmp_path / "good.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.wav").write_bytes(b"")
    soundfile.write(tmp_path / "good.flac", noise, RATE)
    damaged = bytearray((tmp_path / "good.flac").read_bytes())
    damaged[len(damaged) // 2 : len(damaged) // 2 + 400] = bytes(400)
    (tmp_path / "damaged.flac").write_bytes(damaged)
    return tmp_path


def check(folder, *lines, deep=False):
    path = folder / "m.jsonl"
    lines = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(lines) + "\n")
    problems = validate(path, deep=deep, workers=1)
    assert all(problem.file == str(path) and problem.hint for problem in problems)
    return problems


def row(audio="good.wav", **more):
    return {"id": "u", "audio": audio, "duration": 2.0, "text": "hello there"} | more


def test_a_task_that_no_file_knows(folder):
    (problem,) = check(folder, row(task="asr"), row(id="v", task="translte"))
    assert (problem.line, problem.id, problem.severity) == (2, "v", "error")
    assert "no task called 'translte'" in problem.message and "'translate'" in problem.hint


def test_languages_and_answers(folder):
    german = row(lang="en", translation="guten tag", translation_lang="de")
    problems = check(
        folder,
        german,
        german | {"id": "v", "translation_lang": "english"},
        german | {"id": "w", "lang": "de"},
        row(id="x", lang="qq"),
        row(id="y", text="yes", choices=["yess", "no"]),
        row(id="z", translations="guten tag"),
    )
    found = [(p.line, p.severity, p.message) for p in problems if "a second" not in p.message]
    assert found == [
        (2, "error", "'translation_lang': language 'english': wanted its code, 'en'"),
        (3, "error", "'lang' and 'translation_lang' are both 'de'"),
        (4, "warning", "'lang': no language has the code 'qq'"),
        (5, "error", "the answer 'yes' is none of its 'choices': yess, no"),
        (6, "error", "'translations' is 'guten tag'"),
    ]


def test_equal_ids_name_the_first_line_wherever_they_are(folder):
    lines = [row(id=f"u{i}") for i in range(50)] + ["[]", row(id="u7"), row(id="u3"), row(id="u7")]
    problems = [p for p in check(folder, *lines) if "the id is" in p.message]
    assert [(p.line, p.id, p.message[-2:]) for p in problems] == [
        (52, "u7", " 8"), (53, "u3", " 4"), (54, "u7", " 8"),
    ]  # fmt: skip


def test_memory_grows_by_eight_bytes_a_line(folder):
    path = folder / "m.jsonl"
    peaks = {}
    for n in (20_000, 40_000):
        path.write_text("".join(f'{{"id": "{i:040d}", "text": "a"}}\n' for i in range(n)))
        tracemalloc.start()
        assert validate(path, workers=1) == []
        peaks[n] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[40_000] - peaks[20_000] < 20_000 * 40


def test_nothing_is_wrong(folder):
    short = row(id="v", start=1.0, duration=1.0)
    assert check(folder, row(), short, {"id": "w", "text": "only text"}, deep=True) == []


@pytest.mark.parametrize(
    "line,message,severity",
    [
        ('{"id": "x", ', "not JSON", "error"),
        ("", "an empty line", "error"),
        ("[]", "wanted a JSON object", "error"),
        ({"text": "a"}, "no 'id'", "error"),
        ({"id": "u", "text": "the same"}, "the id is that of line 1", "error"),
        ({"id": "x"}, "no 'audio'", "error"),
        (row(id="x", duration=None), "no 'duration'", "error"),
        (row(id="x", duration=-1), "'duration' is -1", "error"),
        (row(id="x", text="a\nb"), "U+000A", "error"),
        (row(id="x", text=" "), "'text' is empty", "warning"),
        (row(id="x", text="a  b"), "spaces", "warning"),
        (row(id="x", text="caf\ufffd au lait"), "U+FFFD", "warning"),
        (row(id="x", text="word " * 50 + "."), "characters a second", "warning"),
        (row("lost.wav", id="x"), "no such file", "error"),
        (row("empty.wav", id="x"), "is empty", "error"),
        (row("none.wav", id="x"), "no samples", "error"),
        (row(id="x", start=2.5, duration=0.5), "'start' is 2.5 s", "error"),
        (row(id="x", start=1.5), "ends at 3.500 s", "error"),
        (row(id="x", duration=1.0), "'duration' is 1.0 s", "warning"),
    ],
)
def test_cheap_faults(folder, line, message, severity):
    (problem,) = check(folder, row(), line, row(id="last"))
    assert problem.line == 2 and message in problem.message and problem.severity == severity


def test_deep_faults(folder):
    names = ["silent.wav", "clipped.wav", "nan.wav", "cut.wav", "damaged.flac", "good.wav"]
    lines = [row(name, id=name, duration=1.0, start=0.0) for name in names]
    problems = check(folder, *lines, deep=True)
    found = {problem.id: problem.message for problem in problems}
    assert len(problems) == len(found) == 5 and "good.wav" not in found
    assert "silence (digital zero)" in found["silent.wav"]
    assert "are clipped" in found["clipped.wav"]
    assert "NaN" in found["nan.wav"]
    assert "cut.wav" in found["cut.wav"] and "damaged.flac" in found["damaged.flac"]
    assert [problem.line for problem in problems] == [1, 2, 3, 4, 5]


def test_messages_are_listened_to(folder):
    parts = [{"type": "audio", "audio": "good.wav"}, {"type": "audio", "audio": "lost.wav"}]
    (problem,) = check(folder, {"id": "u", "messages": [{"role": "user", "content": parts}]})
    assert "lost.wav" in problem.message


@pytest.fixture
def referring(folder):
    """Rows a and b of good.wav with stored features, 10 ms a frame."""
    rows = [row(id=name, start=0.0, duration=d) for name, d in (("a", 1.0), ("b", 2.0))]
    manifest.write(folder / "all.jsonl", rows)
    extract(sources.find(folder / "all.jsonl"), folder / "set", "kaldi_fbank80")
    return [r | {"features": f"set#{r['id']}"} for r in rows]


@pytest.mark.parametrize("deep", [False, True])
def test_stored_features(folder, referring, deep):
    one, two = referring
    assert check(folder, one, two, deep=deep) == []
    lines = [one | {"duration": 1.2}, two | {"features": "set#c"}, one | {"id": "c"}]
    lines.append(two | {"id": "d", "features": "elsewhere#b"})
    problems = check(folder, *lines, deep=deep)
    assert [(p.line, p.severity) for p in problems] == [(n, "error") for n in (1, 2, 4)]
    for problem, words in zip(
        problems, ("98 frames, but 1.2 s give 118", "no features of 'c'", "no preset.json"),
        strict=True,
    ):  # fmt: skip
        assert words in problem.message, problem


def test_sound_that_nobody_need_read_is_a_warning(folder, referring):
    (problem,) = check(folder, referring[0] | {"audio": "lost.wav"}, referring[1])
    assert problem.severity == "warning" and "no such file" in problem.message


def test_damaged_features_are_found_deep(folder, referring):
    shard = min((folder / "set").glob("*.npy"))
    content = bytearray(shard.read_bytes())
    content[-7] ^= 64
    shard.write_bytes(content)
    assert check(folder, *referring) == []
    problems = check(folder, *referring, deep=True)
    assert len(problems) == 2 and all("damaged (checksum)" in p.message for p in problems)


def test_empty_and_missing_manifests(folder):
    (folder / "m.jsonl").write_text("")
    (problem,) = validate(folder / "m.jsonl")
    assert "manifest is empty" in problem.message
    with pytest.raises(ValueError, match="no such manifest"):
        validate(folder / "other.jsonl")


def test_a_problem_prints_as_one_line(folder):
    (problem,) = check(folder, row(id="x", start=2.5))
    assert str(problem).startswith(f"{folder}/m.jsonl:1: error: x: 'start' is 2.5 s")
    assert "\n" not in str(problem)


def test_summary(folder):
    lines = [row(id=f"u{i}", duration=float(i + 1), speaker=f"s{i % 2}") for i in range(5)]
    manifest.write(folder / "m.jsonl", [*lines, {"id": "t", "text": "text only"}])
    with open(folder / "m.jsonl", "a") as file:
        file.write("not json\n")
    counted = summary(folder / "m.jsonl")
    assert counted.n_rows == 6 and counted.hours == pytest.approx(15 / 3600)
    assert counted.speakers == {"s0": 3, "s1": 2}
    assert counted.words["hello"] == 5 and "z" not in counted.characters
    assert counted.quantiles_s[::2] == (1.0, 3.0, 5.0)
    assert "words       12, 4 different" in str(counted)


def test_real_corrupt_files(real_data, tmp_path):
    formats = real_data / "misc_audio" / "formats"
    names = ["jfk_16k.wav", "aeneas_mono.invalid.wav", "lyra_invalid.wav", "aeneas_mono.zero.wav"]
    rows = [row(str(formats / n), id=n, start=0.0, duration=1.0, text="ask not") for n in names]
    manifest.write(tmp_path / "m.jsonl", rows)
    problems = validate(tmp_path / "m.jsonl", deep=True, workers=1)
    assert [problem.id for problem in problems] == names[1:]


def test_each_kind_is_told_once_with_a_count_and_three_places(folder):
    lines = [row(id=f"u{i}", duration=-i) for i in range(1, 9)]
    lines += [row(f"lost{i}.wav", id=f"l{i}") for i in range(4)]
    lines += [row(id=f"s{i}", start=value) for i, value in enumerate((-1, "x", None, [1]))]
    lines += [row(id=f"t{i}", lang=code) for i, code in enumerate(("qq", "zz"))]
    lines += [row(id="one", text="a\tb"), "not json", "nor this", '{"id": "cut']
    told = [str(group) for group in grouped(check(folder, *lines))]
    assert [one.split(";")[0].replace(str(folder), "") for one in told] == [
        "error, 8 times: 'duration' is -1",
        "error, 4 times: /lost0.wav: no such file",
        "error, 3 times: 'start' is -1",
        "error, 2 times: not JSON (Expecting value at column 1)",
        "/m.jsonl:19: error: one: 'text' has the control character U+0009 at position 1",
        "/m.jsonl:22: error: ?: not JSON (Invalid control character at at column 12)",
        "warning, 2 times: 'lang': no language has the code 'qq'",
    ]  # fmt: skip
    assert told[0].endswith("m.jsonl, lines 1 (u1), 2 (u2), 3 (u3) and 5 more")
    assert len("".join(told).split("\n")) < 20


def test_empty_lines_at_the_end_are_none_as_for_the_reader(folder):
    path = folder / "m.jsonl"
    path.write_text(json.dumps(row()) + "\n\n \n")
    assert validate(path, workers=1) == [] and len(manifest.Manifest(path)) == 1
