"""What is wrong with a row that carries a translation, and what an LLM reads of a row."""

import pytest

from speechllm.data import faults, manifest
from speechllm.data.rows import texts_of

ROW = {"id": "a", "text": "a dog", "translation": "ein Hund", "translation_lang": "de"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, None),
        ({"translation": "ein\nHund"}, "'translation' has the control character U+000A"),
        ({"translation": ["ein Hund"]}, "'translation' is ['ein Hund']"),
        ({"translation_lang": 3}, "'translation_lang' is 3"),
    ],
)
def test_translations_are_texts_on_one_line(change, says):
    found = [fault for fault, _ in faults.faults(ROW | change)]
    assert len(found) == (says is not None) and (not found or found[0].startswith(says))


PICTURE = [{"type": "image", "image": "a.png", "text": "unread"}, {"type": "text", "text": "what?"}]


@pytest.mark.parametrize(
    ("row", "texts"),
    [
        ({"audio": "a.wav", "text": "low"}, ["low"]),
        ({"heard": ["empty", "mid"], "question": "which", "text": "low"},
         ["which", "low", "empty", "mid"]),
        ({"text": "low", "translation": "tief", "heard": None}, ["low", "tief"]),
        ({"text": "low", "messages": [{"role": "user", "content": "so"},
                                      {"role": "user", "content": PICTURE},
                                      {"role": "assistant", "content": "low"}]},
         ["so", "low", "what?"]),
    ],
)  # fmt: skip
def test_all_that_is_read_of_a_row(row, texts):
    """What a picture shows is not read; what stands in its place is."""
    assert texts_of({"id": "a", **row}) == texts


def test_words_in_the_place_of_pictures_are_whole_tokens(tmp_path):
    """A word that no answer holds was spelled, five positions for one of a picture's."""
    from tokenizers import Tokenizer

    from speechllm.cli import main

    rows = [{"id": f"{i}", "heard": ["empty low"], "question": "which", "text": "low"}
            for i in range(4)]  # fmt: skip
    manifest.write(tmp_path / "t.jsonl", rows)
    words = ["data", "tokenizer", f"{tmp_path}/t.jsonl", "--vocab-size", "40"]
    assert main([*words, "--out", f"{tmp_path}/t"]) == 0
    made = Tokenizer.from_file(str(tmp_path / "t" / "tokenizer.json"))
    assert made.encode("empty low").tokens == ["▁empty", "▁low"]
