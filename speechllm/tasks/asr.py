"""Speech recognition: audio in, its transcript out."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Config:
    """Prompts (one is drawn an example in training, the first is used in decoding)."""

    prompt: tuple[str, ...] = ("Transcribe speech to text.",)
    audio_first: bool = True

    metric = "wer"

    def messages(self, row: dict, rng=None) -> list[dict]:
        """Turn a manifest row into chat messages; `rng` draws the prompt, None takes the first."""
        prompt = self.prompt[int(rng.integers(len(self.prompt))) if rng is not None else 0]
        parts = [sound(row), {"type": "text", "text": prompt}] if prompt else [sound(row)]
        if not self.audio_first:
            parts.reverse()
        return [
            {"role": "user", "content": parts},
            {"role": "assistant", "content": row["text"]},
        ]


def sound(row: dict) -> dict:
    """Make the part of a message that is a row's audio."""
    medium = ("audio", "start", "duration", "features")
    return {"type": "audio", **{k: row[k] for k in medium if k in row}}
