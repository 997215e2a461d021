"""Poses to frames: joints chosen, centred, scaled by the shoulders, with velocities and masks.

    front = Frames(parts=("body", "left_hand", "right_hand"), rate_hz=25.0)
    x, n = front(motion)             # (T, 245), T

A frame is each joint's place (x to the right, y down, in widths of the shoulders from their
middle), its velocity (the same, a frame) and whether it is seen, 0 or 1: zeros where it is not.
Middle and width are the medians over the clip, so that a signer who leans stays where they lean.
Where no shoulder is ever seen (a hand alone), all joints that are give the middle and the width.
"""

from dataclasses import dataclass

import numpy as np
import torch

from features.pose import BODY, HAND, SHOULDERS, Motion

PARTS = {
    "body": range(len(BODY)),
    "left_hand": range(len(BODY), len(BODY) + HAND),
    "right_hand": range(len(BODY) + HAND, len(BODY) + 2 * HAND),
}
FARTHEST = 20.0  # widths of the shoulders: what is beyond is a slip of the tracker
HAND_WIDTHS = 4.0  # a hand alone: so many deviations of its joints count as a width


@dataclass(frozen=True)
class Frames:
    """The front end.

    Attributes:
        parts: some of PARTS, in this order.
        rate_hz: frames a second; 0: as the file has them.
        confidence: what is seen with less counts as not seen.
        velocity: with velocities.
        turn_deg: in training all is turned by up to so many degrees. scale: and made larger or
            smaller by up to this share. drop: so many frames, at most, of all are left out.
    """

    parts: tuple[str, ...] = ("body", "left_hand", "right_hand")
    rate_hz: float = 25.0
    confidence: float = 0.05
    velocity: bool = True
    turn_deg: float = 0.0
    scale: float = 0.0
    drop: float = 0.0

    def __post_init__(self):
        """Refuse settings that mean nothing."""
        if not self.parts or len(set(self.parts)) < len(self.parts) or set(self.parts) - {*PARTS}:
            raise ValueError(f"parts: wanted some of {', '.join(PARTS)}, got {list(self.parts)}")
        for name, most in (("rate_hz", 1000), ("confidence", 1), ("turn_deg", 180)):
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name}: wanted 0 to {most}, got {getattr(self, name)}")
        for name in ("scale", "drop"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}: wanted a share below 1, got {getattr(self, name)}")

    @property
    def joints(self) -> list[int]:
        """Which of `pose.JOINTS` are taken."""
        return [joint for part in self.parts for joint in PARTS[part]]

    @property
    def dim(self) -> int:
        """Values of a frame."""
        return len(self.joints) * (5 if self.velocity else 3)

    def count(self, n: int) -> int:
        """Give as many frames."""
        return n

    @property
    def random(self) -> bool:
        """Whether training changes a pose by chance."""
        return bool(self.turn_deg or self.scale or self.drop)

    def __call__(self, motion: Motion, rng=None) -> tuple[torch.Tensor, int]:
        """Turn a motion into frames (T, dim) float32, T; changed by chance where rng is given."""
        motion = motion.at(self.rate_hz)
        points, seen = motion.points.astype(np.float64), motion.seen >= max(self.confidence, 1e-6)
        points = scaled(points, seen)
        if rng is not None and self.random:
            points, seen = self._changed(points, seen, rng)
        points, seen = points[:, self.joints], seen[:, self.joints]
        columns = [points.reshape(len(points), -1), seen]
        if self.velocity:
            moved = np.diff(points, axis=0, prepend=points[:1])
            both = seen & np.concatenate([seen[:1], seen[:-1]])
            columns.insert(1, (moved * both[..., None]).reshape(len(points), -1))
        x = torch.from_numpy(np.concatenate(columns, 1).astype(np.float32))
        return x, len(x)

    def _changed(self, points, seen, rng: np.random.Generator):
        angle = np.radians(rng.uniform(-self.turn_deg, self.turn_deg))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        points = points @ turn.T * (1 + rng.uniform(-self.scale, self.scale))
        kept = rng.random(len(points)) >= self.drop * rng.random()
        kept[rng.integers(len(kept))] = True
        return points[kept], seen[kept]


def scaled(points: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Bring places (T, J, 2) to widths of the shoulders from their middle; 0 where not `seen`."""
    both = seen[:, SHOULDERS[0]] & seen[:, SHOULDERS[1]]
    left, right = points[both][:, SHOULDERS[0]], points[both][:, SHOULDERS[1]]
    if both.any() and (width := np.median(np.linalg.norm(left - right, axis=-1))) > 1e-6:
        middle = np.median((left + right) / 2, 0)
    elif seen.any():
        there = points[seen]
        middle, width = there.mean(0), HAND_WIDTHS * max(there.std(0).mean(), 1e-6)
    else:
        return np.zeros_like(points)
    placed = ((points - middle) / width).clip(-FARTHEST, FARTHEST)
    return np.where(seen[..., None], placed, 0.0)


def get(name: str | None = "pose", **options) -> Frames:
    """Make the front end.

    Raises:
        ValueError: no such front end or setting, or one that means nothing.
    """
    if name != "pose":
        raise ValueError(f"no front end for poses called {name!r}; known: pose")
    known = Frames.__dataclass_fields__
    for key in options:
        if key not in known:
            raise ValueError(f"no setting called {key!r}; known: {', '.join(known)}")
    made = {key: tuple(v) if isinstance(v, list) else v for key, v in options.items()}
    try:
        return Frames(**made)
    except TypeError as error:  # a text where a number is wanted, say
        raise ValueError(f"a setting of a wrong kind: {error}") from None
