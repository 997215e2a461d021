"""What a model's CTC head hears in a batch: the text by itself, and the score of others' texts.

heard = Heard.of(result, tokenizer, spelling)
heard.answers(tokenizer)                # the best path's text of each row
heard.joint(settings, stops)            # a filter: LLM and CTC together (`decode/joint.py`)
heard.ranked(row, answer, settings)     # an answer and its alternatives, in a new order
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

import torch

from speechllm.decode.answer import Answer
from speechllm.decode.draft import Draft
from speechllm.decode.joint import Joint
from speechllm.decode.prefix import NEVER, Prefixes
from speechllm.decode.spelling import Letters, Pieces, Subwords
from speechllm.models.model import Pass, SpeechLLM

AHEAD = 1.0  # nats that a language model which hears nothing wants for a letter, or more


def head_of(model: SpeechLLM):
    """Give the CTC head of a model, of several the one called "ctc", or the first.

    Raises:
        ValueError: it has none, or one that no phase has trained.
    """
    if there := sorted(name for name in getattr(model, "heads", ()) if name.startswith("ctc")):
        return model.heads[there[0]]
    if hasattr(getattr(model, "adapter", None), "ctc_logits"):
        raise ValueError(
            "the CTC head in this model's adapter was never trained: train a phase with "
            'objectives = { ctc = { on = "posterior" } }, or decode by the LLM alone (--by llm)'
        )
    raise ValueError(
        "this model has no CTC head: a phase with objectives = { ctc = {} } trains one; decode by "
        "the LLM alone (--by llm, --ctc-weight 0)"
    )


def spelling_of(model: SpeechLLM, tokenizer, settings) -> Pieces:
    """Say what the LLM's pieces are in the units of a model's CTC head.

    Raises:
        ValueError: as of `head_of`; CTC is to take part in each step, and cannot.
    """
    head = head_of(model)
    if head.letters:
        return Letters(tokenizer, head.letters, alone=settings.by == "fusion")
    if not head.alphabet:
        return Pieces(tokenizer)
    if settings.joint:
        raise ValueError(
            f"the CTC head spells with {len(head.alphabet.units)} pieces, and which of them a "
            "beginning is depends on the letters to come: it takes part at the end alone "
            "(--ctc-at end --num-beams 8 --num-best 8), in each step a head of letters does"
        )
    return Subwords(tokenizer, head.alphabet)


def text_of(head, units: list[int], tokenizer) -> str:
    """Read what is spelled in a head's units."""
    if head.alphabet:
        return " ".join(head.alphabet.read(units).split())
    return tokenizer.decode(units, skip_special_tokens=True).strip()


def draft_of(result: Pass, tokenizer, end: int) -> Draft | None:
    """Give what the head reads in a batch of one row as a draft; None if that is not one sound."""
    if len(result.batch.names) != 1 or result.batch.modalities != ("audio",):
        return None
    head = head_of(result.model)
    text = text_of(head, head.greedy(result)[0], tokenizer)

    def spell(words: str) -> list[int]:
        return tokenizer(words, add_special_tokens=False)["input_ids"]

    def read(ids: list[int]) -> str:
        return tokenizer.decode(ids, skip_special_tokens=True)

    return Draft(text, spell, read, end)


@dataclass(frozen=True)
class Heard:
    """What a CTC head says of each row of a batch.

    Attributes:
        prefixes: its log-probabilities.
        paths: units of each row's best path.
        texts: what these say.
        spelling: what pieces are in these units, where texts of the LLM's are to be scored.
    """

    prefixes: Prefixes
    paths: list[list[int]]
    texts: list[str]
    spelling: Pieces | None

    @classmethod
    def of(cls, result: Pass, tokenizer, spelling: Pieces | None = None) -> "Heard":
        """Hear the sounds of a pass.

        Raises:
            ValueError: a row that is not about one sound; names the utterance.
        """
        batch = result.batch
        rows = batch.slots[batch.which("audio"), 0].tolist() if "audio" in batch.media else []
        for row, name in enumerate(batch.names):
            if (n := rows.count(row)) != 1:
                raise ValueError(f"CTC reads one sound: {name} has {n} (--by llm, --ctc-weight 0)")
        head = head_of(result.model)
        logits, lengths = head(result)
        paths = head.best(logits, lengths)
        texts = [text_of(head, path, tokenizer) for path in paths]
        return cls(Prefixes(logits, lengths), paths, texts, spelling)

    def answers(self, tokenizer, length_penalty: float = 1.0) -> list[Answer]:
        """Give the text of each row's best path.

        `ids` are the LLM's for that text; the score is the text's log-probability by CTC, all its
        alignments together, by their number to the power of `length_penalty`.
        """
        answers = []
        scores = self.scores(range(len(self.paths)), [tuple(path) for path in self.paths])
        for text, score in zip(self.texts, scores, strict=True):
            ids = tokenizer(text, add_special_tokens=False)["input_ids"] if text else []
            answers.append(Answer(ids, "eos", score / max(len(ids), 1) ** length_penalty, text))
        return answers

    def scores(self, rows, texts: list[tuple[int, ...]]) -> list[float]:
        """Log-probability of texts in units, each as all that is said in its row (nats)."""
        states = self.prefixes.begin(torch.tensor(list(rows), device=self.prefixes.scores.device))
        found = self.prefixes.whole(self.prefixes.spell(states, texts)).tolist()
        return [one if one > NEVER / 2 else -torch.inf for one in found]

    def joint(self, settings, stops: Collection[int]) -> Joint:
        """Make the filter by which LLM and CTC decide together."""
        return Joint(
            self.prefixes,
            self.spelling,
            settings.ctc_weight,
            stops,
            settings.ctc_candidates,
            free_end=settings.by == "fusion",
            ahead=AHEAD * (1.0 if settings.by == "fusion" else settings.lm_weight),
        )

    def ranked(self, row: int, answer: Answer, settings) -> Answer:
        """Put an answer and its alternatives in the order of LLM and CTC together."""
        every = [replace(answer, alternatives=()), *answer.alternatives]
        by_ctc = self.scores([row] * len(every), [self.spelling.whole(one.ids) for one in every])
        scored = [
            replace(one, score=one.score + settings.ctc_weight * gain / _length(one, settings))
            for one, gain in zip(every, by_ctc, strict=True)
        ]
        first, *others = sorted(scored, key=lambda one: -one.score)
        return replace(first, alternatives=tuple(others))


def _length(answer: Answer, settings) -> float:
    """What the score of an answer was divided by."""
    return (len(answer.ids) + (answer.stop == "eos")) ** settings.length_penalty
