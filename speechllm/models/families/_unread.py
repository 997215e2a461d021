"""What a published config.json asks for and an import would pass over.

A field that differs from its family's default must change the preset's tables, or be refused by
them, or say nothing about the computation: else the import would be another model than published.
"""

import copy
import re

# Of any configuration: training, attention's kernels, ids (the tokenizer has them), bookkeeping.
SILENT = re.compile(
    r"(.*drop.*|.*initializer.*|init_std|.*_token_id|.*_token_index|.*_prob|use_cache|is_decoder"
    r"|architectures|dtype|torch_dtype|transformers_version|_.*|auto_map|vocab_size|model_type"
    r"|is_encoder_decoder|output_.*|return_dict|label2id|id2label|problem_type|pruned_heads"
    r"|chunk_size_feed_forward|name_or_path|tokenizer_class|gradient_checkpointing"
    r"|vision.*|image.*|tie_word_embeddings|.*_idx|freeze_.*)"
)
TWICE = ("hidden_size",)  # of the whole: some repeat the text model's there


def unread(published, tables, loud: str = "") -> list[str]:
    """List fields, as `audio_config.act = 'relu'`, that `tables` makes nothing of.

    Args:
        published: the family's configuration of transformers.
        tables: the family's function that makes the preset's tables of it.
        loud: pattern of names that say something here, though elsewhere they are silent.
    """
    ours = tables(published)
    silent = SilentBut(loud)
    return [
        f"{'.'.join(path)} = {value!r}"
        for path, value, default in _changes(published, silent)
        if not silent(path[-1])
        and path not in [(name,) for name in TWICE]
        and not _read(published, path, default, tables, ours)
    ]


class SilentBut:
    """Says of a name whether it says nothing about the computation, those apart that are `loud`."""

    def __init__(self, loud: str):
        self.loud = re.compile(loud or r"(?!)")

    def __call__(self, name: str) -> bool:
        return bool(SILENT.fullmatch(name)) and not self.loud.fullmatch(name)


def _changes(published, silent, path=()):
    """Yield (path, value, default) of fields that differ from their class's own, however deep."""
    default = type(published)()
    for key, value in published.to_dict().items():
        inner = getattr(published, key, None)
        if hasattr(inner, "to_diff_dict") and silent(key):
            continue  # of a part that is not imported
        if hasattr(inner, "to_diff_dict"):
            yield from _changes(inner, silent, (*path, key))
        elif hasattr(default, key) and value != getattr(default, key) and value is not None:
            yield (*path, key), value, getattr(default, key)


def _read(published, path, default, tables, ours) -> bool:
    """Say whether the tables are others, or refused, with the default in place of the value."""
    other = copy.deepcopy(published)
    inner = other
    for name in path[:-1]:
        inner = getattr(inner, name)
    try:
        setattr(inner, path[-1], default)
        return tables(other) != ours
    except Exception:  # a default that does not go with the rest is looked at, too
        return True
