"""A preset made real: the five nouns, the one length function, the tokenizer."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

import torch

import features
from speechllm import config
from speechllm.models.llm import Config as LLMConfig
from speechllm.models.llm import load_tokenizer
from speechllm.models.model import SpeechLLM


@dataclass(frozen=True)
class System:
    """Front end, encoder, adapter, fusion, LLM of a preset, as Configs; and its tokenizer."""

    preset: config.Preset
    tokenizer: object

    @classmethod
    def open(cls, preset: config.Preset, tokenizer: str | None = None) -> "System":
        """Open a preset with the tokenizer in a folder, or with that of its pretrained LLM.

        Raises:
            ValueError: neither is given; the tokenizer cannot be loaded.
        """
        llm = preset.table("llm")
        source = tokenizer or llm.get("pretrained")
        if not source:
            raise ValueError(
                f"{preset.source}: its LLM is trained from nothing; give --tokenizer DIR"
            )
        return cls(preset, load_tokenizer(source, llm.get("pad_token", "")))

    @cached_property
    def extractor(self):
        """The front end."""
        options = dict(self.preset.table("frontend"))
        name = options.pop("name", None)
        try:
            return features.get(name, **options)
        except ValueError as error:
            raise ValueError(f"{self.preset.source} [frontend]: {error}") from None

    @cached_property
    def encoder(self):
        """The encoder's Config."""
        return self.preset.part("encoder", "models.encoders")

    @cached_property
    def adapter(self):
        """The adapter's Config."""
        return self.preset.part("adapter", "models.adapters")

    @cached_property
    def fusion(self):
        """The fusion's Config."""
        return self.preset.part("fusion", "models.fusion")

    @cached_property
    def llm(self) -> LLMConfig:
        """The LLM's Config."""
        return self.preset.section("llm", LLMConfig)

    def soft_tokens(self, n: int) -> int:
        """Most text positions that `n` frames (or samples, for a raw waveform) can take."""
        return self.fusion.count(self.adapter.count(self.encoder.count(n)))

    def build(self) -> SpeechLLM:
        """Build the model, weights from the preset's pretrained parts or from the seed."""
        torch.manual_seed(self.preset.seed)
        self.check()
        llm = self.llm.build(len(self.tokenizer))
        encoder = self._say(self.encoder.build, self.extractor.dim)
        adapter = self.adapter.build(self.encoder.dim, llm.get_input_embeddings())
        model = SpeechLLM(encoder, adapter, self.fusion.build(), llm, self.encoder.dim)
        model.match()
        return model

    def check(self) -> None:
        """Refuse nouns that do not fit together, before anything is loaded.

        Raises:
            ValueError: a part's name or setting is wrong, the encoder wants another front end, ten
                seconds of audio give no soft token.
        """
        samples = 10 * self.extractor.sampling_rate
        if hasattr(self.encoder, "check"):
            self._say(self.encoder.check, self.extractor)
        if not self.soft_tokens(self.extractor.count(samples)):
            raise ValueError(
                f"{self.preset.source}: 10 s of audio give no soft token: the adapter brings "
                f"{self.encoder.count(self.extractor.count(samples))} states to none"
            )

    def _say(self, function, *arguments):
        """Call a function of the encoder; an error says which preset, and which front end it has.

        Raises:
            ValueError: the encoder's, with that in front.
        """
        try:
            return function(*arguments)
        except ValueError as error:
            front = self.preset.table("frontend").get("name")
            where = f"{self.preset.source} [encoder], front end {front!r}"
            raise ValueError(f"{where}: {error}") from None

    def kept(self, names, trained: list[list[str]]) -> list[str]:
        """Say which of a model's state names belong into a checkpoint.

        Args:
            names: names of all parameters and buffers.
            trained: the patterns of each stage so far.
        """
        borrowed = [
            part
            for part, found in (("encoder.", self.encoder), ("llm.", self.llm))
            if getattr(found, "pretrained", "")
        ]
        return [
            name
            for name in names
            if not name.startswith(tuple(borrowed)) or has_learned(name, trained) or "lora_" in name
        ]


def has_learned(name: str, trained: list[list[str]]) -> bool:
    """Say whether any stage, each given by its patterns, has trained the parameter `name`."""
    return any(matches(name, patterns) for patterns in trained)


def matches(name: str, patterns) -> bool:
    """Say whether a name fits the patterns: any of them, and no pattern that begins with `!`."""
    wanted = [p for p in patterns if not p.startswith("!")]
    refused = [p[1:] for p in patterns if p.startswith("!")]
    return any(fnmatchcase(name, p) for p in wanted) and not any(
        fnmatchcase(name, p) for p in refused
    )
