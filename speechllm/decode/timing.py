"""Words of answers with their times and confidence, from the pass that gave the answers.

    answers = Timer(system, model)(result, answers)       # the same ones, each with `words`

Times are those of the model's CTC head (`models/heads/ctc.py`), whatever it spells with. A word's
confidence is its probability after all that stands before it, the product over its tokens; one pass
of the LLM over whole answers gives these, whatever the search was.

M sounds, L steps of the head, V its units.
"""

from dataclasses import replace

import numpy as np
import torch

from speechllm.data.batch import IGNORE, Batch, Kind, positions_of
from speechllm.decode import align
from speechllm.decode.answer import Answer
from speechllm.decode.heard import head_of
from speechllm.decode.transcript import Word, split
from speechllm.models.forward import Pass
from speechllm.models.model import SpeechLLM
from speechllm.models.system import System


class Timer:
    """See the module docstring.

    `why` says why there are no times, "" where there are.
    """

    def __init__(self, system: System, model: SpeechLLM):
        self._tokenizer, self._rate = system.tokenizer, system.extractor.frame_rate_hz
        self._head, self.why = None, ""
        try:
            self._head = head_of(model)
        except ValueError as error:
            self.why = str(error).partition(";")[0].partition(", or decode")[0]
        else:
            drops = getattr(getattr(model.adapter, "config", None), "drops", False)
            if self._head.config.on == "adapter" and drops:
                self.why = "the CTC head reads soft tokens, which stand at no even distance"

    @torch.no_grad()
    def __call__(self, result: Pass, answers: list[Answer]) -> list[Answer]:
        """Put the words in; answers that are not about one sound each stay as they are."""
        batch = result.batch
        alone = batch.slots[:, 0].tolist() == list(range(len(answers)))
        if self.why or not alone or "audio" not in batch.media:
            return answers
        sure = probabilities(result, answers, self._tokenizer.pad_token_id)
        emissions = self.emissions(result)
        return [
            replace(answer, words=self._words(answer, *emission, own))
            for answer, emission, own in zip(answers, emissions, sure, strict=True)
        ]

    def emissions(self, result: Pass) -> list[tuple[np.ndarray, float]]:
        """Give log-probabilities (L, V + 1), blank last, of each sound, and seconds a step."""
        logits, lengths = self._head(result)
        log_probs = logits.float().log_softmax(-1).cpu().numpy()
        frames = result.batch.media["audio"].lengths.tolist()
        return [
            (one[:n], n_frames / self._rate / n)
            for one, n, n_frames in zip(log_probs, lengths.tolist(), frames, strict=True)
        ]

    def _words(
        self, answer: Answer, log_probs: np.ndarray, step_s: float, sure
    ) -> tuple[Word, ...]:
        """Align an answer; no words where it has more units than the head has steps."""
        texts = split(answer.text)
        groups = align.grouped(answer.ids, self._text)
        if len(groups) != len(texts):
            return ()
        units = self.units(texts) or [[answer.ids[i] for i in group] for group in groups]
        between = self._head.letters.find(" ") if " " in self._head.letters else None
        spans = align.spoken(log_probs, units, self._head.blank, between)
        if spans is None:
            return ()
        seconds = [span and (span[0] * step_s, span[1] * step_s) for span in spans]
        confidences = [float(np.exp(sure[group].sum())) for group in groups]
        return align.timed(texts, seconds, confidences, len(log_probs) * step_s)

    def units(self, texts: list[str]) -> list[list[int]]:
        """Spell words in the head's units; nothing where these are the LLM's tokens."""
        alphabet = self._head.alphabet
        return [alphabet.spell(text) for text in texts] if alphabet else []

    def spellings(self, text: str) -> list[list[int]]:
        """Spell a word or phrase in the head's units, as within a text and at its beginning."""
        if alphabet := self._head.alphabet:
            return [alphabet.spell(text)]
        encode = self._tokenizer.encode
        return [encode(form, add_special_tokens=False) for form in (f" {text}", text)]

    def _text(self, ids) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=True)


def probabilities(result: Pass, answers: list[Answer], pad: int) -> list[np.ndarray]:
    """Give the log-probability of each token of each answer, (S,) each, by one pass of the LLM."""
    ids = [answer.ids for answer in answers]
    if not any(ids):
        return [np.zeros(0)] * len(ids)
    again = result.again(_followed(result.batch, ids, pad))
    scores = again.logits.float().log_softmax(-1).gather(1, again.targets[:, None])[:, 0]
    return [part.cpu().numpy() for part in scores.split([len(one) for one in ids])]


def _followed(batch: Batch, ids: list[list[int]], pad: int) -> Batch:
    """Let each row of prompts be followed by an answer, shorter ones filled up on the right."""
    size, device = max(map(len, ids)), batch.ids.device
    rows = torch.tensor([one + [pad] * (size - len(one)) for one in ids], device=device)
    there = torch.tensor([[1] * len(one) + [0] * (size - len(one)) for one in ids], device=device)
    segments = torch.cat([batch.segments, there.to(batch.segments.dtype)], 1)
    kinds = torch.where(there > 0, int(Kind.ANSWER), int(Kind.PAD)).to(batch.kinds.dtype)
    labels = rows.masked_fill(there == 0, IGNORE)
    return replace(
        batch,
        ids=torch.cat([batch.ids, rows], 1),
        labels=torch.cat([torch.full_like(batch.labels, IGNORE), labels], 1),
        segments=segments,
        positions=positions_of(segments),
        kinds=torch.cat([batch.kinds, kinds], 1),
    )
