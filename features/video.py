"""Videos: some of their frames, evenly spread, whatever they are kept in.

    pictures = load("a.mp4", most=64)         # [(H, W, 3) uint8, ...]
    info("a.gif").duration_s

A folder of pictures (in the order of the numbers in their names) and animations (GIF, WebP, PNG)
are read by Pillow; other files by PyAV, which is FFmpeg's libraries (pip install speechllm[video]).
The frames that are taken stand in the middle of as many equal stretches of time; others are decoded
where they must be and let go, so that memory does not grow with the video.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from features import image

ANIMATED = (".gif", ".webp", ".png", ".apng")
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm")
FOLDER_HZ = 25.0  # of a folder of frames, which does not say
JUMP_S = 5.0  # farther than this to the next frame that is wanted, the reader jumps
MOST = 1024  # frames at once


@dataclass(frozen=True)
class Info:
    """How long a video is, and how many frames it has (0: its header does not say)."""

    duration_s: float
    frames: int


def info(path: str | Path) -> Info:
    """Read how long a video is.

    Raises:
        ValueError: no video, or one without frames.
    """
    path = Path(path)
    if path.is_dir():
        count = len(_files(path))
        return Info(count / FOLDER_HZ, count)
    if path.suffix.lower() in ANIMATED:
        count = image.info(path).frames
        shown = sum(image.durations(path))
        return Info(shown or count / FOLDER_HZ, count)
    with _Container(path) as video:
        return Info(video.duration_s, video.frames)


def load(
    path: str | Path, most: int = 64, start_s: float = 0.0, duration_s: float | None = None
) -> list[np.ndarray]:
    """Decode up to `most` frames of a stretch of a video, evenly spread: (H, W, 3) uint8 each.

    Raises:
        ValueError: no video, a damaged one, or none of its frames lies there.
    """
    path, whole = Path(path), info(path)
    if not 1 <= most <= MOST:
        raise ValueError(f"most: wanted 1 to {MOST} frames, got {most}")
    length_s = whole.duration_s - start_s if duration_s is None else duration_s
    if start_s < 0 or length_s <= 0 or start_s >= whole.duration_s:
        raise ValueError(
            f"{path}: from {start_s:g} s on, of {whole.duration_s:g} s, there is no frame"
        )
    length_s = min(length_s, whole.duration_s - start_s)
    if path.is_dir() or path.suffix.lower() in ANIMATED:
        return _of_pictures(path, whole, most, start_s, length_s)
    with _Container(path) as video:
        return video.take(_times(most, start_s, length_s))


def _times(count: int, start_s: float, length_s: float) -> np.ndarray:
    """The middles of `count` equal stretches."""
    return start_s + (np.arange(count) + 0.5) * length_s / count


def _of_pictures(path: Path, whole: Info, most: int, start_s: float, length_s: float) -> list:
    share = whole.frames / whole.duration_s
    first = min(int(start_s * share), whole.frames - 1)
    count = max(min(round(length_s * share), whole.frames - first), 1)
    most = min(most, count)
    numbers = first + ((np.arange(most) + 0.5) * count / most).astype(int)
    if path.is_dir():
        files = _files(path)
        return [image.load(files[number]) for number in numbers]
    return image.frames(path, numbers.tolist())


def _files(path: Path) -> list[Path]:
    """The pictures of a folder, in the order of the last number in each name.

    Raises:
        ValueError: it has none.
    """
    found = [one for one in path.iterdir() if one.suffix.lower() in PICTURES]
    if not found:
        raise ValueError(f"{path}: no frame in it")
    return sorted(found, key=lambda one: ([int(n) for n in re.findall(r"\d+", one.stem)[-1:]], one))


class _Container:
    """A file that PyAV reads, for as long as a `with` lasts."""

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self) -> "_Container":
        try:
            import av
        except ImportError:
            raise ValueError(
                f"{self.path}: pip install speechllm[video] reads such files"
            ) from None
        if not self.path.is_file():
            raise ValueError(f"{self.path}: no such file or folder")
        try:
            self.file = av.open(str(self.path))
        except Exception as error:  # FFmpeg's, of many kinds
            raise self._wrong(error) from None
        if not self.file.streams.video:
            self.file.close()
            raise ValueError(f"{self.path}: no video in it, but {_kinds(self.file) or 'nothing'}")
        self.stream = self.file.streams.video[0]
        try:
            image.check_size(self.stream.width, self.stream.height)
        except ValueError as error:
            self.file.close()
            raise self._wrong(error) from None
        return self

    def __exit__(self, *_) -> None:
        self.file.close()

    def _wrong(self, error: Exception) -> ValueError:
        told = " ".join(str(error).split())[:200] or type(error).__name__
        return ValueError(f"{self.path}: no video that can be read: {told}")

    @property
    def frames(self) -> int:
        """Frames, as its header says."""
        return self.stream.frames

    @property
    def duration_s(self) -> float:
        """Seconds; where no header says, those up to the last frame.

        Raises:
            ValueError: it has no frame.
        """
        stream = self.stream
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        if self.file.duration:
            return self.file.duration / 1e6
        times = [time for time, _ in self._decoded()]
        if not times:
            raise ValueError(f"{self.path}: no frame in it")
        return times[-1] + 1 / float(stream.average_rate or FOLDER_HZ)

    def take(self, times: np.ndarray) -> list[np.ndarray]:
        """Decode the frame that is shown at each time; each frame once.

        Raises:
            ValueError: a damaged file, or none of its frames is shown then.
        """
        found: list[np.ndarray] = []
        decoded, current, after, last = None, None, None, None
        for wanted in times:
            if decoded is None or wanted - current[0] > JUMP_S:
                decoded, current, after = self._from(wanted), None, None
            while True:  # on, to the last frame that is not later than wanted
                after = after or next(decoded, None)
                if after is None or (current and after[0] > wanted):
                    break
                current, after = after, None
            if current is None:
                raise ValueError(f"{self.path}: no frame is shown at {wanted:.2f} s")
            if current[0] != last:  # where there are fewer frames than times, each comes once
                found.append(self._pixels(current[1]))
                last = current[0]
        return found

    def _from(self, time_s: float) -> Iterator:
        try:
            self.file.seek(int(max(time_s - 0.5, 0.0) * 1e6))
        except Exception as error:
            raise self._wrong(error) from None
        return self._decoded()

    def _decoded(self) -> Iterator:
        """Yield (time, frame); raises ValueError where the file is damaged."""
        try:
            for frame in self.file.decode(self.stream):
                if frame.time is not None:
                    yield float(frame.time), frame
        except Exception as error:
            raise self._wrong(error) from None

    def _pixels(self, frame) -> np.ndarray:
        image.check_size(frame.width, frame.height)
        return frame.to_ndarray(format="rgb24")


def _kinds(file) -> str:
    return ", ".join(sorted({stream.type for stream in file.streams}))
