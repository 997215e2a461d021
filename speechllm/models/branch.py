"""The way of one medium to the LLM: front end, encoder, adapter.

A preset's tables [frontend], [encoder], [adapter] are its audio branch; a further medium has
[branch.image.frontend], [branch.image.encoder], [branch.image.adapter]. The table's place is also
the name of the parameters: `encoder.*`, `branch.image.encoder.*`.
"""

import dataclasses
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from speechllm import config, media
from speechllm.models.inject import inject
from speechllm.models.lora import Lora, read

NOUNS = ("frontend", "encoder", "adapter")


@dataclass(frozen=True)
class Branch:
    """Front end and Configs of one medium, made of a preset's tables when they are asked for.

    Attributes:
        kind: the medium, a file of media/.
        tables: `frontend`, `encoder`, `adapter`.
        source: the preset, for messages.
        place: before the tables' names, and the parameters': "" or "branch.image.".
    """

    kind: str
    tables: dict
    source: str
    place: str = ""

    def _at(self, noun: str) -> str:
        return f"{self.source} [{self.place}{noun}]"

    @cached_property
    def front(self):
        """The front end; for audio a `features.Extractor`."""
        table = self.tables.get("frontend", {})
        return media.of(self.kind).front(table, self._at("frontend"))

    @cached_property
    def encoder(self):
        """The encoder's Config."""
        return config.part("models.encoders", self._without_lora("encoder"), self._at("encoder"))

    @cached_property
    def adapter(self):
        """The adapter's Config."""
        return config.part("models.adapters", self._without_lora("adapter"), self._at("adapter"))

    def _without_lora(self, noun: str) -> dict:
        """Give a part's own settings: LoRA stands beside it, whichever part it is."""
        return {k: v for k, v in self.tables.get(noun, {}).items() if k != "lora"}

    def loras(self, noun: str) -> dict[str, Lora]:
        """Give the LoRAs of the encoder or the adapter by name."""
        return read(self.tables.get(noun, {}).get("lora", {}), self._at(f"{noun}.lora"))

    def check_tables(self) -> None:
        """Check names and kinds of the settings of encoder and adapter; open nothing.

        Raises:
            ValueError: one that is wrong.
        """
        for noun in ("encoder", "adapter"):
            config.kinds(f"models.{noun}s", self._without_lora(noun), self._at(noun))
            _ = self.loras(noun)

    @property
    def origin(self) -> dict:
        """Say what stored states of this encoder say of it, without the digest of its weights.

        Where a checkpoint lies is left out: what its weights are says their digest.
        """
        own = {k: v for k, v in dataclasses.asdict(self.encoder).items() if k != "pretrained"}
        return {"encoder": {"name": self.tables["encoder"]["name"], **own}}

    def count(self, n: int) -> int:
        """Most soft tokens of `n` frames (or samples, for a raw waveform)."""
        return self.adapter.count(self.encoder.count(n))

    def check(self) -> None:
        """Refuse parts that do not fit together, before anything is loaded.

        Raises:
            ValueError: a part's name or setting is wrong, the encoder wants another front end, an
                ordinary medium gives no soft token.
        """
        if hasattr(self.encoder, "check"):
            self._say(self.encoder.check, self.front)
        if getattr(self.adapter, "placed", False) and not getattr(self.encoder, "placed", False):
            name = self.tables["encoder"]["name"]
            raise ValueError(
                f"{self._at('adapter')}: it wants to know where in a picture each state stands; "
                f"{name!r}, as it is set here, does not say (patches does, vit without tags and "
                "class token does)"
            )
        if hasattr(self.encoder, "dims") != getattr(self.adapter, "streams", False):
            raise ValueError(
                f"{self._at('adapter')}: the encoder 'streams' and the adapter 'streams' want each "
                "other"
            )
        # an adapter that stacks more steps than an ordinary medium has would leave the LLM deaf
        with torch.device("cpu"):  # also where the model itself is made on the meta device
            usual = media.of(self.kind).usual(self.front)
        if not self.count(usual):
            what = "10 s of audio give" if self.kind == "audio" else f"{usual} frames give"
            raise ValueError(
                f"{self.source}: {what} no soft token: the adapter brings "
                f"{self.encoder.count(usual)} states to none"
            )

    def build(self, embedding: nn.Embedding) -> "Parts":
        """Build encoder and adapter, towards an LLM's embeddings (V, H)."""
        encoder = self.build_encoder()
        width = getattr(self.encoder, "dims", self.encoder.dim)  # of each stream, or of all states
        adapter = self._with_lora("adapter", self.adapter.build(width, embedding))
        return Parts(encoder, adapter, self.encoder.dim, (self.encoder.count, self.adapter.count))

    def build_encoder(self) -> nn.Module:
        """Build the encoder alone."""
        return self._with_lora("encoder", self._say(self.encoder.build, self.front.dim))

    def _with_lora(self, noun: str, module: nn.Module) -> nn.Module:
        if loras := self.loras(noun):
            inject(module, loras, self._at(f"{noun}.lora"))
        return module

    def _say(self, function, *arguments):
        """Call a function of the encoder; an error says which preset, and which front end it has.

        Raises:
            ValueError: the encoder's, with that in front.
        """
        try:
            return function(*arguments)
        except ValueError as error:
            front = self.tables.get("frontend", {}).get("name")
            raise ValueError(f"{self._at('encoder')}, front end {front!r}: {error}") from None


class Parts(nn.Module):
    """What learns of a branch: (x, lengths) -> (states (M, L, D), ...) -> (tokens (M, K, H), ...).

    encoder_dim: D. counts: frames -> L and L -> K, known before any pass.
    """

    def __init__(self, encoder: nn.Module, adapter: nn.Module, encoder_dim: int, counts: tuple):
        super().__init__()
        self.encoder, self.adapter, self.encoder_dim = encoder, adapter, encoder_dim
        self.counts = counts


def branches(preset: config.Preset) -> dict[str, Branch]:
    """Read the branches of a preset, by medium: the short form's audio first.

    Raises:
        ValueError: a medium that nothing here reads, a table that is none of the three, audio in
            the long form.
    """
    # A preset of nothing but [branch.image] has no audio; one that says nothing of media has it,
    # with the defaults.
    long = preset.table("branch")
    short = any(noun in preset.tables for noun in NOUNS) or not long
    by_kind = {"audio": Branch("audio", preset.tables, preset.source)} if short else {}
    for kind, tables in long.items():
        where = f"{preset.source} [branch.{kind}]"
        if not media.reads(kind):
            hint = config.suggest(kind, config.names("media"))
            raise ValueError(f"{where}: nothing here reads the medium {kind!r}; {hint}")
        if kind == "audio":
            raise ValueError(f"{where}: audio's tables are [frontend], [encoder] and [adapter]")
        if not isinstance(tables, dict) or (more := tables.keys() - set(NOUNS)):
            wrong = sorted(more)[0] if isinstance(tables, dict) else tables
            raise ValueError(f"{where}: no table called {wrong!r}; {config.suggest(wrong, NOUNS)}")
        by_kind[kind] = Branch(kind, tables, preset.source, f"branch.{kind}.")
    return by_kind
