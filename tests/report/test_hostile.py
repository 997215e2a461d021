"""What somebody else made: scripts in every text stay text, wrong kinds are named."""

import copy
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from speechllm import report
from speechllm.cli import main
from speechllm.score import run
from speechllm.score.pages import frame

SCRIPT = "<script>window.PWNED=1</script><img src=x onerror='PWNED()'>\"'>"


class Tags(HTMLParser):
    """Collects what a browser would see of a page: its tags and their handlers."""

    def __init__(self):
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on")], (tag, attrs)


OURS = (Path(report.__file__).parent / "report.js").read_text("utf-8")


def tags(page: str) -> set[str]:
    reader = Tags()
    reader.feed(page.replace(f"<script>\n{OURS}</script>", "", 1))  # the page's own, at its end
    return set(reader.tags)


@pytest.fixture
def experiment(tmp_path):
    """An experiment whose every text is hostile, as files of somebody else may be."""
    folder = tmp_path / "exp <script>alert(1)"
    decode = folder / f"decode_{SCRIPT.replace('/', '')[:40]}"
    decode.mkdir(parents=True)
    row = {"id": SCRIPT, "speaker": SCRIPT, "kind": SCRIPT, "task": SCRIPT, "duration": 2.0}
    rows = [row | {"id": SCRIPT + k, "speaker": k + SCRIPT, "ref": SCRIPT, "hyp": k} for k in "ab"]
    (decode / "hyp.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = run.score_file(
        decode / "hyp.jsonl", "wer", "none", decode / "score", {"preset": SCRIPT, "seed": SCRIPT}
    )
    assert SCRIPT in result.line
    facts = {"command": SCRIPT, "preset": SCRIPT, "versions": {SCRIPT: SCRIPT}, "hardware": SCRIPT}
    (folder / "run.json").write_text(json.dumps(facts))
    (decode / "decode.json").write_text(json.dumps({"command": SCRIPT, "options": {"audio": "x"}}))
    valid = {"loss": 1.0, SCRIPT: {"language_modelling": 2.0}}
    log = [{"phase": SCRIPT, "step": step, "loss": 1.0, "valid": valid} for step in (0, 9)]
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    return folder


def make_page(folder, tmp_path):
    report.results([folder], tmp_path / "r.md", tmp_path / "r.html", title=SCRIPT)
    return (tmp_path / "r.html").read_text()


def test_no_text_of_an_experiment_runs_in_its_pages(experiment, tmp_path):
    page = make_page(experiment, tmp_path)
    assert not {"script", "img"} & tags(page) and "PWNED" in page
    (alignments,) = experiment.glob("*/score/alignments.html")
    text = alignments.read_text()
    assert "img" not in tags(text) and text.count("<script") == 1, "our own alone"
    lines = (tmp_path / "r.md").read_text().splitlines()
    markup = "".join(re.sub("`[^`]*`", "", line) for line in lines if not line.startswith("    "))
    assert "PWNED" in markup and "<script" not in markup


def poison(value):
    """Yield copies of a piece of JSON, each with one value replaced by a script."""
    if isinstance(value, dict):
        places = list(value)
    elif isinstance(value, list):
        places = range(len(value))
    else:
        yield SCRIPT
        return
    for place in places:
        for worse in poison(value[place]):
            made = copy.copy(value)
            made[place] = worse
            yield made
    yield SCRIPT


def test_a_script_in_any_one_place_of_a_score_is_text_or_refused(experiment, tmp_path):
    """Whatever place it is: never markup, never a traceback of another kind than ValueError."""
    (file,) = experiment.glob("*/score/score.json")
    whole = json.loads(file.read_text())
    counts = {"shown": 0, "refused": 0}
    for made in poison(whole):
        file.write_text(json.dumps(made))
        try:
            page = make_page(experiment, tmp_path)
        except ValueError as error:
            assert "score.json" in str(error) and "\n" not in str(error)
            counts["refused"] += 1
        else:
            assert not {"script", "img"} & tags(page)
            counts["shown"] += 1
    assert counts["shown"] > 10 and counts["refused"] > 10


@pytest.mark.parametrize("name", ["run.json", "decode.json", "log.jsonl"])
def test_a_script_in_any_one_place_of_other_files_is_text_or_refused(experiment, tmp_path, name):
    (file,) = [*experiment.glob(name), *experiment.glob(f"*/{name}")]
    numbers = {"seconds": 2.0, "peak_memory_mb": 12, "rtfx": 2.5, "seed": 1, "health": {"real": 1}}
    for made in poison(json.loads(file.read_text().splitlines()[0]) | numbers):
        file.write_text(json.dumps(made) + "\n")
        try:
            page = make_page(experiment, tmp_path)
        except ValueError as error:
            assert name in str(error) and "\n" not in str(error)
        else:
            assert not {"script", "img"} & tags(page)


@pytest.mark.parametrize(
    ("name", "made", "says"),
    [
        ("run.json", {"seconds": 10**400}, "run.json: 'seconds': wanted at most"),
        ("run.json", {"seconds": True}, "run.json: 'seconds': wanted a number, got True"),
        ("log.jsonl", {"phase": "a", "step": "1"}, "log.jsonl:1: 'step': wanted a whole number"),
        (
            "log.jsonl",
            {"phase": "a", "step": -1, "loss": 1},
            "log.jsonl:1: 'step': wanted at least",
        ),
        ("following_a/following.json", [{"kind": 1}], "entry 1: 'kind': wanted a text"),
        ("following_a/following.json", [[]], "entry 1: wanted an object"),
        ("decode_x/paired/paired_wer_y.json", {"a": "1"}, "'a': wanted a number or nothing"),
    ],
)
def test_wrong_kinds_are_named(tmp_path, name, made, says):
    (tmp_path / "run.json").write_text('{"seed": 0}')
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(made) + "\n")
    with pytest.raises(ValueError, match=says):
        report.results([tmp_path], page=tmp_path / "p.html")


def test_counts_that_are_texts_are_shown_as_texts(tmp_path):
    """As in a score.json that was made by hand, with another metric's name and no tables."""
    (tmp_path / "exp/score").mkdir(parents=True)
    made = {
        "line": SCRIPT,
        "metric": "../x",
        "value": 100.0,
        "ci95": [100.0, 100.0],
        "counts": dict.fromkeys(("utterances", "loop", "burst", "cut", "missing"), SCRIPT),
        "signature": SCRIPT,
        "tables": [],
    }
    (tmp_path / "exp/score/score.json").write_text(json.dumps(made))
    words = ["report", str(tmp_path / "exp"), "--page", str(tmp_path / "p.html")]
    assert not main([*words, "--out", str(tmp_path / "r.md")])
    page = (tmp_path / "p.html").read_text()
    assert not {"script", "img"} & tags(page) and "&lt;script&gt;window.PWNED" in page


def test_a_page_takes_nothing_that_was_not_escaped():
    assert frame.fill("<b>{}</b>{n}", "<i>", n=frame.Html("<u>")) == "<b>&lt;i&gt;</b><u>"
    assert frame.join(["<", frame.Html("<p>")], " ") == "&lt; <p>"
    with pytest.raises(AssertionError, match="escaped"):
        frame.document("title", "<p>plain</p>")
