"""How2Sign, PHOENIX-2014 T, LLaVA and a lexicon of poses, on trees of their published layouts."""

import json

import numpy as np
import pytest
from PIL import Image

from speechllm.data.corpora import how2sign, llava, phoenix2014t, sign_pose
from speechllm.data.manifest import Manifest

HEAD = "VIDEO_ID VIDEO_NAME SENTENCE_ID SENTENCE_NAME START_REALIGNED END_REALIGNED SENTENCE"


def content(row) -> list:
    return row["messages"][0]["content"]


@pytest.fixture
def signing(tmp_path):
    """Two sentences of one video, out of order, and one of another."""
    for split in how2sign.SPLITS:
        home = tmp_path / "sentence_level" / split
        lines = [HEAD.replace(" ", "\t")]
        for video, number, start, said in (
            ("a", 1, "8.5", "Then cut it."), ("a", 0, "0.25", "Take bread."), ("b", 0, "3", "Hi."),
        ):  # fmt: skip
            name = f"{video}_{number}-5-rgb_front"
            lines.append("\t".join([video, video, name, name, start, "9.9", said]))
            keypoints = home / "rgb_front/features/openpose_output/json" / name
            keypoints.mkdir(parents=True)
            joints = np.ones((67, 3)).cumsum(0)
            joints[:, 2] = 1
            keys = {"pose": joints[:25], "hand_left": joints[25:46], "hand_right": joints[46:]}
            person = {f"{k}_keypoints_2d": x.ravel().tolist() for k, x in keys.items()}
            for frame in range(5):
                file = keypoints / f"{name}_{frame:012d}_keypoints.json"
                file.write_text(json.dumps({"people": [person]}))
        text = home / "text/en/raw_text/re_aligned"
        text.mkdir(parents=True)
        (text / f"how2sign_realigned_{split}.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_how2sign_with_the_sentence_before(signing, tmp_path):
    paths = how2sign.Config(str(signing), str(tmp_path / "out")).prepare()
    assert sorted(paths) == ["test", "train", "val"]
    first, second, other = Manifest(paths["test"])
    assert [r["text"] for r in (first, second, other)] == ["Take bread.", "Then cut it.", "Hi."]
    assert content(first)[-1]["text"] == content(other)[-1]["text"] == how2sign.Config("").prompt
    assert content(second)[-1]["text"] == f'Before: "Take bread." {how2sign.Config("").prompt}'
    assert content(second)[0]["type"] == "pose" and content(second)[0]["pose"].endswith(
        "sentence_level/test/rgb_front/features/openpose_output/json/a_1-5-rgb_front"
    )
    from speechllm.data.validate import validate

    found = validate(paths["val"], workers=1, deep=True)
    assert not [problem for problem in found if problem.severity == "error"]
    with pytest.raises(ValueError, match="no video at .*raw_videos/a_0-5-rgb_front.mp4"):
        how2sign.Config(str(signing), str(tmp_path / "o"), video=True).prepare()


def test_how2sign_says_what_is_missing(signing, tmp_path):
    table = next(signing.rglob("how2sign_realigned_val.csv"))
    table.write_text(table.read_text().replace("8.5", "later"))
    with pytest.raises(ValueError, match="val.csv:2: START_REALIGNED is 'later'; wanted seconds"):
        how2sign.Config(str(signing), str(tmp_path / "out")).prepare()
    table.write_text("VIDEO_ID\tSENTENCE\n")
    with pytest.raises(ValueError, match="val.csv: no column VIDEO_NAME, SENTENCE_NAME"):
        how2sign.Config(str(signing), str(tmp_path / "out")).prepare()
    with pytest.raises(ValueError, match="no sentence_level in it"):
        how2sign.Config(str(tmp_path / "sentence_level"), str(tmp_path / "out")).prepare()


@pytest.fixture
def forecasts(tmp_path):
    home = tmp_path / "PHOENIX-2014-T"
    (home / "annotations/manual").mkdir(parents=True)
    for split in phoenix2014t.SPLITS:
        rows = ["name|video|start|end|speaker|orth|translation"]
        for number in range(2):
            name = f"01April_2010_Thursday_heute-{number}"
            rows.append(f"{name}|{name}/1/*.png|-1|-1|Signer0{number}|MORGEN SONNE|morgen sonnig .")
            frames = home / "features/fullFrame-210x260px" / split / name
            frames.mkdir(parents=True)
            for frame in range(1, 6):
                Image.new("RGB", (21, 26), (0, 0, 9 * frame)).save(
                    frames / f"images{frame:04d}.png"
                )
        path = home / f"annotations/manual/PHOENIX-2014-T.{split}.corpus.csv"
        path.write_text("\n".join(rows) + "\n")
    return tmp_path


def test_phoenix(forecasts, tmp_path):
    paths = phoenix2014t.Config(str(forecasts), str(tmp_path / "out")).prepare()
    row = Manifest(paths["train"])[1]
    assert (row["text"], row["gloss"], row["lang"]) == ("morgen sonnig .", "MORGEN SONNE", "de")
    assert row["speaker"] == "Signer01" and content(row)[0]["duration"] == 5 / 25
    from speechllm import media

    moved = forecasts / "PHOENIX-2014-T/features/fullFrame-210x260px/test"
    for frames in moved.iterdir():
        (frames / "1").mkdir()
        for frame in frames.glob("*.png"):
            frame.rename(frames / "1" / frame.name)
    there = content(Manifest(paths["test"])[0])[0]["video"]
    paths = phoenix2014t.Config(str(forecasts), str(tmp_path / "moved")).prepare()
    assert content(Manifest(paths["test"])[0])[0]["video"] == there + "/1"
    assert len(media.of("video").open(content(row)[0])) == 5
    with pytest.raises(ValueError, match="no pose at .*train/01April_2010_Thursday_heute-0.pose"):
        phoenix2014t.Config(str(forecasts), str(tmp_path / "o"), poses=str(tmp_path)).prepare()
    path = forecasts / "PHOENIX-2014-T/annotations/manual/PHOENIX-2014-T.dev.corpus.csv"
    path.write_text(path.read_text().replace("|Signer01", ""))
    with pytest.raises(ValueError, match="dev.corpus.csv:3: 6 values for 7 columns"):
        phoenix2014t.Config(str(forecasts), str(tmp_path / "o")).prepare()


def talk(number: int, picture: str | None, *said: str) -> dict:
    turns = [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(said)]
    return {"id": f"t{number}", "conversations": turns, **({"image": picture} if picture else {})}


def test_llava(tmp_path):
    (tmp_path / "images/coco").mkdir(parents=True)
    for number in range(30):
        Image.new("RGB", (8, 8)).save(tmp_path / f"images/coco/{number}.jpg")
    talks = [talk(i, f"coco/{i}.jpg", "<image>\nWhat?", "A dog.", "Sure?", "Yes.")
             for i in range(30)]  # fmt: skip
    talks += [talk(30, "coco/3.jpg", "Describe it.\n<image>", "Black."), talk(31, None, "Hi", "Ho")]
    loose = talk(32, None, "Hi", "Ho", "And?")
    loose["conversations"].insert(0, {"from": "gpt", "value": "Welcome."})
    talks.append(loose)
    (tmp_path / "mix.json").write_text(json.dumps(talks))
    config = llava.Config(str(tmp_path / "mix.json"), str(tmp_path / "images"), n_dev=8)
    import dataclasses

    paths = dataclasses.replace(config, out=str(tmp_path / "out")).prepare()
    rows = {name: [*Manifest(path)] for name, path in paths.items()}
    assert len(rows["train"]) + len(rows["dev"]) == 33 and 2 < len(rows["dev"]) < 18
    by_id = {row["id"]: row for name in rows for row in rows[name]}
    turns = by_id["t3"]["messages"]
    assert [m["role"] for m in turns] == ["user", "assistant"] * 2
    picture = {"type": "image", "image": str(tmp_path / "images/coco/3.jpg")}
    assert turns[0]["content"] == [picture, {"type": "text", "text": "What?"}]
    assert turns[2]["content"] == "Sure?" and by_id["t3"]["text"] == "Yes."
    assert content(by_id["t30"]) == [picture, {"type": "text", "text": "Describe it."}]
    asked = [(m["role"], m["content"]) for m in by_id["t32"]["messages"]]
    assert asked == [("user", "Hi"), ("assistant", "Ho")], "between an answer and a question"
    here = {name: {r["id"] for r in rows[name]} for name in rows}
    assert any({"t3", "t30"} <= ids for ids in here.values()), "one picture, one side"


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"id": "x"}, "item 0: no conversations"),
        (talk(0, "absent.jpg", "<image>", "b"), "no picture at"),
        (talk(0, None, "<image> what", "b"), "<image> once for its picture"),
        (talk(0, ["a.jpg", "b.jpg"], "<image>", "b"), "wanted the path of one picture, got"),
        (talk(0, None, "a"), "an answer at the end"),
        ({"id": "x", "conversations": ["a"]}, "turn 0: wanted something that human says"),
        (talk(0, None, "a", " "), "turn 1: wanted something that gpt says"),
    ],
)
def test_llava_says_what_is_wrong(item, message, tmp_path):
    (tmp_path / "mix.json").write_text(json.dumps([item]))
    with pytest.raises(ValueError, match=message):
        llava.Config(str(tmp_path / "mix.json"), out=str(tmp_path / "out")).prepare()


@pytest.fixture
def lexicon(tmp_path, signing):
    """Three signs; a folder of keypoints stands for a .pose file."""
    clips = sorted((signing / "sentence_level/val").rglob("*rgb_front"))
    clips = [path for path in clips if path.parent.name == "json"]
    words = [f"{clip.relative_to(signing)},w{i}" for i, clip in enumerate(clips)]
    (signing / "index.csv").write_text("\n".join(["path,words", *words]) + "\n")
    return signing


def test_lexicon_of_poses(lexicon, tmp_path):
    made = sign_pose.Config(str(lexicon), str(tmp_path / "out"), n_train=40, n_poses=20, n_text=30)
    paths = made.prepare()
    rows = {name: [*Manifest(path)] for name, path in paths.items()}
    sizes = {"train": 40, "dev": 4, "test": 4, "poses": 20, "few": 8, "text": 30}
    assert {name: len(rows[name]) for name in sizes} == sizes
    assert {row["text"] for row in rows["few"]} == {f"w{i}" for i in range(9)} & {
        row["text"] for row in rows["poses"]
    }
    orders = {name: {row["text"] for row in rows[name]} for name in ("train", "dev", "test")}
    assert not orders["train"] & (orders["dev"] | orders["test"]), "no order is in two splits"
    for row in rows["train"]:
        *parts, question = content(row)
        assert row["text"] == " ".join(part["text"] for part in parts)
        assert all(0 < part["start"] + part["duration"] <= 0.21 for part in parts)
        assert question["text"].startswith("after w")
    assert rows["text"][0]["text"] == " ".join(rows["text"][0]["heard"])
    again = sign_pose.Config(str(lexicon), str(tmp_path / "o"), n_train=40, n_poses=20, n_text=30)
    for name, path in again.prepare().items():
        assert path.read_bytes() == paths[name].read_bytes()


def test_lexicon_faults(lexicon, tmp_path):
    index = lexicon / "index.csv"
    index.write_text(index.read_text() + "absent.pose,w9\n")
    with pytest.raises(ValueError, match="index.csv:5: .*absent.pose"):
        sign_pose.Config(str(lexicon), str(tmp_path / "out")).prepare()
    index.write_text("path,glosses\na,b\n")
    with pytest.raises(ValueError, match="wanted columns path and words"):
        sign_pose.Config(str(lexicon), str(tmp_path / "out")).prepare()
