"""Translation of speech (or text) from one language into another.

Three ways to ask, with one prompt each:

| way       | answer |
|---|---|
| direct    | the translation |
| recognise | the transcript |
| chain     | the transcript, a marker, the translation: recognise, then translate, in one answer |

A row has `text` (what is said) in `lang` and `translation` in `translation_lang`; `translations`
where there are several, of which one is drawn in training and all are references. A row without
`audio` shows its text instead: so an LLM learns to translate before it hears anything, and so the
second half of a cascade is decoded.
"""

from dataclasses import dataclass, replace

from speechllm.ranges import Share
from speechllm.tasks import languages
from speechllm.tasks.asr import sound
from speechllm.tasks.copy import corrupt, scramble

WAYS = ("direct", "recognise", "chain")


@dataclass(frozen=True)
class Config:
    """What is asked, in which words, for which languages.

    way: what is asked in validation and decoding. mix: the ways that training draws from; `way`
    alone if empty. source, target: codes that every row must have; empty takes the row's.
    direct, recognise, chain: prompts, in which {source} and {target} become the languages' names.
    marker: stands in a chain's answer between transcript and translation.
    noise, random_share: of text shown in training, the chance that a word is corrupted and, where a
    copy is wanted, that it is a random string (`tasks/copy.py` says why).
    """

    way: str = "direct"
    mix: tuple[str, ...] = ()
    source: str = ""
    target: str = ""
    direct: str = "Translate the {source} speech into {target}."
    recognise: str = "Transcribe the {source} speech."
    chain: str = "Transcribe the {source} speech, then translate it into {target}."
    marker: str = " {target}: "
    noise: Share = 0.0
    random_share: Share = 0.0
    audio_first: bool = True

    def __post_init__(self):
        for way in (self.way, *self.mix):
            if way not in WAYS:
                raise ValueError(f"way: wanted one of {', '.join(WAYS)}, got {way!r}")
        for language in filter(None, (self.source, self.target)):
            languages.code(language)
        if (
            self.source
            and self.target
            and languages.code(self.source) == languages.code(self.target)
        ):
            raise ValueError(f"source and target are one language, {self.source!r}")
        if not self.marker.strip():
            raise ValueError(
                f"marker: wanted something that can be found again, got {self.marker!r}"
            )

    @property
    def metric(self) -> str:
        """What a decode is scored by; of a chain, also its transcript against what was said."""
        if self.way == "recognise":
            return "wer"
        return "bleu,chrf" + (",wer@transcript:source" if self.way == "chain" else "")

    def forms(self) -> list["Config"]:
        """This task in each of the ways that training draws from, and in the one decoded."""
        ways = dict.fromkeys((*self.mix, self.way))
        return [replace(self, way=way, mix=()) for way in ways]

    def messages(self, row: dict, rng=None) -> list[dict]:
        """Turn a manifest row into chat messages; `rng` draws way, translation and noise.

        Raises:
            ValueError: a language that is unknown, or not the one wanted; no translation.
        """
        names = self._names(row)
        way = self.way
        if rng is not None and self.mix:
            way = self.mix[int(rng.integers(len(self.mix)))]
        # `text` is what is to be said, `shown` what stands in the prompt where there is no sound: a
        # random string is both, so that only copying explains the answer; noise is in `shown` alone
        text, shown = row["text"], row["text"]
        if rng is not None and row.get("audio") is None:
            if way == "recognise" and rng.random() < self.random_share:
                text = shown = scramble(text, rng)
            shown = corrupt(shown, self.noise, rng)
        prompt = getattr(self, way).format(**names)
        return [
            {"role": "user", "content": self._asked(row, shown, prompt)},
            {"role": "assistant", "content": self._answer(row, way, text, names, rng)},
        ]

    def _asked(self, row: dict, shown: str, prompt: str) -> list[dict]:
        if row.get("audio") is None:
            both = (shown, prompt) if self.audio_first else (prompt, shown)
            return [{"type": "text", "text": " ".join(filter(None, both))}]
        parts = [sound(row), {"type": "text", "text": prompt}] if prompt else [sound(row)]
        return parts if self.audio_first else parts[::-1]

    def _answer(self, row: dict, way: str, text: str, names: dict, rng) -> str:
        if way == "recognise":
            return text
        several = translations(row)
        drawn = several[int(rng.integers(len(several))) if rng is not None else 0]
        return drawn if way == "direct" else text + self.marker.format(**names) + drawn

    def _names(self, row: dict) -> dict[str, str]:
        """Names of the two languages; a row must have those that are wanted, and not swapped."""
        of_row = {"source": row.get("lang"), "target": row.get("translation_lang")}
        wanted = {side: getattr(self, side) or of_row[side] for side in of_row}
        for side, key in (("source", "lang"), ("target", "translation_lang")):
            if not wanted[side]:
                raise ValueError(f"no {key!r} in its row; write it there or set [task] {side}")
        codes = {side: languages.code(code) for side, code in wanted.items()}
        there = {
            side: languages.code(code) if code else codes[side] for side, code in of_row.items()
        }
        if there != codes:
            swapped = there == {"source": codes["target"], "target": codes["source"]}
            hint = "they are swapped" if swapped else "another corpus, or another source and target"
            raise ValueError(
                f"it is {there['source']} with a translation into {there['target']}, but the task "
                f"translates {codes['source']} into {codes['target']}: {hint}"
            )
        if codes["source"] == codes["target"]:
            raise ValueError(f"'lang' and 'translation_lang' are one language, {codes['source']!r}")
        return {side: languages.name(code) for side, code in codes.items()}

    def reference(self, row: dict):
        """Return what an answer is scored against: a text, or several; None where there is none."""
        if self.way == "recognise":
            return row.get("text")
        if row.get("translations") is None and row.get("translation") is None:
            return None
        several = translations(row)
        return several if len(several) > 1 else several[0]

    def read(self, answer: str, row: dict) -> dict[str, str]:
        """Split an answer into what is scored (`hyp`) and, of a chain, the `transcript`.

        Beside a translation stands its `source`, which some metrics want. A chain without its
        marker is a transcript that was never translated: `hyp` is empty.
        """
        if self.way == "recognise":
            return {"hyp": answer}
        source = {"source": row["text"]} if row.get("text") else {}
        if self.way == "direct":
            return {"hyp": answer, **source}
        marker = self.marker.format(**self._names(row)).strip()
        # the first marker: what follows is the translation, even if it names the language again
        transcript, _, translation = answer.partition(marker)
        return {"hyp": translation.strip(), "transcript": transcript.strip(), **source}


def translations(row: dict) -> list[str]:
    """Return the translations of a row.

    Raises:
        ValueError: there is none.
    """
    texts = row.get("translations") or [row.get("translation")]
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError("no 'translation' in its row; wanted a text, or 'translations', a list")
    return texts
