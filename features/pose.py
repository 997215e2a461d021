"""Poses in files: where the joints of a signer are, frame by frame.

    motion = load("a.pose")          # or a folder of OpenPose's JSON, a file a frame, as How2Sign's
    motion.points, motion.seen       # (T, 49, 2) float32, (T, 49) confidence of 0 to 1
    motion.rate_hz                   # frames a second

`.pose` files are read by the `pose-format` library (pip install speechllm[pose]). Whatever skeleton
a file has (MediaPipe's, OpenPose's), the same 49 joints are taken of it, by their names: seven of
the body (nose, shoulders, elbows, wrists) and 21 of each hand, in the order that both use. What a
file does not have, or has as NaN, is a joint that is not seen: confidence 0. Of several people the
one who is seen best is taken.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SIDES = ("LEFT", "RIGHT")
BODY = ("NOSE", *(f"{s}_{joint}" for joint in ("SHOULDER", "ELBOW", "WRIST") for s in SIDES))
HAND = 21
JOINTS = (*BODY, *(f"{side}_HAND_{i}" for side in SIDES for i in range(HAND)))
SHOULDERS = JOINTS.index("LEFT_SHOULDER"), JOINTS.index("RIGHT_SHOULDER")
# OpenPose's body of 25 (and, as far as it goes, of 18): where BODY's joints stand in it
OPENPOSE = (0, 5, 2, 6, 3, 7, 4)
OPENPOSE_NAMES = ("Nose", "LShoulder", "RShoulder", "LElbow", "RElbow", "LWrist", "RWrist")
OPENPOSE_HZ = 25.0  # its JSON does not say; How2Sign's clips have about so many
JSON_PARTS = (
    ("pose_keypoints_2d", len(BODY)), ("hand_left_keypoints_2d", HAND),
    ("hand_right_keypoints_2d", HAND),
)  # fmt: skip
MOST_FRAMES = 100_000  # more than an hour
MOST_S = MOST_FRAMES / OPENPOSE_HZ
MOST_BYTES = 500_000_000
FURTHEST = 1e6  # pixels; what is beyond is no place


@dataclass(frozen=True)
class Motion:
    """Places (T, J, 2), confidences (T, J) and frames a second; J as JOINTS."""

    points: np.ndarray
    seen: np.ndarray
    rate_hz: float

    @property
    def duration_s(self) -> float:
        """How long it is."""
        return len(self.points) / self.rate_hz

    def cut(self, start_s: float, duration_s: float | None) -> "Motion":
        """Take a part of it.

        Raises:
            ValueError: nothing is there.
        """
        begin = round(start_s * self.rate_hz)
        end = len(self.points) if duration_s is None else begin + round(duration_s * self.rate_hz)
        if not 0 <= begin < min(end, len(self.points)):
            raise ValueError(f"from {start_s:g} s on, of {self.duration_s:g} s, there is nothing")
        return Motion(self.points[begin:end], self.seen[begin:end], self.rate_hz)

    def at(self, rate_hz: float) -> "Motion":
        """Take as many frames a second as wanted, each the one that was there at its time."""
        if not rate_hz or rate_hz == self.rate_hz:
            return self
        count = max(round(self.duration_s * rate_hz), 1)
        times = ((np.arange(count) + 0.5) * self.rate_hz / rate_hz).astype(int)
        times = times.clip(0, len(self.points) - 1)
        return Motion(self.points[times], self.seen[times], rate_hz)


def load(path: str | Path) -> Motion:
    """Read a `.pose` file, or a folder of OpenPose's JSON.

    Raises:
        ValueError: nothing there, damaged, without frames or joints, too long; says which file.
    """
    path = Path(path)
    if path.is_dir():
        found = _of_folder(path)
    elif path.is_file():
        found = _of_pose(path)
    else:
        raise ValueError(f"{path}: no such file or folder")
    points, seen, rate_hz = found
    if not len(points):
        raise ValueError(f"{path}: no frame in it")
    if not 0 < rate_hz <= 1000:
        raise ValueError(f"{path}: wanted up to 1000 frames a second, it says {rate_hz}")
    if len(points) / rate_hz > MOST_S:  # three frames may say that they last for ever
        raise ValueError(
            f"{path}: {len(points)} frames at {rate_hz:g} a second, wanted at most {MOST_S:g} s"
        )
    # a place that is no number, or is where no picture is, was not seen
    far = ~np.isfinite(points).all(-1) | (np.abs(np.nan_to_num(points)) > FURTHEST).any(-1)
    seen = np.where(far | ~np.isfinite(seen), 0.0, seen).clip(0.0, 1.0).astype(np.float32)
    points = np.where(seen[..., None] > 0, points, 0.0).astype(np.float32)
    return Motion(points, seen, rate_hz)


def _of_pose(path: Path) -> tuple[np.ndarray, np.ndarray, float]:
    try:
        from pose_format import Pose
    except ImportError:
        raise ValueError(f"{path}: pip install speechllm[pose] reads .pose files") from None
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{path}: {path.stat().st_size / 1e6:.0f} MB, wanted at most 500")
    data = path.read_bytes()
    try:
        pose = Pose.read(data)
        values = np.ma.filled(pose.body.data.astype(np.float32), np.nan)
        confidence = np.asarray(pose.body.confidence, np.float32)
        rate_hz = float(pose.body.fps)
        places = _named(pose.header.components)
    except Exception as error:  # a damaged file ends in errors of many kinds
        told = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"{path}: no pose that can be read: {told}") from None
    if values.ndim != 4 or values.shape[-1] < 2 or confidence.shape != values.shape[:3]:
        raise ValueError(f"{path}: no pose that can be read: values of shape {values.shape}")
    if not any(place is not None for place in places):
        names = ", ".join(component.name for component in pose.header.components)
        raise ValueError(f"{path}: no joint of {names or 'it'} is one of body or hands")
    if not values.shape[1]:
        values, confidence = np.zeros((0, 1, *values.shape[2:])), np.zeros((0, 1, len(places)))
    best = int(confidence.sum((0, 2)).argmax()) if confidence.size else 0
    return *_taken(values[:, best, :, :2], confidence[:, best], places), rate_hz


def _named(components) -> list[int | None]:
    """Where each of JOINTS stands among all points of a file; None where it does not."""
    found: dict[str, int] = {}
    begin = 0
    for component in components:
        name = component.name.upper()
        for number, point in enumerate(component.points):
            if "HAND" in name and len(component.points) == HAND:
                side = "LEFT" if "LEFT" in name else "RIGHT"
                found.setdefault(f"{side}_HAND_{number}", begin + number)
            elif "WORLD" not in name and "FACE" not in name:
                found.setdefault(_plain(point), begin + number)
        begin += len(component.points)
    return [found.get(joint) for joint in JOINTS]


def _plain(point: str) -> str:
    """Give a joint of the body as BODY calls it."""
    return BODY[OPENPOSE_NAMES.index(point)] if point in OPENPOSE_NAMES else point.upper()


def _taken(values: np.ndarray, confidence: np.ndarray, places: list) -> tuple:
    """Take JOINTS out of values (T, P, 2), confidence (T, P)."""
    points = np.full((len(values), len(JOINTS), 2), np.nan, np.float32)
    seen = np.zeros((len(values), len(JOINTS)), np.float32)
    for joint, place in enumerate(places):
        if place is not None:
            points[:, joint], seen[:, joint] = values[:, place], confidence[:, place]
    return points, seen


def _of_folder(path: Path) -> tuple[np.ndarray, np.ndarray, float]:
    """Read a folder of OpenPose's JSON, a file a frame, in the order of their numbers."""
    names = [name for name in path.iterdir() if name.suffix == ".json"]
    if len(names) > MOST_FRAMES:
        raise ValueError(f"{path}: {len(names)} frames, wanted at most {MOST_FRAMES}")
    names.sort(key=lambda name: ([int(n) for n in re.findall(r"\d+", name.stem)[-1:]], name.name))
    frames = np.full((len(names), len(JOINTS), 3), np.nan, np.float32)
    for frame, name in zip(frames, names, strict=True):
        frame[:] = _person(name)
    return frames[..., :2], np.nan_to_num(frames[..., 2]), OPENPOSE_HZ


def _person(name: Path) -> np.ndarray:
    """Read the person who is seen best in a file: (J, 3), NaN where nobody is."""
    try:
        people = json.loads(name.read_bytes())["people"]
        found = [_joints(person) for person in people]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError) as error:
        what = " ".join(str(error).split())[:100]
        raise ValueError(f"{name}: no frame of OpenPose's JSON: {what}") from None
    nobody = np.full((len(JOINTS), 3), np.nan, np.float32)
    return max(found, key=lambda one: np.nansum(one[:, 2]), default=nobody)


def _joints(person: dict) -> np.ndarray:
    parts = []
    for part, count in JSON_PARTS:
        values = np.asarray(person.get(part) or [], np.float64)
        values = values[: len(values) // 3 * 3].reshape(-1, 3)
        taken = np.full((count, 3), np.nan)
        order = np.array(OPENPOSE) if part == "pose_keypoints_2d" else np.arange(HAND)
        there = order < len(values)
        taken[there] = values[order[there]]
        parts.append(taken)
    return np.concatenate(parts).astype(np.float32)
