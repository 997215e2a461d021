"""Instruction following: kinds told apart by references, by hand-made answers."""

import json

import pytest

from speechllm.cli import main
from speechllm.score.following import Kinds, f1, follow

ENGLISH = ["the house is green", "we walk to the station", "where is the old bridge",
           "she reads the paper", "this is their garden", "the weather was bad"]  # fmt: skip
GERMAN = ["das haus ist grün", "wir gehen zum bahnhof", "wo ist die alte brücke",
          "sie liest die zeitung", "das ist ihr garten", "das wetter war schlecht"]  # fmt: skip
CHOICES = ["yes", "no", "yes", "no", "yes", "no"]


@pytest.fixture
def decode(tmp_path):
    """Return a function that writes a decode and returns its file."""

    def write(name, refs, hyps):
        folder = tmp_path / name
        folder.mkdir()
        rows = [{"id": f"u{i}", "ref": r, "hyp": h} for i, (r, h) in enumerate(zip(refs, hyps))]  # noqa: B905
        (folder / "hyp.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return folder / "hyp.jsonl"

    return write


def test_all_followed_though_nothing_is_right(decode):
    """Wrong answers of the right kind: other sentences of the language, the other choice."""
    files = {
        "en": decode("en", ENGLISH, ["the old paper is bad"] * 6),
        "de": decode("de", GERMAN, ["die zeitung ist schlecht und alt"] * 6),
        "choice": decode("choice", CHOICES, ["no", "yes"] * 3),
    }
    assert [one.rate for one in follow(files)] == [100.0, 100.0, 100.0]


def test_a_model_that_only_transcribes_is_caught(decode):
    files = {
        "en": decode("en", ENGLISH, ENGLISH),
        "de": decode("de", GERMAN, ENGLISH),
        "choice": decode("choice", CHOICES, ["Yes.", *ENGLISH[1:5], ""]),
    }
    english, german, choice = follow(files)
    assert english.rate == 100 and german.rate == 0 and german.given == {"en": 6}
    assert choice.given == {"en": 4, "choice": 1, "nothing": 1}
    assert choice.rate == pytest.approx(100 / 6)
    assert 0 <= choice.interval[0] < choice.rate < choice.interval[1] <= 100
    assert "%FOLLOWED 0.00 [ de: en 6 ]" in str(german)


def test_each_of_several_references_is_a_right_answer(decode):
    """An answer like the second one is followed too, though it is like no other text."""
    refs = [[text, f"{i} zzz qqq"] for i, text in enumerate(ENGLISH)]
    files = {"en": decode("en", refs, [f"{i} zzz qqq xx" for i in range(6)])}
    files["de"] = decode("de", GERMAN, GERMAN)
    assert [one.rate for one in follow(files)] == [100.0, 100.0]


def test_overlap_with_this_audio_goes_before_language():
    """A misheard transcript in one language is told from an answer in that language."""
    kinds = Kinds({"asr": ["the dog barks at night"], "qa": ["a dog"]})
    here = {"asr": ["the dog barks at night"], "qa": ["a dog"]}
    assert kinds.of("a dog barks at night", here) == "asr"
    assert kinds.of("a dog", here) == "qa"


def test_references_are_told_apart_without_having_been_seen(decode):
    """`own` is honest: two kinds with the same texts cannot be told apart."""
    apart = follow({"en": decode("a", ENGLISH, ENGLISH), "de": decode("b", GERMAN, GERMAN)})
    assert all(one.own >= 80 for one in apart)
    mixed = follow({"x": decode("c", ENGLISH, ENGLISH), "y": decode("d", ENGLISH, ENGLISH)})
    assert all(one.own == 0 for one in mixed), "each one is known of the other kind alone"


def test_f1():
    assert f1("a b c", "a b d") == pytest.approx(2 / 3)
    assert f1("a", "b") == 0 and f1("a a", "a") == pytest.approx(2 / 3)


def test_bad_input(decode):
    with pytest.raises(ValueError, match="two instructions or more, got 1"):
        follow({"en": decode("one", ENGLISH, ENGLISH)})
    with pytest.raises(ValueError, match="no 'ref' for 1: u0"):
        follow({"a": decode("two", [None], ["x"]), "b": decode("three", ["x"], ["x"])})


def test_the_command(decode, tmp_path, capsys):
    decode("en", ENGLISH, ENGLISH)
    decode("de", GERMAN, ENGLISH)
    words = ["following", f"en={tmp_path}/en", f"de={tmp_path}/de", "--out", str(tmp_path / "f")]
    assert not main(words)
    assert "%FOLLOWED 100.00 [ en: en 6 ]" in capsys.readouterr().out
    rates = [one["rate"] for one in json.loads((tmp_path / "f/following.json").read_text())]
    assert rates == [100.0, 0.0]
    assert main(["following", "en=nowhere", f"de={tmp_path}/de"]) == 2
