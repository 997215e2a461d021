"""What is heard in place of the right sound, to see how much of an answer comes from listening.

    other = control.make("shuffled", manifest, extractor, seed=0)    # each sound is another's
    other = control.make("silent", manifest, extractor)              # every frame is one of silence

Given to `Examples` in `controls`, by medium. Rows keep their ids, questions and answers; so do the
parts of a message that say `"asks": true`, because they ask and are not asked about.
"""

from dataclasses import dataclass

import numpy as np
import torch

from speechllm import media
from speechllm.config import suggest
from speechllm.data.manifest import Manifest
from speechllm.data.rows import parts

KINDS = ("real", "shuffled", "silent")


@dataclass(frozen=True)
class Shuffled:
    """Another sound for each: `others` maps the key of a sound to the part that is heard."""

    medium: str
    others: dict[tuple, dict]

    def part(self, part: dict) -> dict:
        """Return the part that is heard in place of this one."""
        return part if part.get("asks") else self.others[media.of(self.medium).key(part)]

    def frames(self, part: dict, x: torch.Tensor) -> torch.Tensor:
        """Leave frames as they are."""
        return x


@dataclass(frozen=True)
class Silent:
    """The front end's frame of digital silence, (F,), or one sample, in place of every frame.

    A medium whose frames are not all alike then (patches have places) says itself how it is hidden.
    """

    medium: str
    frame: torch.Tensor
    front: object = None

    def part(self, part: dict) -> dict:
        """Leave parts as they are, but for stored states: silence is put in before the encoder."""
        if part.get("asks") or not media.encoded(part):
            return part
        return {key: value for key, value in part.items() if key != "features"}

    def frames(self, part: dict, x: torch.Tensor) -> torch.Tensor:
        """Return as many frames of silence as x (T, F) or (N,) has."""
        if part.get("asks"):
            return x
        if hidden := getattr(media.of(self.medium), "hidden", None):
            return hidden(x, self.front)
        return self.frame.expand_as(x).contiguous()


def of_all(kind: str, manifest: Manifest, branches: dict, seed: int = 0) -> dict:
    """Make what replaces each medium of a manifest that has two of it, by medium; see `make`.

    kind: one of KINDS; with a medium behind it, "shuffled:image", only that one is replaced.
    branches: by medium, what has its front end, `front`.

    Raises:
        ValueError: another word, a medium that the model has not; a manifest that has two of none.
    """
    kind, _, medium = kind.partition(":")
    if medium and medium not in branches:
        hint = suggest(medium, branches)
        raise ValueError(f"{kind}:{medium}: the model reads no medium {medium!r}; {hint}")
    if medium:
        return {medium: make(kind, manifest, branches[medium].front, seed, medium)}
    if kind != "shuffled" or len(branches) == 1:
        made = {m: make(kind, manifest, one.front, seed, m) for m, one in branches.items()}
    else:
        found = {part["type"] for row in manifest for part in parts(row)}
        made = {m: make(kind, manifest, None, seed, m) for m in branches if m in found}
    return {medium: one for medium, one in made.items() if one is not None}


def make(
    kind: str, manifest: Manifest, front, seed: int = 0, medium: str = "audio"
) -> Shuffled | Silent | None:
    """Make what replaces the sounds of a manifest, or what else it has of a medium; None: "real".

    Each distinct one is replaced by another one, all of them changing places in one ring that the
    seed draws, so that none stays where it was, and each is heard as often as before.

    Args:
        kind: one of KINDS.
        manifest: whose rows they are.
        front: the medium's front end, which says what nothing is.
        seed: of the ring.
        medium: a file of media/.

    Raises:
        ValueError: another word; a manifest with less than two sounds cannot be shuffled.
    """
    if kind not in KINDS:
        raise ValueError(f"media: wanted {', '.join(KINDS[:-1])} or {KINDS[-1]}, got {kind!r}")
    if kind == "real":
        return None
    key = media.of(medium).key
    if kind == "silent":
        x, n = media.of(medium).nothing(front)
        return Silent(medium, x[n // 2], front)
    there = (p for row in manifest for p in parts(row) if p["type"] == medium and not p.get("asks"))
    sounds = {key(part): part for part in there}
    if len(sounds) < 2:
        raise ValueError(f"{manifest.path}: {len(sounds)} sounds; shuffling wants two or more")
    ring = [list(sounds)[i] for i in np.random.default_rng(seed).permutation(len(sounds))]
    others = {a: sounds[b] for a, b in zip(ring, ring[1:] + ring[:1], strict=True)}
    return Shuffled(medium, others)
