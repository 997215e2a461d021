"""How much memory training and decoding will want, before anything of that size is made.

Weights, gradients and the optimiser's state, with the float32 masters of what learns in 16 bits,
are counted on the meta device. What a pass keeps between them is counted too, by a pass of the real
code on shapes alone (`pretend.py`). Where that cannot tell, and for decoding, it is estimated: the
tiny form, whose lengths are those of the real system, runs once on a batch of the asked size and
says how many positions go through each layer and which outputs wait for a gradient; each is then as
wide as the real layer. Tests hold both against what is measured.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import nn

from speechllm import media
from speechllm.data import manifest
from speechllm.data.batch import Batch
from speechllm.data.chat import Builder
from speechllm.data.collate import collate
from speechllm.data.examples import Example
from speechllm.models import sliced
from speechllm.models.system import System
from speechllm.train import optim, pretend
from speechllm.train.context import Run
from speechllm.train.layers import match, trace, width_of
from speechllm.train.phases import Learner, Phase, phases

TOKENS_PER_S = 3.0  # of an answer: English speech in a large vocabulary
PROMPT = 30  # tokens
KEPT = 1.6  # a layer's output, and what activation and residual sum keep of it
LIVE = 3.5  # of the widest layer's output while it runs: input, output, activation
FLOAT = 4  # bytes of a gradient, of each of AdamW's moments, of a master
WIDE = 8  # bytes that a logit costs besides: a float copy and its gradient


@dataclass(frozen=True)
class Estimate:
    """Bytes by purpose."""

    weights: int = 0
    gradients: int = 0
    optimizer: int = 0
    activations: int = 0
    cache: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.cache


def each_phase(system: System, model: nn.Module) -> Iterator[tuple[Phase, Learner]]:
    """Yield each phase with the learner that has begun it; of the real system on the meta device.

    Raises:
        ValueError: no phases, a pattern or objective that does not fit the model.
    """
    learner, trained = Learner(model), []
    for phase in phases(system.preset):
        where = f"{system.preset.source} phase {phase.name}"
        trained = [*trained, list(phase.train)]
        with next(model.parameters()).device:
            learner.check(phase, where)
            learner.begin(phase, where, trained)
        yield phase, learner


def batch_of(system: System, phase: Phase, rows: int, seconds: float) -> Batch:
    """Make a batch as the phase gets it: `rows` times silence with a prompt and an answer.

    A phase with a task of its own, such as text alone, gets what that makes of a row. A system that
    hears nothing gets its first medium, with nothing in it.
    """
    said = max(int(TOKENS_PER_S * seconds), 1)
    if "audio" not in system.branches:
        example = _of_nothing(system, phase, said)
        return collate([example] * rows, system.tokenizer.pad_token_id)
    rate = system.extractor.sampling_rate
    if naming := phase.naming("audio"):
        said = naming.named(system, system.extractor(torch.zeros(round(rate * seconds)))[1])
    answer = "a" * said
    with tempfile.TemporaryDirectory() as folder:
        wave = Path(folder) / "x.wav"
        soundfile.write(wave, np.zeros(round(rate * seconds), np.float32), rate)
        content = [{"type": "audio", "audio": str(wave)}, {"type": "text", "text": "a" * PROMPT}]
        turns = [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]
        row = {"id": "x", "audio": str(wave), "duration": seconds, "text": answer}
        row |= {"chosen": answer, "rejected": answer}
        row |= {} if phase.task else {"messages": turns}
        manifest.write(Path(folder) / "x.jsonl", [row])
        rows_file = manifest.Manifest(Path(folder) / "x.jsonl")
        run = Run(system=system, manifests={}, out=Path(folder), accelerator=None)
        example = run.examples(phase, rows_file, learning=False).make(0, 0)
    return collate([example] * rows, system.tokenizer.pad_token_id)


def _of_nothing(system: System, phase: Phase, said: int) -> Example:
    """Make an example of an ordinary medium in which nothing is, with a prompt and an answer."""
    kind, branch = next(iter(system.branches.items()))
    x, n = media.of(kind).nothing(branch.front)
    content = [{"type": kind}, {"type": "text", "text": "a" * PROMPT}]
    naming = phase.naming(kind)
    answer = "a" * (naming.named(system, n) if naming else said)
    turns = [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]
    encoded = Builder.of(system).build(turns, [system.soft_tokens(n, kind)])
    return Example({"id": "x"}, encoded, [x], [n])


def training(small: Learner, whole: Learner, phase: Phase, batch: Batch, bf16: bool) -> Estimate:
    """Estimate a phase's largest moment: the end of a forward pass, the optimiser's state there.

    Args:
        small: of the tiny form; has begun the phase.
        whole: of the real system on the meta device; has begun the same phase.
        phase: whose objectives are computed.
        batch: from `batch_of` the tiny form.
        bf16: whether the pass runs under autocast.
    """
    in_slices = sliced.fits(small.model.llm)  # found out before layers are counted
    whole.model.llm.__dict__["sliced"] = in_slices
    learning = [p for p in whole.parameters() if p.requires_grad]
    gradients = sum(FLOAT * p.numel() for p in learning)
    masters = sum(FLOAT * p.numel() for p in learning if optim.narrow(p))
    copies = any(getattr(one, "copies", False) for one in whole.objectives.values())
    copied = copies * sum(_bytes(p) for p in learning)
    activations = None
    if not copies:  # a copy would keep tensors that have no numbers
        activations = pretend.peak(whole, lambda: losses(whole, phase, batch), bf16)
    if activations is None:
        activations = _by_layers(small, whole, phase, batch, bf16)
    return Estimate(_weights(whole) + copied, gradients, 2 * gradients + masters, activations)


def _by_layers(small: Learner, whole: Learner, phase: Phase, batch: Batch, bf16: bool) -> int:
    """Estimate what a pass keeps layer by layer: to a factor of 2, attention's scores left out."""
    leaves = trace(small, lambda: losses(small, phase, batch))
    ran = list(match(leaves, whole))
    kept = sum(_size(layer, n, bf16) for layer, n, waits in ran if waits)
    logits = sum(n * width_of(layer) for layer, n, waits in ran if waits and _wide(layer, whole))
    # what learns nothing runs first, before anything is kept
    first = LIVE * max((_size(layer, n, bf16) for layer, n, waits in ran if not waits), default=0)
    live = LIVE * max((_size(layer, n, bf16) for layer, n, waits in ran if waits), default=0)
    slices = sliced.fits(small.model.llm) * _slice(batch, whole, bf16)
    return round(max(first, KEPT * kept + WIDE * logits + slices + live) + _media(batch))


def decoding(small: nn.Module, whole: nn.Module, batch: Batch, bf16: bool) -> Estimate:
    """Estimate greedy decoding of a batch: weights, the cache at its end, the widest layer.

    Args:
        small, whole: SpeechLLM of the tiny form, and of the real system on the meta device.
        batch: from `batch_of` the tiny form; its answer is as long as what is generated.
        bf16: whether the pass runs under autocast.
    """
    with torch.no_grad():
        leaves = trace(small, lambda: small(batch).logits)
    widest = max(_size(layer, n, bf16) for layer, n, _ in match(leaves, whole))
    live = LIVE * widest + _media(batch)
    text = whole.llm.config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    bits = 2 if bf16 else next(whole.llm.parameters()).element_size()
    cache = 2 * text.num_hidden_layers * heads * size * batch.ids.numel() * bits
    return Estimate(_weights(whole), activations=round(live), cache=cache)


def losses(learner: Learner, phase: Phase, batch: Batch) -> list[torch.Tensor]:
    """Compute the sums of a phase's objectives over a batch."""
    result = learner.model(batch)
    return [learner.objectives[name](result)[0] for name in phase.objectives]


def _size(layer: nn.Module, positions: int, bf16: bool) -> int:
    """Give the bytes of a layer's output; norms give float32."""
    size = 2 if bf16 and layer.weight.ndim > 1 else layer.weight.element_size()
    return positions * width_of(layer) * size


def _slice(batch: Batch, learner: Learner, bf16: bool) -> int:
    """Give the bytes of the logits that cross entropy has at a time."""
    logits = int(batch.wanted.sum()) * learner.model.vocab_size
    return min(logits, sliced.SLICE) * (2 if bf16 else FLOAT)


def _media(batch: Batch) -> int:
    """Give the bytes of the media: the first layer works on a copy."""
    return sum(_bytes(media.x) for media in batch.media.values())


def _wide(layer: nn.Module, learner: Learner) -> bool:
    """Say whether a layer gives logits over the LLM's vocabulary."""
    return width_of(layer) >= learner.model.vocab_size


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _weights(module: nn.Module) -> int:
    return sum(_bytes(t) for t in (*module.parameters(), *module.buffers()))
