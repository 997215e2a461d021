"""A normaliser for each language: English's for English alone, none that takes a script apart."""

import json

import pytest

from speechllm.cli import main
from speechllm.score import run

GERMAN = [("schön wäre es", "schon ware es"), ("für die Brüder", "fur die Bruder")]
HINDI = [("किताब पढ़ना", "कताब पढना"), ("के की को", "का कि कु")]
ENGLISH = [("It's the colour", "it is the color"), ("I don't know", "I don’t know!")]


def write(path, texts, lang=None):
    """Write (reference, hypothesis) pairs; return the file."""
    more = {"lang": lang} if lang else {}
    rows = [{"id": f"{lang}{k}", "ref": r, "hyp": h, **more} for k, (r, h) in enumerate(texts)]
    with open(path, "a", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return path


@pytest.mark.parametrize(
    ("texts", "lang", "wer", "norm"),
    [
        (GERMAN, "de", 66.67, "basic:1"),
        (GERMAN, "de-AT", 66.67, "basic:1"),
        (GERMAN, "deu", 66.67, "basic:1"),
        (HINDI, "hi", 100.0, "basic-marks:1"),
        ([("สวัสดี ครับ", "สวสด ครบ")], "th", 100.0, "basic-marks:1"),
        ([("كَتَبَ الولد", "كتب الولد")], "ar", 50.0, "basic-marks:1"),
        ([("كتب الولد", "كتب ولد")], "ar", 50.0, "basic:1"),
        ([("Việt Nam", "viet nam")], "vi", 50.0, "basic:1"),
        (ENGLISH[:1], "en", 0.0, "whisper-en:1"),
        (ENGLISH[:1], "en_GB", 0.0, "whisper-en:1"),
        (ENGLISH[:1], "ENG", 0.0, "whisper-en:1"),
        (ENGLISH[:1], "eng_Latn", 0.0, "whisper-en:1"),
        (ENGLISH[:1], "English (UK)", 0.0, "whisper-en:1"),
        (ENGLISH[:1], "und", 0.0, "whisper-en:1"),
        (ENGLISH[:1], "nl", 50.0, "basic:1"),
    ],
)
def test_each_language_has_the_normaliser_that_it_wants(tmp_path, texts, lang, wer, norm):
    result = run.score_file(write(tmp_path / "h", texts, lang))
    assert result.value == pytest.approx(wer, abs=0.01)
    assert result.signature == f"norm={norm}" and result.warnings == ()


def test_rows_of_several_languages_are_each_normalised_as_their_own(tmp_path):
    for texts, lang in ((GERMAN, "de"), (HINDI, "hi"), (ENGLISH[:1], "en"), (ENGLISH[:1], "fr")):
        write(tmp_path / "h", texts, lang)
    result = run.score_file(tmp_path / "h")
    assert result.signature == "norm=basic-marks:1(hi)+basic:1(de,fr)+whisper-en:1(en)"
    # German 4 of 6, Hindi 5 of 5, English 0 of 4, and with French rules 2 of 4 of the same words
    assert result.value == pytest.approx(100 * (4 + 5 + 0 + 2) / (6 + 5 + 4 + 4))
    assert run.score_file(tmp_path / "h", "accuracy").value == pytest.approx(100 / 6)


def test_rows_that_do_not_say_their_language(tmp_path, capsys):
    """English where they are written as English is; else it is said, and --lang says better."""
    english = run.score_file(write(tmp_path / "en", ENGLISH[:1]))
    assert english.value == 0 and english.warnings == ()
    file = write(tmp_path / "de", GERMAN)
    german = run.score_file(file, out_dir=tmp_path / "s")
    assert german.value == pytest.approx(66.67, abs=0.01) and german.signature == "norm=basic:1"
    assert "WARNING: the rows do not say their 'lang'" in (tmp_path / "s/score.txt").read_text()
    assert json.loads((tmp_path / "s/score.json").read_text())["warnings"] == [*german.warnings]
    assert not main(["score", str(file), "--lang", "de"])
    said = capsys.readouterr()
    assert "%WER 66.67" in said.out and "norm=basic:1" in said.out and not said.err
    hindi = run.score_file(write(tmp_path / "hi", HINDI))
    assert hindi.value == 100 and len(hindi.warnings) == 1


def test_a_normaliser_that_spoils_a_language_is_warned_of_with_its_share(tmp_path, capsys):
    file = write(tmp_path / "h", HINDI, "hi")
    assert not main(["score", str(file), "--normaliser", "basic"])
    said = capsys.readouterr()
    assert "%WER 50.00" in said.out
    assert "WARNING: basic takes" in said.err and "in hi" in said.err
    assert "% of the characters" in said.err and "--normaliser basic-marks keeps them" in said.err
    result = run.score_file(write(tmp_path / "de", GERMAN, "de"), normaliser="whisper-en")
    assert result.value == 0  # two thirds of the words are wrong
    assert "whisper-en takes 17.4 %" in result.warnings[0]
    assert not run.score_file(file, normaliser="none").warnings
    cafe = [("the café at the corner of the street was closed " + "by then " * 12, "the cafe")]
    assert not run.score_file(write(tmp_path / "cafe", cafe, "en")).warnings


def test_references_that_are_not_in_the_language_of_their_row(tmp_path):
    """As translations, whose rows have the language of what was said."""
    result = run.score_file(write(tmp_path / "h", GERMAN, "en"))
    assert "whisper-en takes 17.4 % of the characters out" in result.warnings[0]
    assert "in en, so that wrong words may count as right" in result.warnings[0]
    assert not run.score_file(tmp_path / "h", "bleu").warnings
    assert not run.score_file(tmp_path / "h", normaliser="basic").warnings


def test_languages_come_from_the_manifest_too(tmp_path):
    hyp = write(tmp_path / "h", [(None, hyp) for _, hyp in GERMAN])
    rows = [{"id": f"None{k}", "text": ref, "lang": "de"} for k, (ref, _) in enumerate(GERMAN)]
    (tmp_path / "m").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = run.score_file(hyp, manifest=tmp_path / "m")
    assert result.value == pytest.approx(66.67, abs=0.01) and not result.warnings


def test_typographic_apostrophes_are_whispers_own_affair(tmp_path):
    """Its rules know the straight one alone; the number stays comparable with published ones."""
    said = [("I don't know what you're saying", "I don’t know what you’re saying")]
    result = run.score_file(write(tmp_path / "h", said))
    assert result.value == 37.5
    assert result.warnings[0].startswith("1 utterances have the apostrophe ’ in the reference or")
    both = [("I don’t know", "I don’t know")]
    assert not run.score_file(write(tmp_path / "b", both)).warnings
