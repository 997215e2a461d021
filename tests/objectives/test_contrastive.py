"""Contrastive losses against transformers' own; what counts as a pair, and what is read of it."""

from types import SimpleNamespace

import pytest
import torch
import transformers

from speechllm import config
from speechllm.data.collate import collate
from speechllm.models import lora
from speechllm.objectives import contrastive
from speechllm.train.phases import phases

SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
         "intermediate_size": 16}  # fmt: skip
SEEN = {**SMALL, "image_size": 8, "patch_size": 4}


def reference(name: str, n: int = 5):
    """What a whole model of transformers says of random pictures and texts."""
    torch.manual_seed(0)
    made = getattr(transformers, f"{name}Config")(
        text_config={**SMALL, "vocab_size": 30, "eos_token_id": 29}, vision_config=SEEN,
        **({"projection_dim": 16} if name == "CLIP" else {}),
    )  # fmt: skip
    model = getattr(transformers, f"{name}Model")(made).eval()
    if name == "Siglip":
        model.logit_scale.data.fill_(1.3)
        model.logit_bias.data.fill_(-2.0)
    ids = torch.randint(0, 29, (n, 6))
    return model(input_ids=ids, pixel_values=torch.randn(n, 3, 8, 8), return_loss=True)


@pytest.mark.parametrize(("kind", "name"), [("clip", "CLIP"), ("siglip", "Siglip")])
@torch.no_grad()
def test_losses_are_those_of_transformers(kind, name):
    out = reference(name)
    ours = contrastive.LOSSES[kind](out.logits_per_text).mean()
    torch.testing.assert_close(ours, out.loss, atol=1e-6, rtol=0)


@torch.no_grad()
def test_from_vectors_to_the_loss(monkeypatch):
    """With the embeddings, temperature and bias of a model, its loss."""
    out = reference("Siglip")
    made = contrastive.Config(between=("text", "image"), loss="siglip", dim=16, bias=-2.0)
    objective = made.build(
        SimpleNamespace(width=16, branches={"image": SimpleNamespace(encoder_dim=16)})
    )
    for head in objective.projections:
        head.weight.copy_(torch.eye(16))
    objective.scale.fill_(1.3)
    sides = {"text": out.text_embeds, "image": out.image_embeds}
    monkeypatch.setattr(objective, "_side", lambda side, result, rows: sides[side] * 3)
    monkeypatch.setattr(objective, "rows", lambda batch: [*range(5)])
    loss, count = objective(SimpleNamespace(batch=SimpleNamespace(ids=torch.zeros(1))))
    torch.testing.assert_close(loss / count, out.loss, atol=1e-6, rtol=0)


def run_of(make_run, tmp_path, table="{between=['audio','text'],dim=8}", *changes):
    return make_run(tmp_path / "exp", f"phase.tune.objectives.contrastive={table}", *changes)


def test_it_is_learned(make_run, tmp_path):
    """Trained on a batch, sounds and their words come together; all gets a gradient."""
    run = run_of(make_run, tmp_path)
    phase = phases(run.system.preset)[-1]
    examples = run.examples(phase, run.manifests["train"], learning=False)
    texts, chosen = set(), []
    for i in range(12):  # words that are said twice would be two right ones, in any order
        if (text := " ".join(sorted(run.manifests["train"][i]["text"].split()))) not in texts:
            texts.add(text)
            chosen.append(examples.make(0, i))
    batch = collate(chosen, run.system.tokenizer.pad_token_id)
    model = run.system.build().eval()
    objective = phase.build_objectives(model, "x")["contrastive"]
    assert objective.count(batch) == len(chosen) >= 4
    optimizer = torch.optim.Adam([*objective.parameters(), *model.encoder.parameters()], 5e-3)
    losses, before = [], objective.metrics(model(batch))["retrieval"][0]
    for _ in range(60):
        loss, count = objective(model(batch))
        losses.append(float(loss / count))
        optimizer.zero_grad()
        (loss / count).backward()
        optimizer.step()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in objective.parameters())
    assert losses[-1] < 0.6 * losses[0]
    assert before < objective.metrics(model(batch))["retrieval"][0]


@torch.no_grad()
def test_words_are_read_alone(make_run, tmp_path):
    """Padding, the prompt and the sound change nothing of a text's vector."""
    run = run_of(make_run, tmp_path)
    phase = phases(run.system.preset)[-1]
    examples = run.examples(phase, run.manifests["train"], learning=False)
    pad, model = run.system.tokenizer.pad_token_id, run.system.build().eval()
    every = [examples.make(0, i) for i in range(6)]
    together = contrastive.words(model(collate(every, pad)), [*range(6)])
    for i, example in enumerate(every):
        alone = contrastive.words(model(collate([example], pad)), [0])
        torch.testing.assert_close(together[i], alone[0], atol=1e-5, rtol=0)
        ids = torch.tensor([run.system.tokenizer(example.encoded.answers[0])["input_ids"]])
        with lora.untouched(model.llm):
            plain = model.llm(input_ids=ids, output_hidden_states=True).hidden_states[-1][0, -1]
        torch.testing.assert_close(alone[0], plain, atol=1e-5, rtol=0)


@torch.no_grad()
def test_zero_shot_is_the_nearest_of_the_different_answers(make_run, tmp_path):
    """Against a loop over sounds; a name that stands there twice counts once."""
    run = run_of(make_run, tmp_path)
    phase = phases(run.system.preset)[-1]
    examples = run.examples(phase, run.manifests["train"], learning=False)
    made = [examples.make(0, i) for i in (0, 1, 2, 3, 0)]
    batch = collate(made, run.system.tokenizer.pad_token_id)
    model = run.system.build().eval()
    objective = phase.build_objectives(model, "x")["contrastive"]
    result = model(batch)
    right, count = objective.metrics(result)["zero_shot"]
    logits, texts = objective.logits(result).T, batch.texts  # words by sounds
    wanted = 0
    for sound, own in enumerate(texts):
        best = max(range(len(texts)), key=lambda word: float(logits[word, sound]))
        wanted += texts[best] == own
    assert (int(right), int(count)) == (wanted, 5)


def test_packed_rows_are_refused(make_run, tmp_path):
    run = run_of(make_run, tmp_path)
    phase = phases(run.system.preset)[-1]
    examples = run.examples(phase, run.manifests["train"], learning=False)
    packed = collate([examples.make(0, i) for i in range(4)], 0, pack=10_000)
    objective = phase.build_objectives(run.system.build(), "x")["contrastive"]
    with pytest.raises(ValueError, match="set .data. pack = 0"):
        objective.count(packed)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"between": ["image"]}, "between: wanted two of text, audio"),
        ({"between": ["image", "smell"]}, "between: wanted two of text, audio"),
        ({"loss": "triplet"}, "loss: wanted 'clip' or 'siglip'"),
        ({"temperature": 0.0}, "temperature: wanted a number above 0"),
        ({"bias": 1e9}, "bias: wanted -1000"),
    ],
)
def test_wrong_settings(table, message):
    with pytest.raises(ValueError, match=message):
        config.part("objectives", {"name": "contrastive", **table}, "x")


def test_a_medium_that_is_not_there(make_run, tmp_path):
    run = run_of(make_run, tmp_path, "{between=['image','text']}")
    with pytest.raises(ValueError, match="no branch for image, but for audio"):
        phases(run.system.preset)[-1].build_objectives(run.system.build(), "x")
