"""Poses of every skeleton come out as the same joints; what is missing is masked."""

import io
import json

import numpy as np
import pytest
import torch

from features import pose, pose_frames
from features.pose import HAND, JOINTS, SHOULDERS

pose_format = pytest.importorskip("pose_format")
MEDIAPIPE = [*(f"{s}_{j}" for j in ("SHOULDER", "ELBOW", "WRIST") for s in ("LEFT", "RIGHT"))]


def waving(t: int) -> np.ndarray:
    """Places (J, 2) in pixels at frame t: a signer whose hands go round."""
    rng = np.random.default_rng(0)
    places = rng.uniform(-30, 30, (len(JOINTS), 2))
    body = [(0, -60), (50, 0), (-50, 0), (70, 60), (-70, 60), (80, 110), (-80, 110)]
    places[:7] = body
    for side, wrist in ((0, 5), (1, 6)):
        begin = 7 + side * HAND
        places[begin : begin + HAND] = places[wrist] + 10 * np.array([np.cos(t / 3), np.sin(t / 3)])
        places[begin : begin + HAND] += rng.uniform(-9, 9, (HAND, 2))
    return places + (320, 200)


def written(
    folder, frames: int = 12, hands=("LEFT", "RIGHT"), body=True, change=None, name="a.pose",
    rate_hz=25.0,
):  # fmt: skip
    """Write a .pose file of MediaPipe's joints; `change` is done to (data, confidence)."""
    from pose_format.numpy.pose_body import NumPyPoseBody
    from pose_format.pose_header import PoseHeader, PoseHeaderComponent, PoseHeaderDimensions

    components, joints = [], []
    colours = [(255, 0, 0)]
    if body:
        components.append(("POSE_LANDMARKS", MEDIAPIPE))
        joints += [JOINTS.index(name) for name in MEDIAPIPE]
    for side in hands:
        components.append((f"{side}_HAND_LANDMARKS", [f"P{i}" for i in range(HAND)]))
        joints += [JOINTS.index(f"{side}_HAND_{i}") for i in range(HAND)]
    header = PoseHeader(
        0.2,
        PoseHeaderDimensions(640, 480, 100),
        [PoseHeaderComponent(n, points, [(0, 1)], colours, "XYZC") for n, points in components],
    )
    data = np.zeros((frames, 1, len(joints), 3), np.float32)
    data[:, 0, :, :2] = np.stack([waving(t)[joints] for t in range(frames)])
    confidence = np.ones(data.shape[:3], np.float32)
    if change:
        data, confidence = change(data, confidence)
    body = NumPyPoseBody(rate_hz, np.ma.masked_array(data, np.zeros_like(data, bool)), confidence)
    buffer = io.BytesIO()
    pose_format.Pose(header, body).write(buffer)
    path = folder / name
    path.write_bytes(buffer.getvalue())
    return path


def openpose(folder, frames: int = 12):
    """Write the same as a folder of OpenPose's JSON."""
    folder.mkdir()
    for t in range(frames):
        places = np.concatenate([waving(t), np.ones((len(JOINTS), 1))], 1)
        body = np.zeros((25, 3))
        body[list(pose.OPENPOSE)] = places[:7]
        person = {"pose_keypoints_2d": body.ravel().tolist(),
                  "hand_left_keypoints_2d": places[7 : 7 + HAND].ravel().tolist(),
                  "hand_right_keypoints_2d": places[7 + HAND :].ravel().tolist()}  # fmt: skip
        (folder / f"clip_{t:012d}_keypoints.json").write_text(json.dumps({"people": [person]}))
    return folder


def test_both_skeletons_are_one(tmp_path):
    """MediaPipe's file and OpenPose's folder: the same joints, but for a nose the first has not."""
    one, other = pose.load(written(tmp_path)), pose.load(openpose(tmp_path / "json"))
    assert one.points.shape == other.points.shape == (12, 49, 2) and one.rate_hz == 25.0
    np.testing.assert_allclose(one.points[:, 1:], other.points[:, 1:], atol=1e-3)
    assert (one.seen[:, 0] == 0).all() and (one.seen[:, 1:] == 1).all() and other.seen.all()
    np.testing.assert_allclose(other.points[5], waving(5), atol=1e-3)


def test_frames_are_their_definition(tmp_path):
    motion = pose.load(openpose(tmp_path / "json"))
    front = pose_frames.get()
    x, n = front(motion)
    assert n == 12 and x.shape == (12, front.dim) == (12, 245)
    places = x[:, :98].reshape(12, 49, 2).numpy()
    middle, width = np.array([320, 200]), 100.0
    np.testing.assert_allclose(places[4], (waving(4) - middle) / width, atol=1e-5)
    assert np.abs(places[:, SHOULDERS[0]] - places[:, SHOULDERS[1]]).sum() == pytest.approx(12.0)
    moved = x[:, 98:196].reshape(12, 49, 2).numpy()
    np.testing.assert_allclose(moved[1:], np.diff(places, axis=0), atol=1e-5)
    assert (moved[0] == 0).all() and (x[:, 196:] == 1).all()


def test_size_and_place_of_the_signer_do_not_matter(tmp_path):
    def change(data, confidence):
        return data * 3 + 55, confidence

    front = pose_frames.get()
    near, _ = front(pose.load(written(tmp_path)))
    far, _ = front(pose.load(written(tmp_path, change=change, name="b.pose")))
    torch.testing.assert_close(near, far, atol=1e-4, rtol=0)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -1e30, None])
def test_what_is_missing_is_masked(tmp_path, wrong):
    """NaN, places beyond any picture, and confidence 0: zeros, no velocity into or out of them."""

    def change(data, confidence):
        if wrong is None:
            confidence[3, 0, 8] = 0.0
        else:
            data[3, 0, 8] = wrong
        return data, confidence

    x, _ = pose_frames.get()(pose.load(written(tmp_path, change=change)))
    joint = JOINTS.index("LEFT_HAND_2")
    places, moved, seen = x[:, :98].reshape(-1, 49, 2), x[:, 98:196].reshape(-1, 49, 2), x[:, 196:]
    assert x.isfinite().all() and (places[3, joint] == 0).all() and seen[3, joint] == 0
    assert (moved[3:5, joint] == 0).all() and moved[5, joint].any() and seen[4, joint] == 1


def test_a_hand_alone(tmp_path):
    """Without shoulders the joints that are seen say where the middle is, and how large it is."""
    motion = pose.load(written(tmp_path, hands=("RIGHT",), body=False))
    front = pose_frames.get(parts=["right_hand"])
    x, _ = front(motion)
    places = x[:, : 2 * HAND]
    assert x.shape == (12, 105) and 0.05 < places.std() < 1 and places.mean().abs() < 0.01
    blank, _ = front(pose.load(written(tmp_path, hands=("LEFT",), body=False)))
    assert not blank.any()


def test_rates_and_parts(tmp_path):
    motion = pose.load(written(tmp_path, frames=50))
    assert motion.duration_s == 2.0
    for rate, n in ((12.5, 25), (50.0, 100), (0.0, 50), (25.0, 50)):
        assert pose_frames.get(rate_hz=rate)(motion)[1] == n
    np.testing.assert_array_equal(motion.at(12.5).points, motion.points[1::2])
    part = motion.cut(0.4, 0.8)
    np.testing.assert_array_equal(part.points, motion.points[10:30])
    for start, length in ((2.0, None), (-1.0, None), (0.5, 0.0)):
        with pytest.raises(ValueError, match="there is nothing"):
            motion.cut(start, length)


def test_chance(tmp_path):
    motion = pose.load(written(tmp_path))
    front = pose_frames.get(turn_deg=10.0, scale=0.1, drop=0.5)
    rng = np.random.default_rng
    assert front.random and torch.equal(front(motion)[0], front(motion)[0])
    drawn = [front(motion, rng(i)) for i in range(8)]
    assert torch.equal(drawn[3][0], front(motion, rng(3))[0])
    assert len({n for _, n in drawn}) > 1 and all(0 < n <= 12 for _, n in drawn)


def test_damaged_files_are_named(tmp_path):
    good = written(tmp_path).read_bytes()
    for name, data in (("cut.pose", good[:300]), ("empty.pose", b""), ("text.pose", b"no pose")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match=f"{name}: no") as error:
            pose.load(tmp_path / name)
        assert "\n" not in str(error.value)
    empty = written(tmp_path, change=lambda d, c: (d[:0], c[:0]), name="none.pose")
    with pytest.raises(ValueError, match="none.pose: no"):
        pose.load(empty)
    folder = openpose(tmp_path / "json", 3)
    (folder / "clip_000000000001_keypoints.json").write_text('{"people": [3]}')
    with pytest.raises(ValueError, match="000001_keypoints.json: no frame of OpenPose's JSON"):
        pose.load(folder)
    (tmp_path / "void").mkdir()
    with pytest.raises(ValueError, match="void: no frame in it"):
        pose.load(tmp_path / "void")
    with pytest.raises(ValueError, match="absent.pose: no such file or folder"):
        pose.load(tmp_path / "absent.pose")


@pytest.mark.parametrize("rate_hz", [1e-21, 1e-3, 0.0, -25.0, 1e9, float("nan")])
def test_rates_that_nothing_is_filmed_at(tmp_path, rate_hz):
    """Twelve frames that would be a week, brought to 25 a second, would fill the memory."""
    with pytest.raises(ValueError, match="a.pose: .* wanted|a.pose: wanted"):
        pose.load(written(tmp_path, rate_hz=rate_hz))
    slow = pose.load(written(tmp_path, rate_hz=0.01))
    assert pose_frames.get()(slow)[1] == 30_000


def test_mutated_poses_are_read_or_refused(tmp_path, request):
    """Finite frames, or one line that names the file; nothing else, and soon."""
    good = written(tmp_path, frames=3).read_bytes()
    rounds = 2000 if request.config.getoption("--slow") else 100
    rng, path, front, read = np.random.default_rng(1), tmp_path / "m.pose", pose_frames.get(), 0
    for _ in range(rounds):
        data = bytearray(good)
        for place in rng.integers(len(data), size=int(rng.integers(1, 9))):
            data[place] = int(rng.integers(256))
        path.write_bytes(
            bytes(data[: int(rng.integers(len(data)))] if rng.random() < 0.2 else data)
        )
        try:
            x, n = front(pose.load(path))
        except ValueError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)
        else:
            read += 1
            assert x.isfinite().all() and x.abs().max() <= 2 * pose_frames.FARTHEST
    assert 0 < read < rounds


def test_real_files(real_data, tmp_path):
    """MediaPipe's, OpenPose's, hands alone; the picture of one is looked at by people."""
    files = sorted((real_data / "sign").rglob("*.pose"))
    assert files
    for path in files:
        x, n = pose_frames.get()(pose.load(path))
        assert n == len(x) > 0 and x.isfinite().all() and x[:, 196:].any(), path
        assert x[:, :98].abs().quantile(0.99) < 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parts": ["face"]}, "parts: wanted some of body"),
        ({"rate_hz": -1.0}, "rate_hz: wanted 0 to 1000"),
        ({"drop": 1.0}, "drop: wanted a share below 1"),
        ({"part": 3}, "no setting called 'part'"),
        ({"rate_hz": "fast"}, "wrong kind"),
    ],
)
def test_wrong_settings(options, message):
    with pytest.raises(ValueError, match=message):
        pose_frames.get(**options)
