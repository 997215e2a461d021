"""A video in a conversation: costed, blanked, found wrong, and merged to a bounded number."""

import numpy as np
import pytest
import torch
from PIL import Image

from speechllm import media
from speechllm.data.collate import collate
from speechllm.data.examples import Examples
from speechllm.data.manifest import Manifest, write
from speechllm.data.validate import validate
from speechllm.models import tiny

BRANCH = (
    "branch.video={frontend={size=8,patch=4,most=6},encoder={name='video',per_frame=4,merge=2,"
    "latents=3,layers=1,heads=2,frame={name='patches',dim=16,patch=4}},adapter={name='mlp'}}"
)


@pytest.fixture
def rows(tmp_path):
    for number, count in enumerate((2, 6, 9)):
        (tmp_path / f"v{number}").mkdir()
        for i in range(count):
            shade = np.full((8, 8, 3), 20 * i + number, np.uint8)
            Image.fromarray(shade).save(tmp_path / f"v{number}" / f"{i}.png")
    made = []
    for number in range(3):
        part = {"type": "video", "video": str(tmp_path / f"v{number}")}
        content = [part, {"type": "text", "text": "say"}]
        turns = [{"role": "user", "content": content}, {"role": "assistant", "content": "low"}]
        made.append({"id": str(number), "messages": turns})
    write(tmp_path / "m.jsonl", made)
    return Manifest(tmp_path / "m.jsonl")


@torch.no_grad()
def test_batched_is_single(make_run, rows, tmp_path):
    run = make_run(tmp_path / "run", BRANCH)
    examples = Examples.of(run.system, rows)
    made, pad = [examples.make(0, i) for i in range(3)], run.system.tokenizer.pad_token_id
    assert [e.lengths[0] for e in made] == [8, 24, 24]  # at most six frames of four patches
    assert [e.encoded.slots[0][1] for e in made] == [3, 9, 9]
    model = tiny.wake(run.system.build().eval())
    together = model(collate(made, pad)).logits
    alone = torch.cat([model(collate([e], pad)).logits for e in made])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)
    x = made[1].media[0]
    hidden = media.of("video").hidden(x, run.system.branches["video"].front)
    assert torch.equal(hidden[:, -3:], x[:, -3:]) and (hidden[:, :-3] == -1).all()


def test_cost_and_faults(rows, tmp_path):
    assert rows.durations.tolist() == pytest.approx([2 / 25, 6 / 25, 9 / 25])
    assert validate(rows.path, workers=1, deep=True) == []
    wrong = {"type": "video", "video": str(tmp_path / "absent")}
    assert "no such file or folder" in media.of("video").faults(wrong)[0][0]
    assert media.of("video").cost(wrong) == 0.0 and media.timeless(wrong)


def test_frames_that_do_not_fit_are_refused(make_run, tmp_path):
    with pytest.raises(ValueError, match="per_frame = 5: the front end cuts a frame into 4"):
        make_run(tmp_path, BRANCH, "branch.video.encoder.per_frame=5").system.check()
