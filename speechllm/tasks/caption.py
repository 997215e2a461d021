"""Captions: audio in, a sentence that describes it out.

`text` is one description; where people wrote several, `texts` has them all: one is drawn in
training, and a decode is scored against each.
"""

from dataclasses import dataclass

from speechllm.tasks import asr


@dataclass(frozen=True)
class Config(asr.Config):
    """Prompts (one is drawn an example in training, the first is used in decoding)."""

    prompt: tuple[str, ...] = ("Describe the sound.",)

    metric = "cider,rouge_l,bleu"

    def messages(self, row: dict, rng=None) -> list[dict]:
        """Turn a manifest row into chat messages; `rng` draws prompt and description."""
        texts = row.get("texts") or [row["text"]]
        text = texts[int(rng.integers(len(texts))) if rng is not None else 0]
        return super().messages(row | {"text": text}, rng)

    def reference(self, row: dict):
        """Return what an answer is scored against: one description, or a list of several."""
        return row.get("texts") or row.get("text")
