"""Hypotheses of other programs: each form read as its writer meant it, or refused with its line."""

import pytest

from speechllm.score.formats import foreign

SAID = {"a-1": "he hoped", "a-2": ""}
FORMS = {
    "hyp.trn": ";; a comment\nhe hoped (a-1)\n (a-2)\n",
    "text": "a-1 he hoped\na-2\n",
    "hyp.tsv": "a-1\the hoped\na-2\t\n",
    "columns.tsv": "duration\tid\thyp\n2.0\ta-1\the hoped\n1.0\ta-2\t\n",
    "hyp.jsonl": '{"id": "a-1", "hyp": "he  hoped"}\n{"id": "a-2", "hyp": ""}\n',
    "nemo.json": '{"id": "a-1", "text": "HE", "pred_text": "he hoped"}\n'
    '{"id": "a-2", "text": "X", "pred_text": ""}\n',
    "bom.txt": "\ufeffa-1 he hoped\r\na-2\r\n",
}


@pytest.mark.parametrize("name", FORMS)
def test_each_form_is_read(name, tmp_path):
    (tmp_path / name).write_text(FORMS[name], "utf-8", newline="")
    assert foreign.read(tmp_path / name) == SAID


def test_words_of_a_ctm_stand_in_the_order_of_their_times(tmp_path):
    lines = ";; x\na-1 1 0.9 0.2 hoped 0.98\na-1 1 0.1 0.3 he\nb-1 A 0 1 well\n"
    (tmp_path / "hyp.ctm").write_text(lines)
    assert foreign.read(tmp_path / "hyp.ctm") == {"a-1": "he hoped", "b-1": "well"}


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("x.trn", "he hoped\n", r"x.trn:1: wanted words and \(id\)"),
        ("x.trn", "{ he / she } hoped (a-1)\n", "alternatives"),
        ("x.ctm", "a-1 1 now 0.3 he\n", "x.ctm:1: wanted id, channel, start"),
        ("x.tsv", "a-1 he hoped\n", "x.tsv:1: wanted an id, a tab"),
        ("x.tsv", "id\ttext\na-1\the\n", "wanted one of"),
        ("x.jsonl", '{"id": "a-1", "text": "what was really said"}\n', "'hyp' is missing"),
        ("x", "a-1 he\nb-1 x\na-1 she\n", r"duplicate ids: 1: a-1 \(lines 1 and 3\)"),
        ("x", "\n", "holds no hypothesis"),
    ],
)
def test_what_cannot_be_meant_is_refused(name, text, says, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=says):
        foreign.read(tmp_path / name)
