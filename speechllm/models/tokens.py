"""Tokenizers of checkpoints: loaded, named, and what of them ends an answer."""

import tempfile
from pathlib import Path

from speechllm import files, places
from speechllm.models.hub import one_line


def load_tokenizer(place, pad_token: str = ""):
    """Load a tokenizer from a folder or the Hub; `pad_token`, one of its tokens, is to pad with.

    Raises:
        ValueError: there is none; the pad token is not in its vocabulary.
    """
    from transformers import AutoTokenizer

    there = places.find(place, "tokenizer")
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(there or place), trust_remote_code=False)
    except Exception as error:  # a damaged tokenizer.json ends in any, the bare one among them
        raise ValueError(f"{place}: no tokenizer could be loaded: {one_line(error)}") from None
    if tokenizer.bos_token is None and tokenizer.eos_token is None:
        _name_ends(tokenizer)
    if pad_token:
        if pad_token not in tokenizer.get_vocab():
            raise ValueError(f"{place}: pad_token {pad_token!r} is not in its vocabulary")
        tokenizer.pad_token = pad_token
    return tokenizer


def refuse_other(tokenizer, given: str, llm: str) -> None:
    """Refuse a tokenizer that numbers the tokens of a pretrained LLM otherwise; it may have more.

    Raises:
        ValueError: it is of another model; nothing where the LLM brings none to compare with.
    """
    try:
        own = load_tokenizer(llm).get_vocab()
    except ValueError:
        return
    there = tokenizer.get_vocab()
    other = min((i for token, i in own.items() if there.get(token) != i), default=None)
    if other is not None:
        token = next(token for token, i in own.items() if i == other)
        now = f"is number {there[token]}" if token in there else "is not there"
        raise ValueError(
            f"--tokenizer {given} is of another model than the LLM {llm}: token {token!r}, number "
            f"{other} to the LLM, {now}; leave --tokenizer out, the LLM brings its own"
        )


def _name_ends(tokenizer) -> None:
    """Say which tokens begin and end a text, where only a tekken.json was there, which does not."""
    special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    if {"<s>", "</s>"} <= special:
        tokenizer.bos_token, tokenizer.eos_token = "<s>", "</s>"


def padded(folder: Path, llm: dict, alone: bool = False):
    """Load the tokenizer with the pad token of `[llm]`; one that is given by its id gets its name.

    alone: without config.json, which transformers asks for the tokenizer's class: it does not know
    that family.

    Raises:
        ValueError: there is no tokenizer, or no such token in it.
    """
    pad = llm.get("pad_token", "")
    with tempfile.TemporaryDirectory() as place:
        for file in folder.iterdir() if alone else ():
            if file.suffix != ".safetensors" and file.name != "config.json":
                (Path(place) / file.name).symlink_to(file.resolve())
        place = place if alone else folder
        if isinstance(pad, int):
            pad = load_tokenizer(place).convert_ids_to_tokens(pad) or f"id {pad}"
            llm["pad_token"] = pad
        return load_tokenizer(place, pad)


def stops(folder: Path, fields: dict, tokenizer) -> list[str]:
    """Tokens at which the published model ends an answer, as its generation settings name them."""
    file = folder / "generation_config.json"
    said = files.read_json(file) if file.is_file() else {}
    text = fields.get("text_config", {})
    ids = next((f["eos_token_id"] for f in (said, fields, text) if f.get("eos_token_id")), [])
    tokens = tokenizer.convert_ids_to_tokens([ids] if isinstance(ids, int) else ids)
    return [token for token in tokens if token]
