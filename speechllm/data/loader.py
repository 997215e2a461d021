"""Batches from worker processes, in an order that is a pure function of (seed, batch number)."""

import signal
from dataclasses import dataclass

import numpy as np
import torch

from speechllm.data.collate import collate
from speechllm.data.examples import Examples
from speechllm.data.large import LargeSampler
from speechllm.data.manifest import Manifest
from speechllm.data.sampler import Order, Sampler
from speechllm.data.windows import WindowSampler
from speechllm.ranges import AboveZero, Count, NotNegative, Positive, Workers


@dataclass(frozen=True)
class Config:
    """How batches are made.

    `max_batch_s` bounds rows x longest example, in seconds of audio; examples outside
    `min_duration_s` .. `max_duration_s` are left out of training, and counted.
    `window`: rows that are shuffled together, in the order of the manifest, so that shards are read
    one after another; 0: all of them.
    `balance`: the batches of a step cost about the same, so that processes end it together.
    `cache_mb` keeps that much of frames in memory between epochs (each worker its own),
    and as much between validations.
    `pack`: most text positions of a row that holds several examples, longer ones standing alone;
    0 gives each example a row of its own.
    `on_error`: "stop" at a file that cannot be read, or "skip" it, counted and listed at the end.
    """

    max_batch_s: AboveZero = 120.0
    max_rows: Positive = 256
    min_duration_s: NotNegative = 0.1
    max_duration_s: AboveZero = 40.0
    n_buckets: Positive = 20
    window: Count = 0
    balance: bool = False
    cache_mb: Count = 0
    pack: Count = 0
    workers: Workers = 1
    on_error: str = "stop"

    def __post_init__(self):
        if self.pack < 0:
            raise ValueError(f"pack: wanted a number of positions, or 0, got {self.pack}")
        if self.on_error not in ("stop", "skip"):
            raise ValueError(f"on_error: wanted 'stop' or 'skip', got {self.on_error!r}")

    def select(self, manifest: Manifest) -> Manifest:
        """Leave out what is too short or too long to train on."""
        if manifest.is_large and not self.window:
            return manifest.between(self.min_duration_s, self.max_duration_s)
        lengths = manifest.lengths_s
        keep = np.flatnonzero((lengths >= self.min_duration_s) & (lengths <= self.max_duration_s))
        return manifest if len(keep) == len(manifest) else manifest.subset(keep)

    def sampler(self, manifest: Manifest, seed: int, shuffle: bool, block: int = 1) -> Order:
        """Make the sampler of the batches of a manifest that `select` returned.

        block: batches in a step of a phase that learns from this manifest alone.

        Raises:
            ValueError: a balance for a manifest, or a window, that is too large to sort.
        """
        limits = {"max_rows": self.max_rows, "n_buckets": self.n_buckets, "seed": seed}
        if self.balance and (self.window or manifest.is_sorted):
            raise ValueError(
                "[data] balance sorts a manifest in memory: not with window, nor where it is as "
                f"long as {manifest.path}"
            )
        if shuffle and manifest.is_sorted:
            return LargeSampler(len(manifest), manifest.length_s, self.max_batch_s, **limits)
        if shuffle and self.window:
            return WindowSampler(manifest.lengths_s, self.window, self.max_batch_s, **limits)
        limits["block"] = block if self.balance else 1
        return Sampler(manifest.lengths_s, self.max_batch_s, shuffle=shuffle, **limits)


class _Batches(torch.utils.data.Dataset):
    """Makes one batch a key (number, epoch, indices); errors travel as values, not as stacks."""

    def __init__(self, examples: Examples, on_error: str, pack: int):
        self.examples = examples
        self.on_error = on_error
        self.pack = pack

    def __getitem__(self, key):
        number, epoch, indices = key
        good, errors = [], []
        for index in indices:
            try:
                good.append(self.examples.make(epoch, int(index)))
            except ValueError as error:
                errors.append(str(error))  # an exception would come out of a worker as its stack
                if self.on_error == "stop":
                    return number, None, errors
        pad = self.examples.builder.tokenizer.pad_token_id
        batch = collate(good, pad, tuple(errors), self.pack) if good else None
        return number, batch, errors


def _begin(_):
    """A worker computes on one thread: many processes with many threads each are slower.

    It is deaf to the signals that a terminal or Slurm sends to all processes: the one that asks for
    batches decides what to do about them. When that one is gone, the worker ends.
    """
    torch.set_num_threads(1)
    for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def batches(examples: Examples, config: Config, keys):
    """Yield (batch number, Batch or None, errors) for each key (number, epoch, indices).

    A batch is None where none of its examples could be read (`on_error = "skip"` only).

    Raises:
        ValueError: an example cannot be made and `on_error` is "stop".
    """
    loader = torch.utils.data.DataLoader(
        _Batches(examples, config.on_error, config.pack),
        sampler=keys,
        batch_size=None,  # each key is a whole batch already
        num_workers=config.workers,
        worker_init_fn=_begin,
        prefetch_factor=4 if config.workers else None,
    )
    for number, batch, errors in loader:
        if errors and config.on_error == "stop":
            raise ValueError(f"{errors[0]} (--on-error skip goes on without it)")
        yield number, batch, errors
