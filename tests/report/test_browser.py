"""The page in a real browser: it sorts, plays, fits a telephone, asks nobody for anything."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import soundfile

from speechllm import report
from speechllm.data import manifest
from speechllm.report import worst
from speechllm.score import run

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
SCRIPT = "<script>document.title='in'</script>"
# what the page is asked once it is there; the answer becomes its title
ASK = """<script>
const heads = [...document.querySelector("table").rows[0].cells];
const column = heads.findIndex(head => head.textContent.trim() === "%");
const read = () => [...document.querySelector("table").rows].slice(1).map(
  row => row.cells[column].textContent);
const told = {before: read()};
heads[column].click(); told.up = read();
heads[column].click(); told.down = read();
told.wide = document.documentElement.scrollWidth > document.documentElement.clientWidth;
told.players = document.querySelectorAll("audio[src^='data:audio/mpeg']").length;
told.pictures = [...document.images].filter(one => one.naturalWidth > 0).length;
const players = [...document.querySelectorAll("audio")].map(one => new Promise(done => {
  one.preload = "metadata";
  one.onloadedmetadata = () => done(Math.round(one.duration * 10) / 10);
  one.onerror = () => done(-1); one.load();
}));
Promise.all(players).then(seconds => {
  told.seconds = seconds;
  document.body.innerHTML = "<pre id=told></pre>";
  document.getElementById("told").textContent = JSON.stringify(told);
});
</script>"""


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
    (one,) = worst.worst(tmp_path / "alignments.txt")
    assert one.errors == 3 and one.label == "s-a-1"
    assert one.words == (("it", "it"), ("WAS", "IS"), ("", "now"), ("HERE", ""))
    assert worst.worst(tmp_path / "none.txt") == []


@pytest.mark.skipif(not CHROMIUM, reason="needs chromium")
def test_in_a_browser(page, tmp_path):
    (tmp_path / "page.html").write_text(page.replace("</body>", ASK + "</body>"))
    words = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=500,900",
             "--virtual-time-budget=5000", f"--user-data-dir={tmp_path / 'profile'}",
             "--dump-dom", (tmp_path / "page.html").as_uri()]  # fmt: skip
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60)
    dom = done.stdout.decode()
    assert "<title>Results</title>" in dom  # no script of a hypothesis ran
    told = json.loads(re.search(r'id="told">(.*?)</pre>', dom)[1])
    assert told["up"] == sorted(told["before"], key=float) != told["before"]
    assert told["down"] == told["up"][::-1]
    assert not told["wide"]
    assert told["players"] == told["pictures"] == 6
    assert all(0.4 < seconds < 1 for seconds in told["seconds"])
