"""Train a small BPE tokenizer on manifests' texts, for LLMs that are trained from nothing.

Saved in the form that transformers' AutoTokenizer reads. Special tokens: <pad>, <s>, </s>, <unk>,
pad being its own token, so that a model can learn to stop.
"""

from collections.abc import Iterable
from pathlib import Path

from speechllm import files

SPECIALS = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def train(texts: Iterable[str], vocab_size: int, out: Path) -> int:
    """Train BPE (Sennrich et al. 2016) with word boundaries as "▁"; return the vocabulary's size.

    Args:
        texts: sentences.
        vocab_size: units wanted, special tokens among them; fewer come where the text has fewer.
        out: folder for tokenizer.json and tokenizer_config.json.

    Raises:
        ValueError: the vocabulary is smaller than the alphabet of the texts.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token=SPECIALS["unk_token"]))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=list(SPECIALS.values()), show_progress=False
    )
    texts = list(texts)
    alphabet = set("".join(texts)) - {" "} | {"▁"}
    if vocab_size < len(alphabet) + len(SPECIALS):
        raise ValueError(
            f"vocabulary of {vocab_size}: the text alone has {len(alphabet)} different characters "
            f"and {len(SPECIALS)} special tokens come on top; ask for more units"
        )
    tokenizer.train_from_iterator(texts, trainer)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    files.write_text(out / "tokenizer.json", tokenizer.to_str(pretty=True))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **SPECIALS}
    files.write_json(out / "tokenizer_config.json", settings)
    return tokenizer.get_vocab_size()
