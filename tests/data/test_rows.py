"""What is wrong with a row that carries a translation."""

import pytest

from speechllm.data import faults

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
