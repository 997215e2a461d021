"""A preset made real: the five nouns, the one length function, the tokenizer."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

import torch
from torch import nn

from speechllm import config
from speechllm.models import attention
from speechllm.models.branch import Branch, branches
from speechllm.models.llm import Config as LLMConfig
from speechllm.models.model import SpeechLLM
from speechllm.models.tokens import load_tokenizer, refuse_other


@dataclass(frozen=True)
class System:
    """Front end, encoder, adapter, fusion, LLM of a preset, as Configs; and its tokenizer."""

    preset: config.Preset
    tokenizer: object

    @classmethod
    def open(cls, preset: config.Preset, tokenizer: str | None = None) -> "System":
        """Open a preset with the tokenizer in a folder, or with that of its pretrained LLM.

        Raises:
            ValueError: neither is given; the tokenizer cannot be loaded, or is of another model
                than the pretrained LLM; as `check`.
        """
        check(preset)
        llm = preset.table("llm")
        source = tokenizer or llm.get("pretrained")
        if not source:
            raise ValueError(
                f"{preset.source}: its LLM is trained from nothing; give --tokenizer DIR"
            )
        loaded = load_tokenizer(source, llm.get("pad_token", ""))
        if tokenizer and llm.get("pretrained"):
            refuse_other(loaded, tokenizer, llm["pretrained"])
        return cls(preset, loaded)

    @cached_property
    def branches(self) -> dict[str, Branch]:
        """Front end, encoder and adapter of each medium, by medium."""
        return branches(self.preset)

    @property
    def audio(self) -> Branch:
        """The branch of audio.

        Raises:
            ValueError: the preset has none.
        """
        if "audio" not in self.branches:
            here = ", ".join(self.branches)
            raise ValueError(f"{self.preset.source} has no branch for audio, but for {here}")
        return self.branches["audio"]

    @property
    def extractor(self):
        """The front end of audio."""
        return self.audio.front

    @property
    def encoder(self):
        """The encoder's Config, of audio."""
        return self.audio.encoder

    @property
    def adapter(self):
        """The adapter's Config, of audio."""
        return self.audio.adapter

    @cached_property
    def fusion(self):
        """The fusion's Config."""
        return self.preset.part("fusion", "models.fusion")

    @cached_property
    def llm(self) -> LLMConfig:
        """The LLM's Config."""
        return self.preset.section("llm", LLMConfig)

    def soft_tokens(self, n: int, kind: str = "audio") -> int:
        """Most text positions that `n` frames (or samples, for a raw waveform) can take."""
        branch = self.audio if kind == "audio" else self.branches[kind]
        return self.fusion.count(branch.count(n))

    def states(self, n: int, kind: str = "audio") -> int:
        """Encoder states that `n` frames (or samples, for a raw waveform) become."""
        return self.branches[kind].encoder.count(n)

    def build(self) -> SpeechLLM:
        """Build the model, weights from the preset's pretrained parts or from the seed."""
        torch.manual_seed(self.preset.seed)  # before any weight is drawn, whatever ran before
        self.check()
        try:
            return self._build()
        except (MemoryError, RuntimeError) as error:
            if "memory" not in str(error) and not isinstance(error, MemoryError):
                raise
            raise ValueError(
                f"{self.preset.source}: this model does not fit into memory ({error}); "
                "`speechllm presets show` says how large it is"
            ) from None

    def _build(self) -> SpeechLLM:
        llm = attention.prefer(self.llm.build(len(self.tokenizer)))
        embedding = llm.get_input_embeddings()
        towards = self._towards(embedding)
        parts = {branch.place: branch.build(towards) for branch in self.branches.values()}
        for part in parts.values():
            if not hasattr(part.adapter, "spell"):
                continue
            if towards is not embedding:
                raise ValueError(
                    f"{self.preset.source} [fusion]: of soft tokens {towards.embedding_dim} wide, "
                    "which are not the LLM's own width, none can be the LLM's embeddings; that is "
                    "what an [adapter] that spells makes of them"
                )
            if not embedding.weight.is_meta:
                part.adapter.spell(self.tokenizer)
        model = SpeechLLM(parts, self.fusion.build(), llm)
        model.tokenizer = self.tokenizer
        model.match()
        return model

    def _towards(self, embedding: nn.Embedding) -> nn.Embedding:
        """Give what soft tokens are to be as wide as: the LLM's embeddings, or what a fusion says.

        A fusion whose layers have keys and values of their own may read another width than the
        LLM's; it has no embeddings, and is given one that nobody reads.
        """
        width = getattr(self.fusion, "width", 0)
        if width in (0, embedding.embedding_dim):
            return embedding
        return nn.Embedding(1, width, device="meta")

    def check(self) -> None:
        """Refuse nouns that do not fit together, before anything is loaded.

        Raises:
            ValueError: as each branch's; a fusion that there is not.
        """
        for branch in self.branches.values():
            branch.check()
        _ = self.fusion

    def kept(self, names, trained: list[list[str]]) -> list[str]:
        """Say which of a model's state names belong into a checkpoint.

        Args:
            names: names of all parameters and buffers.
            trained: the patterns of each phase so far.
        """
        # of an LLM with `pretrained`, only what some phase has trained, and LoRA, goes into the
        # folder: the rest is opened again from where it came from
        parts = {f"{one.place}encoder.": one.encoder for one in self.branches.values()}
        parts["llm."] = self.llm
        borrowed = [part for part, config in parts.items() if getattr(config, "pretrained", "")]
        return [
            name
            for name in names
            if not name.startswith(tuple(borrowed)) or has_learned(name, trained) or "lora_" in name
        ]


def check(preset: config.Preset) -> None:
    """Check names, kinds and ranges in the tables of a model's parts; open and make nothing.

    Raises:
        ValueError: a part or setting that there is not, or a value of a wrong kind.
    """
    for branch in branches(preset).values():
        branch.check_tables()
    config.kinds("models.fusion", preset.table("fusion"), f"{preset.source} [fusion]")
    config.check(LLMConfig, preset.table("llm"), f"{preset.source} [llm]")


def has_learned(name: str, trained: list[list[str]]) -> bool:
    """Say whether any phase, each given by its patterns, has trained the parameter `name`."""
    return any(matches(name, patterns) for patterns in trained)


def matches(name: str, patterns) -> bool:
    """Say whether a name fits the patterns: any of them, and no pattern that begins with `!`."""
    # ("encoder.*", "!*lora_*"): all of the encoder but its LoRA
    wanted = [p for p in patterns if not p.startswith("!")]
    refused = [p[1:] for p in patterns if p.startswith("!")]
    return any(fnmatchcase(name, p) for p in wanted) and not any(
        fnmatchcase(name, p) for p in refused
    )
