"""Frames of videos of every kind: which ones are taken, and what cannot be read."""

import numpy as np
import pytest
import torch
from PIL import Image

from features import video, video_frames

SHADES = [6 * i for i in range(40)]


def picture(shade: int) -> Image.Image:
    return Image.new("RGB", (32, 16), (shade,) * 3)


def folder(path, count: int = 40):
    """A folder of frames whose names sort wrongly as texts."""
    path.mkdir()
    for i in range(count):
        picture(SHADES[i]).save(path / f"frame_{i}.png")
    (path / "notes.txt").write_text("no frame")
    return path


def gif(path, count: int = 40):
    first, *rest = (picture(shade) for shade in SHADES[:count])
    first.save(path, save_all=True, append_images=rest, duration=40)
    return path


def mp4(path, count: int = 40, rate: int = 10):
    """A video of so many frames, each of one grey, encoded by FFmpeg's libraries."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        stream.bit_rate = 2_000_000
        for shade in SHADES[:count]:
            frame = av.VideoFrame.from_image(picture(shade))
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


def shades(pictures) -> list[int]:
    """Which frame each is, by its grey."""
    assert all(p.shape == (16, 32, 3) and p.dtype == np.uint8 for p in pictures)
    return [round(float(p.mean()) / 6) for p in pictures]


@pytest.mark.parametrize(("make", "name"), [(folder, "f"), (gif, "a.gif"), (mp4, "a.mp4")])
def test_frames_are_spread_evenly(tmp_path, make, name):
    path = make(tmp_path / name)
    whole = video.info(path)
    assert whole.frames == 40
    assert whole.duration_s == pytest.approx({"f": 1.6, "a.gif": 1.6, "a.mp4": 4.0}[name])
    assert shades(video.load(path, 4)) == [5, 15, 25, 35]
    assert shades(video.load(path, 1)) == [20]
    assert shades(video.load(path, 64)) == [*range(40)]  # each that there is once
    half = whole.duration_s / 2
    assert shades(video.load(path, 2, half)) == [25, 35]
    assert shades(video.load(path, 2, 0.0, half)) == [5, 15]
    for start, length in ((whole.duration_s, None), (-1.0, None), (0.0, 0.0)):
        with pytest.raises(ValueError, match="there is no frame"):
            video.load(path, 2, start, length)


def test_a_long_video_is_jumped_through(tmp_path, monkeypatch):
    path = mp4(tmp_path / "a.mp4", 40, rate=1)
    asked = []
    original = video._Container._from
    monkeypatch.setattr(
        video._Container, "_from", lambda self, t: asked.append(t) or original(self, t)
    )
    assert shades(video.load(path, 4)) == [5, 15, 25, 35] and len(asked) == 4


def test_what_is_no_video_is_named(tmp_path):
    (tmp_path / "void").mkdir()
    (tmp_path / "a.mp4").write_bytes(b"no video at all" * 50)
    good = mp4(tmp_path / "good.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(good[: len(good) // 3])
    for name, message in {
        "void": "no frame in it", "a.mp4": "no video that can be read",
        "absent.mp4": "no such file",
        "cut.mp4": "no video that can be read",
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match=f"{name}: {message}") as error:
            video.load(tmp_path / name)
        assert "\n" not in str(error.value)


def test_real_video(real_data):
    path = real_data / "sign/pose_format_tests/test_video.mp4"
    pytest.importorskip("av")
    pictures = video.load(path, 8)
    assert len(pictures) == 8 and len({p.shape for p in pictures}) == 1
    assert pictures[0].std() > 10 and not np.array_equal(pictures[0], pictures[-1])


def test_frames_to_patches():
    front = video_frames.get("patches", size=16, patch=4, most=5)
    pictures = [np.asarray(picture(shade)) for shade in (0, 255, 128)]
    x, n = front(pictures)
    assert n == len(x) == front.count(3) == 48 and x.shape[1] == front.dim
    assert x[::16, -3].tolist() == [0, 1, 2] and (x[16:32, :-3] == 1).all()
    shifted = video_frames.get("patches", size=16, patch=4, shift=0.5)
    noise = [np.random.default_rng(0).integers(0, 255, (16, 16, 3)).astype(np.uint8)] * 2
    moved, _ = shifted(noise, np.random.default_rng(1))
    assert torch.equal(moved[:16, :-3], moved[16:, :-3]) and shifted.random


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fit": "tiles"}, "fit: wanted one of stretch, crop, pad"),
        ({"most": 0}, "most: wanted 1 to 1024 frames"),
        ({"sizes": 3}, "no setting called 'sizes'"),
        ({"most": "all"}, "wrong kind"),
    ],
)
def test_wrong_settings(options, message):
    with pytest.raises(ValueError, match=message):
        video_frames.get("patches", **options)
