"""What a recogniser of transformers says of itself before its weights are read; does it fit?

A tokenizer of another checkpoint would give texts that are nonsense, and a number that looks right.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speechllm import places
from speechllm.models import hub

SEQ2SEQ, CTC = "seq2seq", "ctc"
MARK = {SEQ2SEQ: "eos_token_id", CTC: "pad_token_id"}  # what ends a text; CTC's blank


@dataclass(frozen=True)
class Parts:
    """What a checkpoint says of itself before its weights are read."""

    name: str
    kind: str
    config: object
    processor: object
    tokenizer: object

    @property
    def front(self):
        """The processor's front end."""
        return getattr(self.processor, "feature_extractor", None) or self.processor.audio_processor


def inspect(name: str) -> Parts:
    """Read all of a checkpoint but its weights, and see that its parts belong together.

    Raises:
        ValueError: no checkpoint, none of a recogniser, no weights, another tokenizer.
    """
    from transformers import AutoConfig, AutoProcessor, GenerationConfig

    fields = hub.read_fields(name)
    kind = _kind(name, fields)
    place = places.find(name)
    if place is not None:
        _refuse_no_weights(place)
    source = str(place or name)
    try:
        with hub.quiet():
            config = AutoConfig.from_pretrained(source)
            processor = AutoProcessor.from_pretrained(source)
    except (OSError, ValueError, ImportError, KeyError, TypeError) as error:
        raise ValueError(f"{name}: its processor cannot be read: {hub.one_line(error)}") from None
    parts = Parts(name, kind, config, processor, getattr(processor, "tokenizer", None))
    if parts.tokenizer is None:
        raise ValueError(f"{name}: has no tokenizer: tokenizer.json or vocab.json is missing")
    settings = {}
    if kind == SEQ2SEQ:
        try:
            settings = GenerationConfig.from_pretrained(source).to_dict()
        except OSError:  # then those of config.json count
            settings = fields
    _refuse_foreign(parts, settings)
    return parts


def _kind(name: str, fields: dict) -> str:
    """Say which of the two a checkpoint is, by transformers' own lists."""
    from transformers.models.auto import modeling_auto as auto

    family = fields["model_type"]
    ctc = family in auto.MODEL_FOR_CTC_MAPPING_NAMES
    seq2seq = family in auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES
    named = fields.get("architectures") or [""]
    if ctc and (not seq2seq or named[0].endswith("ForCTC")):
        return CTC
    if seq2seq and fields.get("is_encoder_decoder", True) is not False:
        return SEQ2SEQ
    raise ValueError(
        f"{name}: its config.json says {family}, which is no recogniser of transformers "
        "(AutoModelForSpeechSeq2Seq with an encoder, AutoModelForCTC); of a speech LLM "
        "speechllm import makes a folder of ours"
    )


def _refuse_no_weights(folder: Path) -> None:
    if not list(folder.glob("*.safetensors")):
        others = sorted(p.name for p in folder.iterdir() if p.suffix in (".bin", ".pt", ".h5"))
        has = f"; it has {', '.join(others)}: {hub.PICKLE}" if others else ""
        raise ValueError(f"{folder}: has no weights (*.safetensors){has}")


def _refuse_foreign(parts: Parts, settings: dict) -> None:
    """Refuse a tokenizer, or a front end, of another checkpoint: its texts would be nonsense."""
    tokenizer, config = parts.tokenizer, parts.config
    faults = []
    size, known = getattr(config, "vocab_size", None), len(tokenizer)
    bare = tokenizer.vocab_size
    if size is not None and (bare > size or (parts.kind == CTC and known < size)):
        faults.append(f"the network has {size} tokens, the tokenizer {known}")
    told = settings if parts.kind == SEQ2SEQ else config.to_dict()
    key = MARK[parts.kind]
    theirs, ours = told.get(key), getattr(tokenizer, key)
    if None not in (theirs, ours) and ours not in np.atleast_1d(theirs):
        faults.append(f"{key} is {theirs} to the network, {ours} to the tokenizer")
    for token, number in (settings.get("lang_to_id") or {}).items():
        if tokenizer.convert_tokens_to_ids(token) != number:
            faults.append(f"{token} is {number} to the network alone")
            break
    bands, wanted = getattr(parts.front, "feature_size", 1), getattr(config, "num_mel_bins", None)
    if wanted and bands > 1 and bands != wanted:
        faults.append(f"the network wants {wanted} mel bands, the front end gives {bands}")
    if faults:
        raise ValueError(
            f"{parts.name}: network and processor are not of one checkpoint: {'; '.join(faults)}"
        )
