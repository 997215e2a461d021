"""States of a frozen encoder, stored once: of which encoder they are, and how they are made.

    speechllm data states PRESET MANIFEST --out SET --manifest NEW

A set is one of `features.stored`, whose `preset.json` says under "states" which encoder made them:
its settings and a digest of its weights. Media of one encoder's pass have like lengths, so padding
costs little; what is written is each one's own states. What is there already is not made again.

T frames, F values a frame, L states, D values a state.
"""

import contextlib
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
from speechllm import config
from speechllm.models import store
from speechllm.models.branch import Branch, branches
from speechllm.models.fingerprint import fingerprint
from speechllm.models.grouping import encode

MAX_BATCH_S = 20.0  # rows x longest of an encoder's pass
SORTED = 256  # utterances that are read ahead of, so that a pass has like lengths
DTYPES = tuple(packed.DTYPES)


def origin(branch: Branch, encoder: torch.nn.Module) -> dict:
    """Say of which encoder states are: as `Branch.origin`, with the digest of its weights."""
    return branch.origin | {
        "weights": fingerprint(encoder, beyond=getattr(encoder, "lies_above", None))
    }


def origins(system, model, learning=()) -> dict[str, dict | str]:
    """Say by medium of which encoder stored states must be, for `Examples`.

    Args:
        system, model: one beside the other.
        learning: names of parameters that learn: an encoder among them has no states to store.
    """
    found = {}
    for kind, branch in system.branches.items():
        place, encoder = f"{branch.place}encoder.", model.branches[kind].encoder
        above = getattr(encoder, "lies_above", lambda name: False)
        own = (name for name in learning if name.startswith(place))
        name = next((name for name in own if not above(name.removeprefix(place))), "")
        found[kind] = (
            f"its states are stored, but {name} learns: take the manifest without them, or leave "
            f"{place}* out of the phase's train"
            if name
            else origin(branch, encoder)
        )
    return found


def opened(what, changes: Iterable[str] = ()) -> tuple[Branch, torch.nn.Module]:
    """Give the branch of audio and its encoder, in evaluation mode.

    Args:
        what: a preset by name or file, or the folder of a model.
        changes: to a preset, as `config.load` takes them.

    Raises:
        ValueError: neither; no branch for audio; an encoder from nothing that nobody has trained.
    """
    if str(what) not in config.presets() and Path(what).is_dir():
        system, model = store.load(store.find(Path(what)))
        return system.audio, model.encoder
    preset = config.load(what, changes)
    branch = branches(preset).get("audio")
    if branch is None:
        raise ValueError(f"{preset.source}: it has no branch for audio, whose states are stored")
    if getattr(branch.encoder, "pretrained", True) in ("", None):
        raise ValueError(
            f"{preset.source} [encoder]: {branch.tables['encoder']['name']} from nothing, trained "
            "nowhere: give the folder of a trained model in place of the preset"
        )
    branch.check()
    return branch, branch.build_encoder().eval()


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
        made = origin(self.branch, self.encoder) | {"precision": self.precision}
        return folder.holds(self.branch.front) | {"dtype": self.dtype, "states": made}


@torch.no_grad()
def make(job: Job, source, progress: Callable[[Tally], None] = lambda tally: None) -> Tally:
    """Store the states of a manifest's sounds; skips what is there, lists what cannot be read.

    An interrupted run stores what it has. One that is killed loses the shard it was at.

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
        began = time.perf_counter()
        name = f"{folder.next_number(job.out):05d}"
        with Writer(job.out, name, job.dtype) as shard:
            for batch in _batches(job, todo, tally):
                for item, n, states in _encoded(job, batch):
                    shard.add(item.id, states, n, wanted[item.id])
                    _count(tally, states, job.dtype)
                tally.seconds = time.perf_counter() - began
                progress(tally)
    return tally


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
