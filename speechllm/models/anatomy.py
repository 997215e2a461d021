"""What a preset is made of: the five nouns with their shapes, and parameters by part, no weights.

The model is built on the meta device at full size from the shapes of its checkpoints (`tiny.bare`),
so that an LLM of 70 B is counted in seconds on a laptop.
"""

import itertools
from dataclasses import dataclass

import torch

from speechllm import config, media
from speechllm.models import tiny
from speechllm.models.alphabet import LETTERS
from speechllm.models.branch import NOUNS
from speechllm.models.model import SpeechLLM
from speechllm.models.system import System

PARTS = ("encoder", "adapter", "fusion", "llm")
WINDOW_S = 30.0
VOCAB = 1000  # assumed for an LLM from nothing: its tokenizer is not a part of the preset


class Vocabulary:
    """A tokenizer's size, where nothing else of it is wanted; its pieces are made up."""

    def __init__(self, size: int):
        self.size = size

    def __len__(self) -> int:
        return self.size

    def get_vocab(self) -> dict[str, int]:
        """Number letters, then pairs, threes and so on, as far as the size goes."""
        words = (itertools.product(LETTERS[1:-1], repeat=n) for n in itertools.count(2))
        pieces = itertools.chain(LETTERS, map("".join, itertools.chain.from_iterable(words)))
        return {piece: i for i, piece in enumerate(itertools.islice(pieces, self.size))}


def outline(preset: config.Preset, vocab_size: int = VOCAB) -> tuple[System, SpeechLLM]:
    """Build a preset at full size on the meta device.

    Args:
        preset: any; its checkpoints need not be there.
        vocab_size: of the tokenizer, where the LLM is made from nothing and does not say.

    Raises:
        ValueError: a checkpoint of unknown shape, parts that do not fit together.
    """
    from transformers import AutoConfig

    bare, llm = tiny.bare(preset), preset.table("llm")
    pretrained, size = llm.get("pretrained"), llm.get("config", {}).get("vocab_size", vocab_size)
    system = System(bare, Vocabulary(size))
    if pretrained:
        family = AutoConfig.for_model(**system.llm.config)
        system = System(system.preset, Vocabulary(family.vocab_size))
    with torch.device("meta"):
        return system, system.build()


def count(model: SpeechLLM) -> dict[str, int]:
    """Count the parameters of each part; LoRA and each further branch stand by themselves."""
    counts = dict.fromkeys((*PARTS, "lora"), 0)
    for name, parameter in model.named_parameters():
        place = name.split(".")[: 2 if name.startswith("branch.") else 1]
        part = "lora" if "lora_" in name else ".".join(place)
        counts[part] = counts.get(part, 0) + parameter.numel()
    return counts


@dataclass(frozen=True)
class Lengths:
    """Lengths on the way of `seconds` of audio; what each stands for is in the design's letters."""

    seconds: float
    n_samples: int
    frames: int
    states: int
    tokens: int
    positions: int

    @classmethod
    def of(cls, system: System, seconds: float) -> "Lengths":
        """Compute all lengths from the system's integer functions; no tensor is made."""
        samples = round(seconds * system.extractor.sampling_rate)
        frames = system.extractor.count(samples)
        states = system.encoder.count(frames)
        tokens = system.adapter.count(states)
        return cls(seconds, samples, frames, states, tokens, system.fusion.count(tokens))


def rate_hz(system: System) -> float | None:
    """Give the soft tokens a second, over the 30 s that an encoder bound to windows fills.

    None where the system hears nothing.
    """
    if "audio" not in system.branches:
        return None
    return Lengths.of(system, WINDOW_S).tokens / WINDOW_S


def name_of(preset: config.Preset, noun: str) -> str:
    """Say which part a preset has: its name, for an LLM the checkpoint or the family.

    Of a system without sound it is that of its first medium.
    """
    table = preset.table(noun)
    if noun in NOUNS and not table and (ways := preset.table("branch")):
        table = next(iter(ways.values())).get(noun, {})
    nothing = f"{table.get('config', {}).get('model_type')} from nothing"
    return table.get("name") or table.get("pretrained", "").split("/")[-1] or nothing


def drawing(preset: config.Preset, system: System, model: SpeechLLM, seconds: float = 10.0):
    """Draw the way of `seconds` of audio as (noun, which, shape of what comes out) rows.

    Other media have a row each, of an ordinary one. An adapter that drops what says nothing gives
    at most that many soft tokens.

    Args:
        preset: what `system`, its `outline`, was made of.
        system, model: from `outline`.
        seconds: of audio.
    """
    text = model.llm.config.get_text_config()
    layers = f"{text.num_hidden_layers} layers of {model.width}, {model.vocab_size} entries"
    llm, others = ("llm", name_of(preset, "llm"), layers), _others(system, model.width)
    if "audio" not in system.branches:
        return [*others, ("fusion", name_of(preset, "fusion"), ""), llm]
    at, front = Lengths.of(system, seconds), system.extractor.dim
    most = "at most " if getattr(system.adapter, "drops", False) else ""
    frames = f"({at.frames}, {front})" if front > 1 else f"({at.frames},)"
    slots = f"{most}{at.positions} text positions" if at.positions > 1 else "1 text position"
    rows = {
        "wave": f"({at.n_samples},)",
        "frontend": frames,
        "encoder": f"({at.states}, {system.encoder.dim})",
        "adapter": f"{most}({at.tokens}, {model.width})",
        "fusion": slots,
    }
    which = {noun: name_of(preset, noun) for noun in rows} | {"wave": f"{seconds:g} s"}
    audio = [(noun, which[noun], shape) for noun, shape in rows.items()]
    return [*audio[:4], *others, audio[4], llm]


def _others(system: System, width: int) -> list[tuple]:
    """Draw the way of an ordinary medium of each further branch, a row a branch."""
    rows = []
    for kind, branch in system.branches.items():
        if branch.place:
            n = media.of(kind).usual(branch.front)
            states, tokens = branch.encoder.count(n), branch.count(n)
            shapes = ((n, branch.front.dim), (states, branch.encoder.dim), (tokens, width))
            names = (_called(branch.tables[noun]) for noun in ("encoder", "adapter"))
            rows.append((kind, ", ".join(names), " -> ".join(map(str, shapes))))
    return rows


def _called(table: dict) -> str:
    """Name a part, and in brackets the encoders of which it is made."""
    if "branch" not in table:
        return table["name"]
    families = [one.get("frame", {}).get("family", "") for one in table["branch"]]
    names = [one.get("name", "frames") for one in table["branch"]]
    inner = [" ".join(filter(None, pair)) for pair in zip(families, names, strict=True)]
    return f"{table['name']} ({', '.join(inner)})"
