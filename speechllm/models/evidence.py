"""What a recogniser of transformers knows of where its words are, and how sure it is of them.

Whisper: the attention of those heads that its checkpoint names (`alignment_heads`), which look at
where a token is said, as in openai-whisper's word times. They are read in one pass of the decoder
over the whole text, row by row, so that an hour's memory is one row's. CTC: the log-probabilities
of each step.

L steps, S tokens, V units.
"""

from dataclasses import dataclass

import numpy as np
import torch

FRAMES_A_STEP = 2  # Whisper's encoder halves its frames


@dataclass(frozen=True)
class Evidence:
    """Where and how sure.

    Attributes:
        ids: the tokens of the text, specials left out, (S,).
        log_probs: of each of them, (S,).
        scores: (L, S), how well a step fits a token; or of CTC (L, V), log-probabilities.
        step_s: seconds of a step.
        blank: of CTC, the number of the blank; None where `scores` are of the tokens.
    """

    ids: list[int]
    log_probs: np.ndarray
    scores: np.ndarray
    step_s: float
    blank: int | None = None


def missing(recogniser) -> str:
    """Say why a recogniser does not know where its words are, "" where it does."""
    if recogniser.parts.kind == "ctc" or heads(recogniser.model):
        return ""
    return (
        f"{recogniser.parts.name}: its generation_config.json names no alignment_heads; they have "
        "a share of the speech by their letters"
    )


def heads(model) -> list[tuple[int, int]]:
    """List (layer, head) of those whose attention says where a token is."""
    return [tuple(pair) for pair in getattr(model.generation_config, "alignment_heads", None) or []]


def of_whisper(
    recogniser, states, ids: list[list[int]], waves: list[np.ndarray], lang: str, task: str, prompt
) -> list[Evidence | None]:
    """Read the attention of texts, one after another; None where nothing was said.

    Args:
        recogniser: a Whisper.
        states: what its encoder gives, (B, 1500, D) first.
        ids: of each text, as `generate` gives them.
        waves: (N,) each, whose ends are the last steps.
        lang, task, prompt: what was asked; lang "" is what the model hears.
    """
    model = recogniser.model
    lang = lang if recogniser.multilingual else None
    prompts = _prompts(model, states, lang, task, prompt)
    end = np.min(model.generation_config.eos_token_id)  # all special tokens come after it
    found: list[Evidence | None] = []
    for row, told, one, wave in zip(ids, prompts, states[0], waves, strict=True):
        said = [id for id in row if id < end]
        found.append(_attention(recogniser, one[None], told, said, wave) if said else None)
    return found


def _prompts(model, states, lang: str | None, task: str, prompt) -> list[list[int]]:
    """Give what the decoder is told before each text; lang None: it knows one language."""
    config, n = model.generation_config, len(states[0])
    told = [[] for _ in range(n)]
    if lang is not None:
        known = config.lang_to_id.get(f"<|{lang}|>")
        langs = [known] * n if known else model.detect_language(encoder_outputs=states).tolist()
        told = [[one, config.task_to_id[task]] for one in langs]
    before = [] if prompt is None else prompt.tolist()
    last = config.no_timestamps_token_id
    return [[*before, config.decoder_start_token_id, *one, last] for one in told]


def _attention(recogniser, states, prompt: list[int], said: list[int], wave) -> Evidence:
    model, front = recogniser.model, recogniser.parts.front
    places = list(range(len(prompt), len(prompt) + len(said)))
    ids = torch.tensor([[*prompt, *said]], device=states.device)
    result = _attended(model, states, ids[:, :-1])  # nothing is predicted behind the last
    before = torch.tensor([place - 1 for place in places])  # where a token is predicted
    targets = ids[0, places][:, None]
    log_probs = result.logits[0, before].float().log_softmax(-1).gather(1, targets)[:, 0]
    step = FRAMES_A_STEP * front.hop_length
    n_steps = min(max(-(-len(wave) // step), len(places)), states.shape[1])
    weights = torch.stack([result.cross_attentions[a][0, b, before] for a, b in heads(model)])
    weights = weights[:, :, :n_steps].float()  # (heads, S, L)
    mean, deviation = weights.mean(1, keepdim=True), weights.std(1, keepdim=True, correction=0)
    if len(places) > 1:  # what a head looks at all the time says nothing of one token
        weights = (weights - mean) / deviation.clamp(min=1e-9)
    smooth = _median(weights, model.config.median_filter_width).mean(0)
    return Evidence(said, log_probs.cpu().numpy(), smooth.T.cpu().numpy(),
                    step / front.sampling_rate)  # fmt: skip


def of_ctc(log_probs: torch.Tensor, ids: torch.Tensor, blank: int, seconds: float) -> Evidence:
    """Take the steps of one sound, (L, V), and the best path's units, (L,).

    A unit is as sure as it is at its best step.
    """
    kept = torch.unique_consecutive(ids)
    runs = torch.unique_consecutive(ids, return_inverse=True)[1]
    own = log_probs.gather(1, ids[:, None])[:, 0]
    best = torch.full((len(kept),), -torch.inf).scatter_reduce(0, runs.cpu(), own.cpu(), "amax")
    spoken = (kept != blank).cpu()
    return Evidence(kept.cpu()[spoken].tolist(), best[spoken].numpy(), log_probs.cpu().numpy(),
                    seconds / len(ids), blank)  # fmt: skip


def _attended(model, states: torch.Tensor, ids: torch.Tensor):
    """Pass a text through the decoder with its attention written out."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")  # others do not give the weights
    try:
        return model(
            encoder_outputs=(states,),
            decoder_input_ids=ids,
            output_attentions=True,
            use_cache=False,
        )
    finally:
        model.set_attn_implementation(before)


def _median(values: torch.Tensor, width: int) -> torch.Tensor:
    """Take the median of `width` steps around each; the ends are mirrored."""
    if width < 2 or values.shape[-1] <= width // 2:
        return values
    padded = torch.nn.functional.pad(values, (width // 2, width // 2), mode="reflect")
    return padded.unfold(-1, width, 1).median(-1).values
