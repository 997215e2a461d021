"""Questions about sounds: one or more sounds and a question in, a short answer out.

A row has its own `question`; one without is asked the task's prompt. Rows of several sounds come as
`messages`. A row without audio shows the names in `heard` where its sounds would stand: text alone,
from which a small LLM learns to answer before it hears anything.
"""

from dataclasses import dataclass

from speechllm.tasks.asr import sound


@dataclass(frozen=True)
class Config:
    """Prompts for rows without a question (one is drawn in training, the first is decoded with).

    question: the text around a question, `{}` is the question itself. choices: the text around a
    row's `choices`, after the question, as "Choose one: {}."; nothing where it is empty. between:
    what stands between two choices.
    """

    prompt: tuple[str, ...] = ("what do you hear",)
    question: str = "{}"
    choices: str = ""
    between: str = ", "
    audio_first: bool = True

    metric = "accuracy"

    def __post_init__(self):
        for name, text in (("question", self.question), ("choices", self.choices or "{}")):
            if text.count("{}") != 1:
                raise ValueError(f"{name}: wanted one {{}}, got {text!r}")

    def messages(self, row: dict, rng=None) -> list[dict]:
        """Turn a manifest row into chat messages; `rng` draws the prompt, None takes the first."""
        sounds, text = self._sounds(row), {"type": "text", "text": self._asked(row, rng)}
        if sounds[0]["type"] == "text":  # names and question are one text, with a space between
            words = [part["text"] for part in (*sounds, text)]
            parts = [{"type": "text", "text": " ".join(words)}]
        else:
            parts = [*sounds, text] if self.audio_first else [text, *sounds]
        return [{"role": "user", "content": parts}, {"role": "assistant", "content": row["text"]}]

    def _sounds(self, row: dict) -> list[dict]:
        if row.get("audio") is None:
            return [{"type": "text", "text": name} for name in row["heard"]]
        return [sound(row)]

    def _asked(self, row: dict, rng) -> str:
        drawn = self.prompt[int(rng.integers(len(self.prompt))) if rng is not None else 0]
        text = self.question.format(row.get("question") or drawn)
        if self.choices and row.get("choices"):
            text += " " + self.choices.format(self.between.join(row["choices"]))
        return text
