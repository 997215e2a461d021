"""Pictures of any shape, and files of another kind than is wanted, through whole tiny systems."""

import dataclasses

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from speechllm import config
from speechllm.data.collate import collate
from speechllm.data.examples import Examples
from speechllm.data.manifest import Manifest, write
from speechllm.models import tiny

SHAPES = {"dot": (1, 1), "line": (3000, 2), "pole": (1, 900), "square": (448, 448)}  # width, height


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures of odd shapes, a sound, and a picture that is cut short."""
    folder = tmp_path_factory.mktemp("odd")
    rng = np.random.default_rng(0)
    for name, (width, height) in SHAPES.items():
        pixels = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    whole = (folder / "square.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    soundfile.write(folder / "sound.wav", 0.1 * rng.standard_normal(8000), 16000)
    return folder


@pytest.fixture(scope="module", params=["phi4_multimodal", "flamingo"])
def system(request):
    return tiny.system(config.load(request.param))


def batch_of(system, folder, *talks):
    """Make a batch of talks, lists of parts: text or a file with its medium."""
    rows = []
    for i, talk in enumerate(talks):
        content = [
            {"type": "text", "text": part}
            if isinstance(part, str)
            else {"type": part[0], part[0]: str(folder / part[1])}
            for part in talk
        ]
        rows.append({"id": f"u{i}", "messages": [{"role": "user", "content": content}]})
    write(folder / "rows.jsonl", rows)
    examples = Examples.of(system, Manifest(folder / "rows.jsonl"), answer=False)
    made = [examples.make(0, i) for i in range(len(rows))]
    return collate(made, system.tokenizer.pad_token_id)


@torch.no_grad()
def test_any_shape_is_read_as_it_is_alone(system, folder):
    """One pixel, strips of a pixel or two, one whole tile: finite, and the same in any batch."""
    model = tiny.wake(system.build()).eval()

    def logits(*names):
        batch = batch_of(system, folder, *([("image", f"{n}.png"), "what?"] for n in names))
        result = model(dataclasses.replace(batch, labels=batch.ids.clone()))
        return [result.logits[result.places[0] == row] for row in range(len(names))]

    together = logits(*SHAPES)
    for name, ours in zip(SHAPES, together, strict=True):
        (alone,) = logits(name)
        assert alone.isfinite().all()
        torch.testing.assert_close(ours[-len(alone) :], alone, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("talk", "message"),
    [
        ([("image", "sound.wav")], "'u1'.*sound.wav: no picture that can be read"),
        ([("image", "cut.png")], "'u1'.*cut.png"),
        ([("image", "absent.png")], "'u1'.*absent.png: no such file"),
        ([("pose", "dot.png")], "'u1'.*a part of type 'pose' has no '(image|audio)'"),
        (["what is <pad>?", ("image", "dot.png")], "'u1'.*a text holds '<pad>'"),
    ],
)
def test_what_is_no_picture_is_named(system, folder, talk, message):
    """With manifest, line, utterance and file."""
    with pytest.raises(ValueError, match=f"rows.jsonl:2: utterance {message}"):
        batch_of(system, folder, ["all is well"], talk)


def test_a_picture_where_sound_is_wanted(folder):
    system = tiny.system(config.load("phi4_multimodal"))
    with pytest.raises(ValueError, match="rows.jsonl:2: utterance 'u1': .*square.png"):
        batch_of(system, folder, ["a"], [("audio", "square.png"), "what is said?"])
    hears = tiny.system(config.load("mini"))
    with pytest.raises(ValueError, match="'u0': a part of type 'image' has no 'audio'"):
        batch_of(hears, folder, [("image", "square.png")])
