"""Pictures beside speech in one conversation: trained, saved, loaded, decoded; and alone."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from speechllm import media
from speechllm.data import control, manifest, show
from speechllm.data.collate import collate
from speechllm.data.validate import validate
from speechllm.decode import answering, search
from speechllm.decode import run as decoding
from speechllm.models import anatomy, store, tiny
from speechllm.train import health, loop
from speechllm.train.phases import phases

BRANCH = (
    "branch.image={frontend={fit='within',size=32,patch=2},"
    "encoder={name='patches',dim=8,patch=2},adapter={name='linear',stack=1,hidden=16}}"
)
BOTH = [
    BRANCH,
    "phase.tune.train=['adapter.*','branch.image.*','llm.*lora_*']",
    "phase.tune.steps=24", "phase.tune.lr=5e-3", "phase.encoder.steps=2", "augment={}",
]  # fmt: skip


@pytest.fixture
def conversations(tiny, tmp_path):
    """Rows of a picture and a sound in either order, of one of them, of none."""
    sounds = [*manifest.Manifest(tiny / "train.jsonl")]
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 256, (4, 4 + 2 * number, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{number}.png")

    def row(id, *content, answer):
        said = [{"type": "text", "text": c} if isinstance(c, str) else c for c in content]
        turns = [{"role": "user", "content": said}, {"role": "assistant", "content": answer}]
        return {"id": id, "messages": turns}

    rows = []
    for i, one in enumerate(sounds[:6]):
        sound = {"type": "audio", "audio": one["audio"], "duration": one["duration"]}
        picture = {"type": "image", "image": str(tmp_path / f"{i % 4}.png")}
        other = {"type": "image", "image": str(tmp_path / f"{(i + 1) % 4}.png")}
        word = ("low", "mid", "high", "low")[i % 4]
        rows += [
            row(f"first{i}", picture, "say", sound, answer=word),
            row(f"last{i}", sound, "write", picture, other, answer=one["text"]),
        ]
    rows += [
        row("picture", picture, "say", answer="mid"),
        row("sound", sound, "say", answer="high"),
        row("neither", "say low", answer="low"),
    ]
    manifest.write(tmp_path / "m.jsonl", rows)
    return manifest.Manifest(tmp_path / "m.jsonl")


@pytest.fixture
def job(make_run, conversations, tmp_path):
    def make(*changes):
        run = make_run(tmp_path / "run", *BOTH, *changes)
        run.manifests = {"train": conversations, "valid": conversations}
        return run

    return make


def examples_of(run, **options):
    phase = phases(run.system.preset)[1]
    made = run.examples(phase, run.manifests["train"], learning=False)
    for name, value in options.items():
        setattr(made, name, value)
    return [made.make(0, i) for i in range(len(made.manifest))]


def test_slots_stand_in_the_order_of_the_text(job):
    run = job()
    examples, pad = examples_of(run), run.system.tokenizer.pad_token_id
    model = tiny.wake(run.system.build().eval())
    batch = collate(examples, pad)
    assert batch.modalities[:5] == ("image", "audio", "audio", "image", "image")
    assert [len(x) for x, _ in batch.media.values()] == [19, 13]  # images stand first
    tokens, lengths = model(batch).tokens
    for kind in ("image", "audio"):
        alone = model.branches[kind].adapter(*model(batch).states_of(kind))
        here = batch.which(kind)
        assert torch.equal(tokens[here, : alone[0].shape[1]], alone[0])
        assert torch.equal(lengths[here], alone[1])
    assert torch.equal(lengths, batch.slots[:, 2])


@pytest.mark.parametrize("fusion", ["{name='interleave'}", "{name='cross_attention',every=1}"])
@torch.no_grad()
def test_packed_is_unpacked_and_batched_is_single(job, fusion):
    run = job(f"fusion={fusion}")
    examples, pad = examples_of(run), run.system.tokenizer.pad_token_id
    model = tiny.wake(run.system.build().eval())
    alone = torch.cat([model(collate([e], pad)).logits for e in examples])
    for pack in (0, 60, 10_000):
        batch = collate(examples, pad, pack=pack)
        assert batch.packed == bool(pack)
        order = [next(i for i, e in enumerate(examples) if e.row["id"] == n) for n in batch.names]
        starts = np.cumsum([0, *(sum(x >= 0 for x in e.encoded.labels) for e in examples)])
        wanted = torch.cat([alone[starts[i] : starts[i + 1]] for i in order])
        torch.testing.assert_close(model(batch).logits, wanted, atol=1e-4, rtol=0)


@torch.no_grad()
def test_both_media_are_seen(job):
    """Another picture, or another sound, gives other logits."""
    run = job()
    examples, pad = examples_of(run)[:2], run.system.tokenizer.pad_token_id
    model = tiny.wake(run.system.build().eval())
    batch = collate(examples, pad)
    real = model(batch).logits
    for kind, one in batch.media.items():
        other = collate(examples, pad)
        other.media[kind] = one._replace(x=one.x.flip(2))
        assert not torch.allclose(model(other).logits, real, atol=1e-5)
    result = model(batch)
    shuffled = health.shuffled(result)
    states = {kind: result.states_of(kind)[0] for kind in batch.media}
    assert torch.equal(shuffled.states_of("audio")[0][1, :2], states["audio"][0, :2])
    assert not torch.equal(shuffled.states_of("image")[0], states["image"])


def test_trained_saved_loaded_and_decoded_with_speech(job, tmp_path):
    run = job()
    before = {name: p.clone() for name, p in run.system.build().named_parameters()}
    loop.train(run)
    log = [json.loads(text) for text in (run.out / "log.jsonl").read_text().splitlines()]
    tuned = [entry["valid"]["loss"] for entry in log if entry.get("phase") == "tune" and
             "valid" in entry]  # fmt: skip
    assert tuned[-1] < tuned[0]
    final = store.find(run.out)
    kept = load_file(final / "model.safetensors")
    moved = {name for name, p in before.items() if not torch.equal(kept[name], p)}
    assert {n for n in moved if n.startswith("branch.image.encoder")} == {
        "branch.image.encoder.linear.weight", "branch.image.encoder.linear.bias",
    }  # fmt: skip
    assert any(name.startswith("branch.image.adapter") for name in moved)
    system, model = store.load(final)
    pad, examples = system.tokenizer.pad_token_id, examples_of(run, answer=False)
    stops = run.builder().stops
    together = search.answers(model(collate(examples, pad)), [6] * len(examples), stops, pad)
    for example, answer in zip(examples, together, strict=True):
        (alone,) = search.answers(model(collate([example], pad)), [6], stops, pad)
        assert alone.ids == answer.ids
    decoding.decode(system, model, run.manifests["valid"], tmp_path / "d", decoding.Options())
    lines = (tmp_path / "d" / "hyp.jsonl").read_text().splitlines()
    assert {json.loads(line)["id"] for line in lines} == {*run.manifests["valid"].ids}


def test_cost_faults_and_what_is_shown(job, conversations, tmp_path):
    run = job()
    sound = conversations[0]["messages"][0]["content"][-1]
    assert conversations.durations[0] == 1.0 + sound["duration"] == examples_of(run)[0].seconds
    assert conversations.durations[conversations.find("picture")] == 1.0
    assert conversations.durations[conversations.find("neither")] == 0.0
    assert validate(conversations.path, workers=1) == []
    (tmp_path / "0.png").unlink()
    found = validate(conversations.path, workers=1)
    assert {p.id for p in found} >= {"first0", "first4"} and "0.png: no such file" in str(found[0])
    text = show.show(run.system, conversations.path, "picture")
    assert "(6, 15) of 6 frames -> 6 soft tokens" in text
    other = control.make("shuffled", conversations, None, medium="image")
    picture = {"type": "image", "image": str(tmp_path / "1.png")}
    assert other.part(picture)["image"] != picture["image"]
    model = run.system.build()
    counted = anatomy.count(model)
    assert counted["branch.image"] > 0 and counted["encoder"] > 0
    rows = anatomy.drawing(run.system.preset, run.system, model)
    assert rows[4] == ("image", "patches, linear", "(192, 15) -> (192, 8) -> (192, 32)")


def test_only_pictures(job, conversations):
    """A system without sound: the long form alone."""
    run = job()
    tables = {k: v for k, v in run.system.preset.tables.items() if k not in
              ("frontend", "encoder", "adapter")}  # fmt: skip
    system = type(run.system)(type(run.system.preset)(tables, "only.toml"), run.system.tokenizer)
    model = system.build()
    assert not any(name.startswith("encoder.") for name, _ in model.named_parameters())
    with pytest.raises(ValueError, match="only.toml has no branch for audio, but for image"):
        system.extractor  # noqa: B018
    from speechllm.data.examples import Examples

    made = Examples.of(system, conversations)
    index = conversations.find("picture")
    assert len(model(collate([made.make(0, index)], system.tokenizer.pad_token_id)).logits)
    with pytest.raises(ValueError, match="a part of type 'audio' has no 'image', which is all"):
        made.make(0, conversations.find("sound"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["branch.picture={}"], r"\[branch.picture\]: nothing here reads the medium 'picture'"),
        (["branch.audio={}"], "audio's tables are .frontend., .encoder. and"),
        (["branch.image.encodr={}"], "no table called 'encodr'; did you mean 'encoder'"),
        (["branch.image.encoder={name='patchs'}"], "did you mean 'patches'"),
        (["branch.image.frontend.fit='zoom'"], r"\[branch.image.frontend\]: fit: wanted one of"),
        (["branch.image.frontend.name='clop'"], "no front end for pictures called 'clop'"),
        (["branch.image.encoder.patch=4"], "wants patches of 4 x 4 pixels"),
    ],
)
def test_wrong_branches_are_named(make_run, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        make_run(tmp_path, BRANCH, *changes).system.build()


def test_blank_pictures_keep_their_places(job, tmp_path):
    """Black, each patch where it was; what asks stays."""
    run = job()
    front = run.system.branches["image"].front
    x, n = media.of("image").frames({"image": str(tmp_path / "3.png")}, front)
    blank = control.make("silent", run.manifests["train"], front, medium="image")
    hidden = blank.frames({"type": "image"}, x)
    assert torch.equal(hidden[:, -3:], x[:, -3:]) and (hidden[:, :-3] == -1).all()
    assert torch.equal(blank.frames({"type": "image", "asks": True}, x), x)
    both = control.of_all("silent", run.manifests["train"], run.system.branches)
    assert both.keys() == {"audio", "image"}
    assert (
        control.of_all("shuffled", run.manifests["train"], run.system.branches).keys()
        == both.keys()
    )
    assert control.of_all("real", run.manifests["train"], run.system.branches) == {}


def test_answers_about_pictures_have_no_bound_of_seconds(job, monkeypatch):
    run = job()
    bounds = answering._bounds(
        run.examples(phases(run.system.preset)[1], run.manifests["train"], learning=False),
        [run.manifests["train"].find(name) for name in ("picture", "sound", "neither")],
        decoding.Options(max_tokens=77, max_tokens_per_s=2.0),
    )
    assert bounds[0] == bounds[2] == 77 and bounds[1] < 30


def test_chance_changes_pictures_in_training_alone(job):
    run = job("branch.image.frontend.shift=0.4", "data.cache_mb=10")
    phase = phases(run.system.preset)[1]
    learning = run.examples(phase, run.manifests["train"], learning=True)
    index = run.manifests["train"].find("picture")
    seen = [learning.make(epoch, index).media[0] for epoch in range(4)]
    assert any(not torch.equal(seen[0], other) for other in seen[1:])
    assert torch.equal(seen[2], learning.make(2, index).media[0])
    plain = run.examples(phase, run.manifests["train"], learning=False)
    assert torch.equal(plain.make(0, index).media[0], plain.make(1, index).media[0])
