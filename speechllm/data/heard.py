"""What is heard in place of the right sound, to see how much of an answer comes from listening.

    other = heard.make("shuffled", manifest, extractor, seed=0)    # each sound is another's
    other = heard.make("silent", manifest, extractor)              # every frame is one of silence

Given to `Examples` as `heard`. Rows keep their ids, questions and answers; so do the parts of a
message that say `"asks": true`, because they ask and are not asked about.
"""

from dataclasses import dataclass

import numpy as np
import torch

from speechllm.data import chat
from speechllm.data.manifest import Manifest

KINDS = ("real", "shuffled", "silent")


@dataclass(frozen=True)
class Shuffled:
    """Another sound for each: `others` maps the key of a sound to the part that is heard."""

    others: dict[tuple, dict]

    def part(self, part: dict) -> dict:
        """Return the part that is heard in place of this one."""
        return part if part.get("asks") else self.others[key(part)]

    def frames(self, part: dict, x: torch.Tensor) -> torch.Tensor:
        """Leave frames as they are."""
        return x


@dataclass(frozen=True)
class Silent:
    """The front end's frame of digital silence, (F,), or one sample, in place of every frame."""

    frame: torch.Tensor

    def part(self, part: dict) -> dict:
        """Leave parts as they are."""
        return part

    def frames(self, part: dict, x: torch.Tensor) -> torch.Tensor:
        """Return as many frames of silence as x (T, F) or (N,) has."""
        return x if part.get("asks") else self.frame.expand_as(x).contiguous()


def make(kind: str, manifest: Manifest, extractor, seed: int = 0) -> Shuffled | Silent | None:
    """Make what replaces the sounds of a manifest; None for "real".

    Each distinct sound is replaced by another one, all of them changing places in one ring that the
    seed draws, so that no sound stays where it was, and each is heard as often as before.

    Raises:
        ValueError: another word; a manifest with less than two sounds cannot be shuffled.
    """
    if kind not in KINDS:
        raise ValueError(f"audio: wanted {', '.join(KINDS[:-1])} or {KINDS[-1]}, got {kind!r}")
    if kind == "real":
        return None
    if kind == "silent":
        return Silent(silence_frame(extractor))
    sounds = {key(part): part for row in manifest for part in _sounds(row)}
    if len(sounds) < 2:
        raise ValueError(f"{manifest.path}: {len(sounds)} sounds; shuffling wants two or more")
    ring = [list(sounds)[i] for i in np.random.default_rng(seed).permutation(len(sounds))]
    return Shuffled({a: sounds[b] for a, b in zip(ring, ring[1:] + ring[:1], strict=True)})


def key(part: dict) -> tuple:
    """What tells one sound from another: file and times."""
    return part["audio"], part.get("start") or 0.0, part.get("duration")


def _sounds(row: dict) -> list[dict]:
    """The sounds of a row that may be replaced: its own, or those of its messages."""
    if row.get("messages"):
        parts = chat.media(row["messages"])
    else:
        parts = [row] if row.get("audio") is not None else []
    kept = ("start", "duration", "features")
    return [
        {"type": "audio", "audio": p["audio"], **{k: p[k] for k in kept if k in p}}
        for p in parts
        if not p.get("asks")
    ]


def silence_frame(extractor) -> torch.Tensor:
    """Return what the front end makes of digital silence: one frame (F,), or one sample."""
    x, n = extractor(torch.zeros(extractor.sampling_rate))
    return x[n // 2]
