"""A frozen encoder's states stored once (`states.py` says what they are): here or by a cluster.

Sounds of one pass have like lengths, so padding costs little; what is written is each one's own
states. What is there already is not made again. T frames, F values a frame, L states, D values.
"""

import contextlib
import functools
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

import features
from features import folder, packed, requests, sources
from features.stored import Writer
from speechllm.models import states
from speechllm.models.branch import Branch
from speechllm.models.grouping import encode

MAX_BATCH_S = 20.0  # rows x longest of an encoder's pass
SORTED = 256  # utterances that are read ahead of, so that a pass has like lengths


@dataclass
class Tally:
    """How far a run has come; `error` and `power` are sums of squares, of what rounding changed."""

    total: int
    done: int = 0
    skipped: int = 0
    audio_s: float = 0.0
    seconds: float = 0.0
    error: float = 0.0
    power: float = 0.0
    errors: list[str] = field(default_factory=list)

    def join(self, other: "Tally") -> None:
        """Add what another one counted."""
        for name in ("done", "audio_s", "error", "power", "errors"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def rtfx(self) -> float:
        """Speed in times real time."""
        return self.audio_s / max(self.seconds, 1e-9)

    @property
    def noise_db(self) -> float:
        """How far rounding lies below the states, in dB; -inf where it changes nothing."""
        return 10 * math.log10(self.error / self.power) if self.error else -math.inf


@dataclass(frozen=True)
class Job:
    """What is to be stored where.

    Attributes:
        branch: front end and encoder.
        encoder: the module, in evaluation mode, where it is to compute.
        out: the set's folder.
        dtype: "float32", "bfloat16" or "int8" (features/packed.py).
        precision: of the encoder's pass, "fp32" or "bf16".
        workers: processes that read audio.
    """

    branch: Branch
    encoder: torch.nn.Module
    out: Path
    dtype: str = "bfloat16"
    precision: str = "fp32"
    workers: int = 1

    @property
    def note(self) -> dict:
        """What the set says of itself, in `preset.json`."""
        made = states.origin(self.branch, self.encoder) | {"precision": self.precision}
        return folder.holds(self.branch.front) | {"dtype": self.dtype, "states": made}


def make(
    job: Job,
    source,
    progress: Callable[[Tally], None] = lambda tally: None,
    spread: Callable[[Iterable], Iterator[Tally]] | None = None,
) -> Tally:
    """Store the states of a manifest's sounds; skips what is there, lists what cannot be read.

    An interrupted run stores what it has. One that is killed loses the shard it was at. `spread`
    lets other processes do it: from pieces to what `stored` gives for each.

    Raises:
        ValueError: the folder holds other states, or another run writes there; the disk is full.
    """
    items = sources.find(source)
    with folder.writing(job.out, job.note):
        there = requests.made(job.out, "shards")
        wanted = {item.id: requests.of(item, job.out) for item in items}
        requests.refuse_others(job.out, wanted, there)
        stale = {
            id for id in wanted.keys() & there.keys() if not requests.same(wanted[id], there[id])
        }
        requests.forget(job.out, "shards", stale)
        todo = [item for item in items if item.id in stale or item.id not in there]
        tally = Tally(total=len(items), skipped=len(items) - len(todo))
        began, first = time.perf_counter(), folder.next_number(job.out)
        if spread:  # the batches of a piece are those that are made here
            cuts = enumerate(range(0, len(todo), SORTED))
            pieces = [(f"{first + n:05d}", todo[at : at + SORTED]) for n, at in cuts]
            done = _joined(spread(pieces), tally)
        else:
            done = _stored(job, f"{first:05d}", todo, tally)
        with contextlib.closing(done):
            for _ in done:
                tally.seconds = time.perf_counter() - began
                progress(tally)
    return tally


def stored(opening: tuple, piece: tuple[str, list]) -> Tally:
    """Store a piece in a process of its own, which keeps the encoder for more: `make`'s `spread`.

    Args:
        opening: what `_job` makes a job of.
        piece: name of its shards, items.
    """
    tally = Tally(0)
    for _ in _stored(_job(*opening), *piece, tally):
        pass
    return tally


@functools.lru_cache(maxsize=1)
def _job(what: str, changes: tuple, device: str, *rest) -> Job:
    branch, encoder = states.opened(what, changes)
    return Job(branch, encoder.to(device), *rest)


def _joined(tallies: Iterator[Tally], tally: Tally) -> Iterator[None]:
    """Count what others have done."""
    for more in tallies:
        tally.join(more)
        yield


@torch.no_grad()
def _stored(job: Job, name: str, items: list, tally: Tally) -> Iterator[None]:
    """Write the states of some items into shards of one name, a batch at a time."""
    with Writer(job.out, name, job.dtype) as shard:
        for batch in _batches(job, items, tally):
            for item, n, values in _encoded(job, batch):
                shard.add(item.id, values, n, requests.of(item, job.out))
                _count(tally, values, job.dtype)
            yield


def _count(tally: Tally, states: np.ndarray, dtype: str) -> None:
    """Add an utterance, and what rounding changes of it."""
    tally.done += 1
    if dtype != "float32":
        kept = packed.unpack(packed.pack(states, dtype), dtype)
        tally.error += float(np.square(kept - states, dtype=np.float64).sum())
        tally.power += float(np.square(states, dtype=np.float64).sum())


def _encoded(job: Job, batch: list[tuple]) -> Iterator[tuple]:
    """Run the encoder on a batch of (item, x (T, F), n): yield (item, n, states (L, D))."""
    device = next(job.encoder.parameters()).device
    x = torch.nn.utils.rnn.pad_sequence([x for _, x, _ in batch], batch_first=True).to(device)
    lengths = torch.tensor([n for _, _, n in batch], device=device)
    with _autocast(job.precision, device):
        states, steps = encode(job.encoder, x, lengths, getattr(job.encoder, "below", None))
    for (item, _, n), one, size in zip(batch, states.float().cpu(), steps.tolist(), strict=True):
        if not bool(one[:size].isfinite().all()):
            raise ValueError(f"{item.path}: its states hold NaN or infinity; leave {item.id} out")
        yield item, n, one[:size].numpy()


def _autocast(precision: str, device: torch.device):
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def _batches(job: Job, items: list, tally: Tally) -> Iterator[list[tuple]]:
    """Read sounds, and yield batches of like lengths; what cannot be read goes into the tally."""
    loader = torch.utils.data.DataLoader(
        _Frames(job.branch.front, items), batch_size=None, num_workers=job.workers
    )
    ahead: list[tuple] = []
    for index, (x, n, seconds, error) in enumerate(loader):
        if error:
            tally.errors.append(f"{items[index].id}: {error}")
            continue
        tally.audio_s += seconds
        ahead.append((items[index], x, n))
        if len(ahead) == SORTED:
            yield from _cut(ahead, job.branch.front.frame_rate_hz)
            ahead = []
    yield from _cut(ahead, job.branch.front.frame_rate_hz)


def _cut(ahead: list[tuple], rate_hz: float) -> Iterator[list[tuple]]:
    """Cut what is read into batches of at most MAX_BATCH_S, the longest first."""
    batch: list[tuple] = []
    for one in sorted(ahead, key=lambda one: -one[2]):
        if batch and (len(batch) + 1) * batch[0][2] > MAX_BATCH_S * rate_hz:
            yield batch
            batch = []
        batch.append(one)
    if batch:
        yield batch


class _Frames(torch.utils.data.Dataset):
    """Frames (T, F) of a sound, how many are valid, its seconds; or what is wrong with it."""

    def __init__(self, front: features.Extractor, items: list):
        self.front, self.items = front, items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple:
        item, rate = self.items[index], self.front.sampling_rate
        try:
            wave, _ = features.load(
                item.path, rate, item.start_s, item.duration_s, channel=item.channel
            )
            if not self.front.count(len(wave)):
                raise ValueError(f"{len(wave)} samples are less than one frame; leave it out")
            x, n = self.front(wave)
        except (ValueError, OSError) as error:
            return torch.zeros(0), 0, 0.0, str(error)
        return x, n, len(wave) / rate, ""
