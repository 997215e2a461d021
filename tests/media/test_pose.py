"""A signer, a picture and speech in one conversation; what is wrong with a pose is said."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from features import pose
from features.pose import HAND, JOINTS
from speechllm import media
from speechllm.data import control, manifest
from speechllm.data.collate import collate
from speechllm.data.validate import validate
from speechllm.decode import search
from speechllm.models import store, tiny
from speechllm.train import loop
from speechllm.train.phases import phases

BRANCHES = [
    "branch.pose={encoder={name='pose',dim=8,layers=1,heads=2},adapter={name='mlp'}}",
    "branch.image={frontend={fit='within',size=32,patch=2},"
    "encoder={name='patches',dim=8,patch=2},adapter={name='linear',stack=1,hidden=16}}",
    "phase.tune.train=['adapter.*','branch.*','llm.*lora_*']",
    "phase.tune.steps=20", "phase.tune.lr=5e-3", "phase.encoder.steps=2", "augment={}",
]  # fmt: skip


def clip(folder, frames: int, seed: int = 0, blank: bool = False):
    """Write a folder of OpenPose's JSON: a signer whose hands move as the seed says."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    places = np.concatenate([rng.uniform(0, 200, (len(JOINTS), 2)), np.ones((49, 1))], 1)
    for t in range(frames):
        body = np.zeros((25, 3))
        body[list(pose.OPENPOSE)] = places[:7]
        hands = places[7:] + [3 * t, seed * t, 0]
        person = {"pose_keypoints_2d": body.ravel().tolist(),
                  "hand_left_keypoints_2d": hands[:HAND].ravel().tolist(),
                  "hand_right_keypoints_2d": hands[HAND:].ravel().tolist()}  # fmt: skip
        people = [] if blank else [person]
        (folder / f"c_{t:012d}_keypoints.json").write_text(json.dumps({"people": people}))
    return str(folder)


@pytest.fixture
def conversations(tiny, tmp_path):
    """Rows of a pose, a picture and a sound, in several orders."""
    Image.new("RGB", (6, 4), (200, 10, 10)).save(tmp_path / "a.png")
    rows = []
    for i, one in enumerate([*manifest.Manifest(tiny / "train.jsonl")][:4]):
        signer = {"type": "pose", "pose": clip(tmp_path / f"clip{i}", 9 + 4 * i, i)}
        signer["duration"] = (9 + 4 * i) / 25
        sound = {"type": "audio", "audio": one["audio"], "duration": one["duration"]}
        picture = {"type": "image", "image": str(tmp_path / "a.png")}
        say = {"type": "text", "text": "say"}
        for name, content in (("all", (signer, say, picture, sound)), ("alone", (say, signer)),
                              ("two", (sound, signer))):  # fmt: skip
            turns = [
                {"role": "user", "content": [*content]},
                {"role": "assistant", "content": ("low", "mid", "high", "low")[i]},
            ]
            rows.append({"id": f"{name}{i}", "messages": turns})
    manifest.write(tmp_path / "m.jsonl", rows)
    return manifest.Manifest(tmp_path / "m.jsonl")


@pytest.fixture
def run(make_run, conversations, tmp_path):
    made = make_run(tmp_path / "run", *BRANCHES)
    made.manifests = {"train": conversations, "valid": conversations}
    return made


def examples_of(run):
    phase = phases(run.system.preset)[1]
    made = run.examples(phase, run.manifests["train"], learning=False)
    return [made.make(0, i) for i in range(len(made.manifest))]


@torch.no_grad()
def test_three_media_packed_batched_and_alone(run):
    examples, pad = examples_of(run), run.system.tokenizer.pad_token_id
    model = tiny.wake(run.system.build().eval())
    alone = {e.row["id"]: model(collate([e], pad)).logits for e in examples}
    for pack in (0, 200):
        batch = collate(examples, pad, pack=pack)
        assert set(batch.media) == {"audio", "image", "pose"}
        wanted = torch.cat([alone[name] for name in batch.names])
        torch.testing.assert_close(model(batch).logits, wanted, atol=1e-4, rtol=0)


def test_three_media_train_and_decode_together(run):
    loop.train(run)
    log = [json.loads(text) for text in (run.out / "log.jsonl").read_text().splitlines()]
    losses = [e["valid"]["loss"] for e in log if e.get("phase") == "tune" and "valid" in e]
    assert losses[-1] < losses[0]
    system, model = store.load(store.find(run.out))
    pad, examples = system.tokenizer.pad_token_id, examples_of(run)
    batch = collate(examples[:3], pad)
    answers = search.answers(model(batch), [4] * 3, run.builder().stops, pad)
    assert len(answers) == 3


def test_cost_faults_and_controls(run, conversations, tmp_path):
    part = conversations[0]["messages"][0]["content"][0]
    medium = media.of("pose")
    assert medium.cost(part) == 9 / 25 == medium.cost({"pose": part["pose"]})
    assert medium.cost({"pose": "absent"}) == 0.0 and medium.key(part)[0] == part["pose"]
    assert validate(conversations.path, workers=1) == []
    blank = {"type": "pose", "pose": clip(tmp_path / "blank", 5, blank=True)}
    assert "no joint is ever seen" in medium.faults(blank)[0][0]
    assert "there is nothing" in medium.faults({**part, "start": 9.0})[0][0]
    front = run.system.branches["pose"].front
    x, n = medium.frames(part, front)
    silent = control.make("silent", conversations, front, medium="pose")
    assert not silent.frames(part, x).any() and n == medium.usual(front) - 91
    shuffled = control.make("shuffled", conversations, front, medium="pose")
    assert shuffled.part(part)["pose"] != part["pose"]


def test_a_front_end_of_something_else_is_refused(make_run, tmp_path):
    with pytest.raises(ValueError, match=r"\[branch.pose.frontend\]: no front end for poses"):
        make_run(tmp_path, BRANCHES[0], "branch.pose.frontend.name='wave16k'").system.check()
