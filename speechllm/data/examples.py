"""From a manifest row to one example: audio decoded, augmented, turned into frames, ids built.

Where a row refers to stored features (`features: FOLDER#ID`) and no augmentation changes the wave,
those are taken, and the audio is not read. A set that another front end made is refused.

Every random choice of an example is drawn from a generator seeded by (seed, epoch, index): the same
example comes out in any batch, in any process and after any restart.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from speechllm import config, media
from speechllm.data import chat
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
    """

    row: dict
    encoded: Encoded
    media: list[torch.Tensor]
    lengths: list[int]
    rejected: Encoded | None = None
    words: Encoded | None = None

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
        augment: of sound; None in evaluation.
        answer: with the answer (training, validation) or up to it (decoding).
        seed: seed of augmentation and prompts.
        control: what replaces each medium (data/control.py), None where they stay as they are.
        cache_mb: frames kept in memory between epochs, where no augmentation changes the wave.
        needs: what objectives want besides: "pairs" (rows with `chosen` and `rejected`), "words".
    """

    manifest: Manifest
    task: object
    builder: Builder
    fronts: dict[str, object]
    soft_tokens: Callable[[int, str], int]
    augment: Augment | None = None
    answer: bool = True
    seed: int = 0
    control: object = None
    cache_mb: int = 0
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
        table, others = _tables(preset)
        task = asked(preset, task) if isinstance(task, str) else task
        return cls(
            manifest=manifest,
            task=config.part("tasks", task or table, f"{preset.source} [task]"),
            named={} if task else _named(manifest, others),
            builder=Builder.of(system),
            fronts={kind: branch.front for kind, branch in system.branches.items()},
            soft_tokens=system.soft_tokens,
            **options,
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
            framed = [self._frames(part, rng) for part in parts]
            media, lengths = [x for x, _ in framed], [n for _, n in framed]
            counts = [self.soft_tokens(n, p["type"]) for n, p in zip(lengths, parts, strict=True)]
            if 0 in counts:
                raise ValueError(f"too short: {row.get('duration')} s give no soft token; drop it")
            encoded = self.builder.build(messages, counts, self.answer)
            more = self.more(row, messages, counts)
        except (KeyError, ValueError, OSError) as error:
            raise self.wrong(error, self.manifest.line(index), row) from None
        return Example(row, encoded, media, lengths, **more)

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

    def _frames(self, part: dict, rng) -> tuple[torch.Tensor, int]:
        """Take the frames of one medium: its own or another's, kept or made, augmented."""
        request, kind = part, part["type"]
        if kind not in self.fronts or kind not in part:
            raise ValueError(
                f"a part of type {kind!r} has no {' or '.join(map(repr, self.fronts))}, which is "
                "all that this preset reads"
            )
        front, medium = self.fronts[kind], media.of(kind)
        augment = self.augment if kind == "audio" else None
        control = self.control if self.control and self.control.medium == kind else None
        part = control.part(part) if control else part
        key = (kind, *medium.key(part))
        x, n = self._cache.get(key) or medium.frames(part, front, rng, augment)
        if not (augment and augment.on_waves):
            self._keep(key, x, n)
        if augment:
            x = augment.frames(x, front, rng)
        return (control.frames(request, x) if control else x), n

    def _keep(self, key: tuple, x: torch.Tensor, n: int) -> None:
        """Keep frames while there is room; they are never changed in place."""
        size = x.numel() * x.element_size() / 1e6
        if key not in self._cache and self._cached_mb + size <= self.cache_mb:
            self._cache[key] = x, n
            self._cached_mb += size


def _answered(messages: list[dict], answer: str) -> list[dict]:
    """End messages with this answer."""
    prompt = messages[:-1] if messages[-1]["role"] == "assistant" else messages
    return [*prompt, {"role": "assistant", "content": answer}]


def asked(preset, name: str = "") -> dict:
    """The table of a task by its name: one of [task.others], or (also without name) the preset's.

    Raises:
        ValueError: there is no task of that name.
    """
    own, others = _tables(preset)
    table = others.get(name, {"name": name}) if name else own
    config.part("tasks", table, f"{preset.source} [task]")
    return table


def _tables(preset) -> tuple[dict, dict[str, dict]]:
    """Take apart [task] and its `others`: settings of tasks that rows name, by name."""
    table = dict(preset.table("task"))
    others = {name: {**t, "name": name} for name, t in table.pop("others", {}).items()}
    return table, {table.get("name"): table, **others}


def _named(manifest: Manifest, tables: dict[str, dict]) -> dict:
    """Make the tasks that a manifest's rows name."""
    tasks = {}
    for line, row in manifest.kinds():
        if (name := row.get("task")) and name not in tasks:
            where = f"{manifest.path}:{line}"
            tasks[name] = config.part("tasks", tables.get(name, {"name": name}), where)
    return tasks
