"""Speech recognition: audio in, its transcript out."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Config:
    """Settings of the question.

    prompt: one is drawn an example in training, the first is used in decoding; "" asks nothing.
    audio_first: the audio stands before the prompt.
    turn: whose turn the prompt stands in, "user" beside the audio or "system" before it.
    hotwords: how words that may occur (`hotwords` of a row, a list) are told after the prompt, with
        a {} for them; "" where the model was not taught to read any.
    lower: transcripts are learned in lower case, where a corpus has capitals alone and the LLM was
        not made for them. Scores compare normalised texts either way.
    """

    prompt: tuple[str, ...] = ("Transcribe speech to text.",)
    audio_first: bool = True
    turn: str = "user"
    lower: bool = False
    hotwords: str = ""

    metric = "wer"

    def __post_init__(self):
        if self.turn not in ("user", "system"):
            raise ValueError(f"turn: wanted 'user' or 'system', got {self.turn!r}")
        if self.hotwords and self.hotwords.count("{}") != 1:
            raise ValueError(f"hotwords: wanted a text with one {{}}, got {self.hotwords!r}")
        if not self.prompt:
            raise ValueError('prompt: wanted at least one, e.g. [""] to ask nothing')

    def messages(self, row: dict, rng=None) -> list[dict]:
        """Turn a manifest row into chat messages; `rng` draws the prompt, None takes the first."""
        prompt = self.prompt[int(rng.integers(len(self.prompt))) if rng is not None else 0]
        if self.hotwords and row.get("hotwords"):
            told = self.hotwords.replace("{}", ", ".join(row["hotwords"]))
            prompt = f"{prompt} {told}".strip()
        before = [{"role": "system", "content": prompt}] if prompt and self.turn == "system" else []
        words = [{"type": "text", "text": prompt}] if prompt and self.turn == "user" else []
        parts = [sound(row), *words] if self.audio_first else [*words, sound(row)]
        return [
            *before,
            {"role": "user", "content": parts},
            {"role": "assistant", "content": row["text"].lower() if self.lower else row["text"]},
        ]


def sound(row: dict) -> dict:
    """Make the part of a message that is a row's audio."""
    medium = ("audio", "start", "duration", "channel", "features")
    return {"type": "audio", **{k: row[k] for k in medium if k in row}}
