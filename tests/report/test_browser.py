"""The page in a real browser: it sorts, plays, fits a telephone, asks nobody for anything."""

import json
import re

import numpy as np
import pytest
import soundfile

from speechllm import report
from speechllm.data import manifest
from speechllm.report import worst
from speechllm.score import run
from tests import browser

SCRIPT = "<script>document.title='in'</script>"
READ = """[...document.querySelector("table").rows].slice(1).map(
  row => row.cells[3].textContent)"""
PLAYERS = """Promise.all([...document.querySelectorAll("audio")].map(one => new Promise(done => {
  one.preload = "metadata"; one.onloadedmetadata = () => done(one.duration);
  one.onerror = () => done(-1); one.load();
})))"""


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    """Make the page of three experiments with real sounds."""
    home, rows = tmp_path_factory.mktemp("browser"), []
    for i, (word, hz) in enumerate({"low": 300, "mid": 900, "high": 2500}.items()):
        time = np.arange(8000 + 1600 * i) / 16000
        soundfile.write(home / f"{i}.flac", 0.1 * np.sin(2 * np.pi * hz * time), 16000)
        rows.append({"id": f"u{i}", "audio": str(home / f"{i}.flac"), "duration": 0.5,
                     "text": f"{word} {SCRIPT}"})  # fmt: skip
    manifest.write(home / "test.jsonl", rows)
    folders = []
    for wrong in (1, 3, 2):
        folder = home / f"system{wrong}" / "decode_test"
        folder.mkdir(parents=True)
        said = [{"id": row["id"], "speaker": "s", "duration": 0.5, "ref": row["text"],
                 "hyp": "no " + SCRIPT if i < wrong else row["text"]}
                for i, row in enumerate(rows)]  # fmt: skip
        (folder / "hyp.jsonl").write_text("".join(json.dumps(row) + "\n" for row in said))
        run.score_file(folder / "hyp.jsonl", "wer", "none", folder / "score")
        (folder / "decode.json").write_text(json.dumps({"manifest": str(home / "test.jsonl")}))
        folders.append(folder.parent)
    report.results(folders, None, home / "r.html")
    return (home / "r.html").read_text()


def test_worst_utterances_have_their_sounds(page):
    assert page.count('src="data:audio/mpeg;base64,') == 1 + 3 + 2
    assert page.count('src="data:image/png;base64,') == 1 + 3 + 2
    assert not re.findall(r"(?:src|href)=[\"']?(?:https?:)?//", page)
    assert SCRIPT not in page and "&lt;script&gt;" in page
    assert len(page) < 1_000_000


def test_without_its_manifest_the_text_stands_alone(tmp_path):
    (tmp_path / "alignments.txt").write_text(
        "id: (s-a-1)\nScores: (#C #S #D #I) 1 1 1 1\nREF:  it WAS *** HERE\nHYP:  it IS now ****\n"
        "Eval:    S   I   D\n\nid: (b)\nScores: (#C #S #D #I) 1 0 0 0\nREF:  x\nHYP:  x\nEval:\n"
    )
    (one,) = worst.worst(worst.read(tmp_path / "alignments.txt"))
    assert one.errors == 3 and one.label == "s-a-1"
    assert one.words == (("it", "it"), ("WAS", "IS"), ("", "now"), ("HERE", ""))
    assert worst.read(tmp_path / "none.txt") == []


@browser.needed
def test_in_a_browser(page, tmp_path):
    """At the width of a telephone: it sorts, plays, scrolls inside its tables, asks nobody."""
    (tmp_path / "page.html").write_text(page)
    with browser.page((tmp_path / "page.html").as_uri(), width=420) as one:
        assert one.ask("document.title") == "Results"  # no script of a hypothesis ran
        before, click = one.ask(READ), "document.querySelector('table').rows[0].cells[3].click()"
        one.ask(click)
        up = one.ask(READ)
        one.ask(click)
        assert up == sorted(before, key=float) != before and one.ask(READ) == up[::-1]
        widths = "[document.documentElement, document.querySelector('.scroll')].map(e => {}Width)"
        (whole, table), (seen, box) = (
            one.ask(widths.format(f"e.{k}")) for k in ("scroll", "client")
        )
        assert whole == seen == 420 and table > box  # the table scrolls, the page does not
        assert one.ask("[...document.images].filter(one => one.naturalWidth > 0).length") == 6
        seconds = one.ask(PLAYERS)
        assert len(seconds) == 6 and all(0.4 < one < 1 for one in seconds)
        assert not [url for url in one.asked[1:] if not url.startswith("data:")] and not one.faults
