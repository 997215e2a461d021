"""Tokenizers of other models than the LLM are refused; its own, or one with more, is not."""

import pytest
import tokenizers
import transformers

from speechllm.models import tokens


def saved(folder, *words):
    """Save a tokenizer of these words, numbered in order."""
    vocab = {word: number for number, word in enumerate(("<unk>", *words))}
    model = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocab, unk_token="<unk>"))
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=model, eos_token="<unk>")
    fast.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(
    "words, said",
    [
        (("a", "b"), ""),
        (("a", "b", "c"), ""),
        (("b", "a"), "another model than the LLM .*: token 'a', number 1 to the LLM, is number 2"),
        (("a",), "token 'b', number 2 to the LLM, is not there; leave --tokenizer out"),
    ],
)
def test_a_tokenizer_of_another_model(tmp_path, words, said):
    llm, given = saved(tmp_path / "llm", "a", "b"), saved(tmp_path / "given", *words)
    loaded = tokens.load_tokenizer(given)
    if not said:
        tokens.refuse_other(loaded, given, llm)
        return
    with pytest.raises(ValueError, match=said):
        tokens.refuse_other(loaded, given, llm)


def test_an_llm_without_a_tokenizer_takes_any(tmp_path):
    (tmp_path / "llm").mkdir()
    loaded = tokens.load_tokenizer(saved(tmp_path / "given", "a"))
    tokens.refuse_other(loaded, "given", str(tmp_path / "llm"))
