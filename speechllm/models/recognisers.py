"""Recognisers of transformers, by Hub name or folder: sequence to sequence, or CTC, as they are.

    recogniser = load("openai/whisper-tiny.en")
    recogniser([wave, other], ["en", "en"])        # waves (N,) float32 -> one text each

Processor, network and search are transformers' own, with the settings that the checkpoint brings.
What is added: what cannot be right is refused before any weight is read, and a text never depends
on what else is in its batch. Where a processor gives no mask (group-norm wav2vec2) each sound is
heard alone; Whisper's window is 30 s for all, and longer sounds go by its own long form.
"""

import json
from collections.abc import Sequence

import numpy as np
import torch

from speechllm import files
from speechllm.models import attention, hub, whispers
from speechllm.models.evidence import Evidence, missing, of_ctc
from speechllm.models.fingerprint import fingerprint
from speechllm.models.packed import pack
from speechllm.models.recogniser_parts import CTC, SEQ2SEQ, Parts, inspect

UNSET = 20  # tokens that transformers' generate gives where a checkpoint sets no bound
TOKENS_PER_S, SPARE = 25.0, 16  # bound an answer there: no language is spoken faster
IGNORED = (r".*masked_spec_embed$",)  # only training reads it, and some checkpoints leave it out


class Recogniser:
    """A network and its processor.

    Args:
        parts: from `inspect`.
        model: its network.
        packed: lay its linear layers out for float32 on a CPU (`packed.py`).
        guarded: a Whisper's loops and guesses are drawn anew, silence is nothing (`watched.py`).

    Attributes:
        window_s: seconds that each sound is brought to; 0: its own length.
        alone: whether each sound must be heard by itself.
    """

    def __init__(
        self, parts: Parts, model: torch.nn.Module, packed: bool = True, guarded: bool = False
    ):
        self.guarded = guarded and parts.kind == SEQ2SEQ
        self._weights = fingerprint(model)  # before they are laid out
        self.parts, self.model = parts, pack(model.eval()) if packed else model.eval()
        front = parts.front
        self.sampling_rate = front.sampling_rate
        self.window_s = float(getattr(front, "chunk_length", None) or 0)
        maskless = not self.window_s and not getattr(front, "return_attention_mask", False)
        self.alone = maskless or (parts.kind == CTC and self._steps is None)

    @property
    def precision(self) -> str:
        """What it computes in, "fp32" or "bf16"."""
        return "bf16" if self.model.dtype == torch.bfloat16 else "fp32"

    @property
    def identity(self) -> dict:
        """All that a text depends on besides the sound."""
        settings = self.model.generation_config if self.parts.kind == SEQ2SEQ else None
        return {
            "weights": self._weights,
            "class": type(self.model).__name__,
            "front": _digest(self.parts.front.to_dict()),
            "vocabulary": _digest(sorted(self.parts.tokenizer.get_vocab().items())),
            "generation": settings.to_diff_dict() if settings else {},
            "precision": self.precision,
            **({"guarded": True} if self.guarded else {}),
        }

    @torch.inference_mode()
    def __call__(
        self,
        waves: Sequence[np.ndarray],
        langs: Sequence[str] = (),
        task: str = "transcribe",
        prompt: torch.Tensor | None = None,
    ) -> list[str]:
        """Write what is said in each wave, (N,) at `sampling_rate`.

        Args:
            waves: at least one.
            langs: language of each, which a multilingual Whisper is told; "" lets it find out.
            task: "transcribe", or "translate" for a multilingual Whisper: into English.
            prompt: of `whispers.prompt`, for a Whisper.

        Raises:
            ValueError: the checkpoint's own processor or search refuses something.
            FloatingPointError: the network computes no numbers.
        """
        return [text for text, _ in self._each(waves, langs, task, prompt, False)]

    @torch.inference_mode()
    def evidence(
        self,
        waves: Sequence[np.ndarray],
        langs: Sequence[str] = (),
        task: str = "transcribe",
        prompt: torch.Tensor | None = None,
    ) -> list[tuple[str, Evidence | None]]:
        """Write what is said as a call does, and where; None where that is not known.

        Raises:
            ValueError, FloatingPointError: as a call.
        """
        return self._each(waves, langs, task, prompt, not missing(self))

    def _each(self, waves: Sequence, langs, task: str, prompt, where: bool) -> list[tuple]:
        langs = list(langs) or [""] * len(waves)
        answers: list[tuple] = [("", None)] * len(waves)
        for chosen in self._apart(waves, langs):
            try:
                heard = [waves[i] for i in chosen]
                found = self._hear(heard, langs[chosen[0]], task, prompt, where)
            except (TypeError, RuntimeError, KeyError, IndexError) as error:
                raise ValueError(f"{self.parts.name}: {hub.one_line(error)}") from error
            for i, (text, one) in zip(chosen, found, strict=True):
                answers[i] = text.strip(), one
        return answers

    def _apart(self, waves: Sequence, langs: Sequence[str]) -> list[list[int]]:
        """Group what can be heard in one pass: of one language, within a window or beyond it."""
        groups: dict = {}
        for i, (wave, lang) in enumerate(zip(waves, langs, strict=True)):
            beyond = bool(self.window_s) and len(wave) > self.window_s * self.sampling_rate
            groups.setdefault((lang, beyond, i if self.alone or beyond else -1), []).append(i)
        return list(groups.values())

    def _hear(self, waves: list[np.ndarray], lang: str, task: str, prompt, where) -> list[tuple]:
        if self.parts.kind == CTC:
            return self._ctc(self.frames(waves, padding=True), waves, where)
        if not self.window_s:
            return self.read(self.generated(self.frames(waves, padding=True), waves))
        return whispers.hear(self, waves, lang, task, prompt, where)

    def read(self, ids) -> list[tuple]:
        """Give the text of ids (B, T) of any lengths, and no evidence of it."""
        texts = self.parts.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [(text, None) for text in texts]

    @property
    def multilingual(self) -> bool:
        """Whether it may be told the language."""
        return bool(getattr(self.model.generation_config, "is_multilingual", False))

    def frames(self, waves: list[np.ndarray], **how) -> dict:
        """Give what the processor makes of waves, for the network."""
        found = self.parts.front(
            waves, sampling_rate=self.sampling_rate, return_tensors="pt", **how
        )
        to, dtype = self.model.device, self.model.dtype
        return {k: v.to(to, dtype if v.is_floating_point() else None) for k, v in found.items()}

    def generated(self, frames: dict, waves: list[np.ndarray], **how):
        """Search as the checkpoint says; where it sets no bound, by the length of the waves."""
        config = self.model.generation_config
        unset = config.max_new_tokens is None and config.max_length in (None, UNSET)
        if unset and not self.window_s:
            seconds = max(map(len, waves)) / self.sampling_rate
            how["max_new_tokens"] = int(seconds * TOKENS_PER_S) + SPARE
        with hub.quiet():
            return self.model.generate(**frames, **how)

    def _ctc(self, frames: dict, waves: list[np.ndarray], where: bool) -> list[tuple]:
        logits = self.model(**frames).logits
        self.refuse_no_numbers(logits)
        ids = logits.argmax(-1)
        steps = [ids.shape[1]] * len(ids)
        if len(ids) > 1:  # never without a mask and without `_steps`: then each is alone
            steps = self._steps(frames["attention_mask"].sum(-1)).tolist()
        read, found = self.parts.tokenizer.decode, []
        for row, n, scores, wave in zip(ids, steps, logits, waves, strict=True):
            text, place = read(row[:n], skip_special_tokens=True), None
            if where and n:
                log_probs, seconds = (
                    scores[:n].float().log_softmax(-1),
                    len(wave) / self.sampling_rate,
                )
                place = of_ctc(log_probs, row[:n], self.parts.config.pad_token_id, seconds)
            found.append((text, place))
        return found

    @property
    def _steps(self):
        """The network's own function of how many steps come of so many frames; None: it has none.

        What it says of padding is not to be read.
        """
        names = "_get_feat_extract_output_lengths", "_get_subsampling_output_length"
        inner = getattr(self.model, "encoder", self.model)
        places = [(one, name) for one in (self.model, inner) for name in names]
        return next((getattr(one, name) for one, name in places if hasattr(one, name)), None)

    def refuse_no_numbers(self, values: torch.Tensor) -> None:
        """Refuse what a network has computed (FloatingPointError) where it is not finite."""
        if not torch.isfinite(values).all():
            raise FloatingPointError(f"{self.parts.name}: the network computes no numbers")


def load(
    name: str,
    device: str = "cpu",
    packed: bool = True,
    precision: str = "fp32",
    guarded: bool = False,
) -> Recogniser:
    """Load a recogniser for use.

    Args:
        name: Hub name or folder.
        device: where it computes.
        packed, guarded: as of `Recogniser`.
        precision: of the weights and of what is computed, "fp32" or "bf16".

    Raises:
        ValueError: as `inspect`; keys missing, too many or of another shape.
    """
    import transformers

    parts = inspect(name)
    names = {SEQ2SEQ: "AutoModelForSpeechSeq2Seq", CTC: "AutoModelForCTC"}
    model = hub.load_weights(getattr(transformers, names[parts.kind]), name, parts.config, IGNORED)
    if precision == "bf16":
        attention.use(model.to(torch.bfloat16).config)
    return Recogniser(parts, model.to(device), packed, guarded)


def _digest(values) -> str:
    return files.digest(json.dumps(values, sort_keys=True, default=str).encode())
