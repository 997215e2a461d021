"""Every preset of the folder: its tiny form trains a step of each phase, decodes and comes back."""

import functools
import json
import re
import tomllib

import accelerate
import numpy as np
import pytest
import soundfile
from PIL import Image

from speechllm import config
from speechllm.data import manifest, mixing
from speechllm.data.manifest import Manifest
from speechllm.decode import run as decoding
from speechllm.models import store, tiny
from speechllm.train import loop
from speechllm.train.context import Run
from speechllm.train.phases import phases


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """Manifest of two utterances of noise with all that a task may ask for."""
    folder = tmp_path_factory.mktemp("presets")
    rng = np.random.default_rng(0)
    rows = []
    for name, seconds in (("a", 1.5), ("b", 2.0)):
        path = folder / f"{name}.wav"
        soundfile.write(path, 0.1 * rng.standard_normal(int(16000 * seconds)), 16000)
        row = {"id": name, "audio": str(path), "duration": seconds, "text": "low mid", "lang": "en"}
        row |= {"translation": "tief", "translation_lang": "de"}
        rows.append(row | {"chosen": "low", "rejected": "mid"})
    manifest.write(folder / "all.jsonl", rows)
    return folder / "all.jsonl"


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """Manifest of two questions about pictures, of one and of two."""
    folder = tmp_path_factory.mktemp("pictures")
    rng, rows = np.random.default_rng(0), []
    for number, size in enumerate(((60, 40), (30, 50))):
        path = folder / f"{number}.png"
        Image.fromarray(rng.integers(0, 256, (*size, 3)).astype(np.uint8)).save(path)
        part = {"type": "image", "image": str(path)}
        content = [*[part] * (1 + number), {"type": "text", "text": "what is it"}]
        turns = [{"role": "user", "content": content}, {"role": "assistant", "content": "low mid"}]
        rows.append({"id": str(number), "messages": turns, "text": "low mid"})
    manifest.write(folder / "all.jsonl", rows)
    return folder / "all.jsonl"


@pytest.fixture(scope="session")
def both(corpus, pictures, tmp_path_factory):
    """Manifest of two questions about a sound and a picture."""
    folder, rows = tmp_path_factory.mktemp("both"), []
    for heard, seen in zip(Manifest(corpus), Manifest(pictures), strict=True):
        sound = {"type": "audio", "audio": heard["audio"], "duration": heard["duration"]}
        content = [sound, *seen["messages"][0]["content"][-2:]]
        turns = [{"role": "user", "content": content}, seen["messages"][1]]
        rows.append({**seen, "messages": turns})
    manifest.write(folder / "all.jsonl", rows)
    return folder / "all.jsonl"


@pytest.fixture(scope="session")
def signed(tmp_path_factory):
    """Manifest of two clips of a signer, the second with the frames of its video beside it."""
    folder, rows = tmp_path_factory.mktemp("signed"), []
    for number in range(2):
        joints = np.random.default_rng(number).uniform(1, 99, (67, 3))
        joints[:, 2] = 1
        clip, video = folder / f"pose{number}", folder / f"video{number}"
        clip.mkdir()
        video.mkdir()
        keys = {"pose": joints[:25], "hand_left": joints[25:46], "hand_right": joints[46:]}
        person = {f"{key}_keypoints_2d": x.ravel().tolist() for key, x in keys.items()}
        for frame in range(8):
            (clip / f"c_{frame:012d}_keypoints.json").write_text(json.dumps({"people": [person]}))
            Image.new("RGB", (30, 20), (9, 9 * frame, 9)).save(video / f"images{frame:04d}.png")
        parts = [{"type": "pose", "pose": str(clip)}, {"type": "video", "video": str(video)}]
        content = [*parts[: 1 + number], {"type": "text", "text": "what is signed"}]
        turns = [{"role": "user", "content": content}, {"role": "assistant", "content": "low mid"}]
        rows.append({"id": str(number), "messages": turns, "text": "low mid"})
    manifest.write(folder / "pose_video.jsonl", rows)
    manifest.write(folder / "pose.jsonl", [{**rows[0], "id": str(i)} for i in range(2)])
    video, words = content[1:]
    turns = [{"role": "user", "content": [video, words]}, turns[1]]
    alone = [{"id": str(i), "messages": turns, "text": "low mid"} for i in range(2)]
    manifest.write(folder / "video.jsonl", alone)
    return folder


def state_by_state(system, rows: Manifest, path) -> Manifest:
    """The same rows, with answers of as many tokens as a picture has states."""
    n = system.states(system.branches["image"].front.count(1), "image")
    said = (" ".join(["low"] * k) + " l" * more for k in range(1, n + 1) for more in range(n))
    encode = functools.partial(system.tokenizer, add_special_tokens=False)
    text = next(text for text in said if len(encode(text)["input_ids"]) == n)
    turns = ([row["messages"][0], {"role": "assistant", "content": text}] for row in rows)
    made = [{**row, "messages": told, "text": text} for row, told in zip(rows, turns, strict=True)]
    manifest.write(path, made)
    return Manifest(path)


@pytest.mark.parametrize("name", config.presets())
def test_tiny_form_trains_and_decodes(name, corpus, pictures, both, signed, tmp_path):
    system = tiny.system(config.load(name))
    media = {
        ("image",): pictures,
        ("audio", "image"): both,
        ("pose",): signed,
        ("pose", "video"): signed,
        ("video",): signed,
    }
    corpus = media.get(tuple(sorted(system.branches)), corpus)
    if corpus == signed:
        corpus = signed / f"{'_'.join(sorted(system.branches))}.jsonl"
    plan = phases(system.preset)
    tables = [mixing.sources(t, phase.name) for phase in plan for t in (phase.data, phase.valid)]
    wanted = {which for table in tables for which in table}
    manifests = {which: Manifest(corpus) for which in wanted}
    for phase in (phase for phase in plan if "framewise" in phase.objectives):
        named = state_by_state(system, Manifest(corpus), tmp_path / f"{phase.name}.jsonl")
        manifests |= {phase.data: named, phase.valid: named}
    run = Run(
        system=system,
        manifests=manifests,
        out=tmp_path,
        accelerator=accelerate.Accelerator(cpu=True),
        workers=0,
    )
    summary = loop.train(run)
    assert [s["steps"] for s in summary.phases.values()] == [tiny.STEPS] * len(plan)
    losses = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert all(0 < v["loss"] < 1e4 for v in losses if "loss" in v)
    again, model = store.load(store.chosen(tmp_path / plan[-1].name, "last"))
    for table in ("encoder", "branch"):
        assert again.preset.tables.get(table) == system.preset.tables.get(table)
    options = decoding.Options(workers=0, max_tokens_per_s=4.0)
    tally = decoding.decode(again, model, Manifest(corpus), tmp_path / "decode", options)
    lines = (tmp_path / "decode" / "hyp.jsonl").read_text().splitlines()
    answers = [json.loads(line) for line in lines]
    assert tally.n_utterances == len(answers) == 2 and not tally.errors
    assert all(isinstance(answer["hyp"], str) for answer in answers)


def test_published_systems_say_where_they_are_from_and_how_they_differ():
    """Those whose header lists departures from a source."""
    texts = {name: path.read_text() for name, path in config.presets().items()}
    published = {name: text for name, text in texts.items() if "\n# Departures:\n" in text}
    assert len(published) == 32
    assert all("\n# Source: " in text for text in published.values())


def test_presets_are_readable():
    """A setting a line, a table a part, lines of at most 110 columns: they are what people read."""
    for name, path in config.presets().items():
        text = path.read_text(encoding="utf-8")
        assert max(map(len, text.splitlines())) <= 110, name
        assert re.search(r"^\[\[phase\]\]", text, re.M), name
        assert set(tomllib.loads(text[: text.index("\n[")])) <= {"seed"}, name
