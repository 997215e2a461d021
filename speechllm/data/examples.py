"""From a manifest row to one example: audio decoded, augmented, turned into frames, ids built.

Where a row refers to stored features (`features: FOLDER#ID`) and no augmentation changes the wave,
those are taken, and the audio is not read. A set that another front end made is refused. A set of
an encoder's states is taken in any case: what would change the sound before them is refused.

Every random choice of an example is drawn from a generator seeded by (seed, epoch, index): the same
example comes out in any batch, in any process and after any restart.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from speechllm import config, media
from speechllm.data import chat
from speechllm.data.asked import asked, named, tables
from speechllm.data.chat import Builder, Encoded
from speechllm.data.manifest import Manifest
from speechllm.data.rows import seconds
from speechllm.data.system import System
from speechllm.media.audio import Augment


@dataclass(frozen=True)
class Example:
    """One example: its row, its ids, its media (T, F) or (N,) with valid lengths.

    rejected: ids with the answer that is not wanted, where a preference is learned.
    words: ids with what was said in place of the media, where a teacher reads.
    stored: the kinds of media that are stored states (L, D).
    masks: (kind, (L,) bool) of each medium whose states are masked, in order.
    """

    row: dict
    encoded: Encoded
    media: list[torch.Tensor]
    lengths: list[int]
    rejected: Encoded | None = None
    words: Encoded | None = None
    stored: frozenset = frozenset()
    masks: tuple = ()

    @property
    def seconds(self) -> float:
        """How long its media are, as batches count it."""
        return seconds(self.row)


@dataclass
class Examples:
    """Makes examples of a manifest.

    Attributes:
        manifest: where the rows are.
        task: a task's Config (`messages(row, rng)`).
        named: other tasks, for rows that name theirs (`task`).
        builder: makes ids of messages.
        fronts: the front end of each medium, by medium.
        soft_tokens: (frames, medium) -> text positions, the one function of encoder, adapter and
            fusion.
        states: (frames, medium) -> states, of the encoder alone.
        augment: of sound; None in evaluation.
        answer: with the answer (training, validation) or up to it (decoding).
        seed: seed of augmentation and prompts.
        controls: by medium, what replaces it (data/control.py); nothing where it stays as it is.
        cache_mb: frames kept in memory between epochs, where no augmentation changes the wave.
        encoders: by medium, of which encoder stored states must be (`media.audio.states`); a text
            where none may be used, which says why.
        needs: what objectives want besides: "pairs" (rows with `chosen` and `rejected`), "words".
    """

    manifest: Manifest
    task: object
    builder: Builder
    fronts: dict[str, object]
    soft_tokens: Callable[[int, str], int]
    states: Callable[[int, str], int]
    augment: Augment | None = None
    answer: bool = True
    seed: int = 0
    controls: dict = field(default_factory=dict)
    cache_mb: int = 0
    encoders: dict = field(default_factory=dict)
    needs: frozenset = frozenset()
    named: dict = field(default_factory=dict)
    _cache: dict = field(default_factory=dict, repr=False)
    _cached_mb: float = 0.0

    @classmethod
    def of(
        cls, system: System, manifest: Manifest, task: dict | str | None = None, **options
    ) -> "Examples":
        """Make the examples of a manifest as a system's preset says.

        Args:
            system: says of which parts.
            manifest: where the rows are.
            task: another task than the preset's, and than the rows': its table or its name.
            options: the other attributes.

        Raises:
            ValueError: rows name a task that there is not; says in which file and line.
        """
        preset = system.preset
        table, others = tables(preset)
        task = asked(preset, task) if isinstance(task, str) else task
        return cls(
            manifest=manifest,
            task=config.part("tasks", task or table, f"{preset.source} [task]"),
            named={} if task else named(manifest, others),
            builder=Builder.of(system),
            fronts={kind: branch.front for kind, branch in system.branches.items()},
            soft_tokens=system.soft_tokens,
            states=system.states,
            **{"encoders": {k: b.origin for k, b in system.branches.items()}, **options},
        )

    def make(self, epoch: int, index: int) -> Example:
        """Make the example `index` as it is in `epoch`.

        Raises:
            ValueError: what is wrong with it, with file, line and id.
        """
        row = self.manifest[index]
        rng = np.random.default_rng((self.seed, epoch, index)) if self.augment else None
        try:
            messages = self.messages(row, rng)
            parts = chat.media(messages)
            found = [self._medium(part, rng) for part in parts]
            media, lengths = [x for x, *_ in found], [n for _, n, _ in found]
            stored = _all_or_none(parts, [one for *_, one in found])
            masks = self._masks(parts, lengths, rng)
            counts = [self.soft_tokens(n, p["type"]) for n, p in zip(lengths, parts, strict=True)]
            if 0 in counts:
                raise ValueError(f"too short: {row.get('duration')} s give no soft token; drop it")
            encoded = self.builder.build(messages, counts, self.answer)
            more = self.more(row, messages, counts)
        except (KeyError, ValueError, OSError) as error:
            raise self.wrong(error, self.manifest.line(index), row) from None
        return Example(row, encoded, media, lengths, stored=stored, masks=masks, **more)

    def wrong(self, error: Exception, line: int, row: dict) -> ValueError:
        """Make the error that says in which row something is wrong."""
        what = f"no {error} in its row" if isinstance(error, KeyError) else error
        return ValueError(f"{self.manifest.path}:{line}: utterance {row['id']!r}: {what}")

    def task_of(self, row: dict):
        """The task that a row is asked under."""
        return self.named.get(row.get("task"), self.task)

    def messages(self, row: dict, rng=None, task=None) -> list[dict]:
        """Take a row's messages, or let a task (its own) make them; a chosen answer is its text."""
        messages = row.get("messages")
        if messages is None:
            # where no answer is wanted, a row may lack it
            blank = {"text": row.get("chosen")} if self.answer else {"text": "", "translation": ""}
            values = [*blank.items(), *((key, v) for key, v in row.items() if v is not None)]
            there = {key: value for key, value in values if value is not None}
            messages = (task or self.task_of(row)).messages(there, rng)
        return _answered(messages, row["chosen"]) if "chosen" in row else messages

    def more(self, row: dict, messages: list[dict], counts: list[int]) -> dict[str, Encoded]:
        """Build what objectives need besides the example itself.

        Raises:
            ValueError: the row does not hold it.
        """
        encoded = {}
        if "pairs" in self.needs:
            if not row.get("chosen") or not row.get("rejected"):
                raise ValueError("a preference wants 'chosen' and 'rejected' answers in each row")
            rejected = _answered(messages, row["rejected"])
            encoded["rejected"] = self.builder.build(rejected, counts, self.answer)
        if "words" in self.needs:
            encoded["words"] = self.builder.build(chat.spoken(messages, row), [], self.answer)
        return encoded

    def _medium(self, part: dict, rng) -> tuple[torch.Tensor, int, bool]:
        """Take one medium: its frames or stored states, how many frames, whether it is states."""
        kind = part["type"]
        if kind not in self.fronts or kind not in part:
            raise ValueError(
                f"a part of type {kind!r} has no {' or '.join(map(repr, self.fronts))}, which is "
                "all that this preset reads"
            )
        control = self.controls.get(kind)
        other = control.part(part) if control else part
        if media.encoded(other):
            return *self.stored(other, rng), True
        x, n = self._frames(other, rng)
        return (control.frames(part, x) if control else x), n, False

    def stored(self, part: dict, rng) -> tuple[torch.Tensor, int]:
        """Take stored states (L, D), of so many frames."""
        of = self.encoders[part["type"]]
        if isinstance(of, str):
            raise ValueError(of)
        if rng is not None:
            self.augment.refuse_stored()
        return media.of(part["type"]).states(part, self.fronts[part["type"]], of)

    def _frames(self, part: dict, rng) -> tuple[torch.Tensor, int]:
        """Take the frames of one medium, kept or made, augmented."""
        kind = part["type"]
        front, medium = self.fronts[kind], media.of(kind)
        augment = self.augment if kind == "audio" else None
        key = (kind, *medium.key(part))
        x, n = self._cache.get(key) or medium.frames(part, front, rng, augment)
        drawn = rng is not None and getattr(front, "random", False)
        if not (drawn or (augment and augment.on_waves)):
            self._keep(key, x, n)
        return (augment.frames(x, front, rng) if augment else x), n

    def _masks(self, parts: list[dict], lengths: list[int], rng) -> tuple:
        """Draw masks over the states of sounds: (kind, (L,)) of each, in order."""
        if rng is None or not self.augment.state_masks:
            return ()
        audio = [n for n, p in zip(lengths, parts, strict=True) if p["type"] == "audio"]
        return tuple(("audio", self.augment.spans(self.states(n, "audio"), rng)) for n in audio)

    def _keep(self, key: tuple, x: torch.Tensor, n: int) -> None:
        """Keep frames while there is room; they are never changed in place."""
        size = x.numel() * x.element_size() / 1e6
        if key not in self._cache and self._cached_mb + size <= self.cache_mb:
            self._cache[key] = x, n
            self._cached_mb += size


def _all_or_none(parts: list[dict], stored: list[bool]) -> frozenset:
    """Give the kinds of which all parts of a row are stored states.

    Raises:
        ValueError: of some kind only some are.
    """
    kinds = {part["type"] for part, one in zip(parts, stored, strict=True) if one}
    for part, one in zip(parts, stored, strict=True):
        if part["type"] in kinds and not one:
            raise ValueError(f"of its {part['type']} some have stored states and some have not")
    return frozenset(kinds)


def _answered(messages: list[dict], answer: str) -> list[dict]:
    """End messages with this answer."""
    prompt = messages[:-1] if messages[-1]["role"] == "assistant" else messages
    return [*prompt, {"role": "assistant", "content": answer}]
