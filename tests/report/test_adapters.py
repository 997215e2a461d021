"""The table by adapter: who decided on the answers, what CTC read, when there is nothing to say."""

import json

import pytest

from speechllm import report
from speechllm.score import run


def decoded(folder, adapter, name="test", manifest="data/test.states.jsonl", **search):
    """Write a decode of three words, one of them wrong for each search setting."""
    out = folder / f"decode_{name}"
    out.mkdir(parents=True)
    hyp = " ".join("abc"[: 3 - len(search)])
    (out / "hyp.jsonl").write_text(json.dumps({"id": "1", "ref": "a b c", "hyp": hyp}) + "\n")
    run.score_file(out / "hyp.jsonl", "wer", "none", out / "score")
    table = {"name": adapter} | ({"letters": " ab"} if adapter == "ctc_posterior" else {})
    facts = {"system": {"adapter": table}, "options": {"search": search}}
    (out / "decode.json").write_text(json.dumps(facts | {"manifest": manifest}))


def trained(folder, adapter):
    """An experiment: its log, and a decode by the LLM alone."""
    decoded(folder, adapter)
    log = [
        {"phase": "spell", "step": 5, "valid": {"loss": 1.0, "ctc/word_errors": 0.5}},
        {"phase": "lora", "step": 1, "loss": 2.0},
        {"phase": "lora", "step": 9, "valid": {"loss": 0.5, "ctc_tokens/word_errors": 0.31},
         "health": {"real": 1.0, "shuffled": 3.0, "silent": 2.5}},
    ]  # fmt: skip
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    (folder / "run.json").write_text(json.dumps({"seconds": 61}))
    return folder


def test_each_way_to_decode_one_set_has_its_column(tmp_path):
    conv, letters = trained(tmp_path / "a", "conv"), trained(tmp_path / "b", "ctc_posterior")
    decoded(conv, "conv", "test_both", ctc_weight=0.5)
    decoded(conv, "conv", "test_alone", by="ctc", num_beams=1)
    decoded(conv, "conv", "test_all", ctc_weight=0.5, lm_weight=0.3, num_beams=4)
    text = report.results([conv, letters], page=tmp_path / "report.html")
    shown = "1.00 | 3.00 | 2.50 | 1 min 01 s |"
    assert f"| a | conv | test | WER | 0.00 | 33.33 | 100.00 | 66.67 | {shown}" in text
    assert (
        f"| b | ctc_posterior (3 letters) | test | WER | 0.00 |  |  | 31.00 (validation) | {shown}"
        in text
    )
    assert "| a | lora | 9 | 1.00 | 3.00 | 2.50 | 31.00 |" in text
    assert "By adapter" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("hostile", ['{"system": 3}', '{"options": {"search": 1}}'])
def test_of_one_adapter_there_is_no_table(tmp_path, hostile):
    folders = [trained(tmp_path / name, "conv") for name in "ab"]
    assert "By adapter" not in report.results(folders)
    (folders[0] / "decode_test/decode.json").write_text(hostile)
    assert "By adapter" not in report.results(folders)
