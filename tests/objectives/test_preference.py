"""DPO against its formula written out, and what the reference is."""

import copy
import math

import pytest
import torch

from speechllm.data.collate import collate
from speechllm.data.manifest import Manifest, write
from speechllm.objectives import language_modelling
from speechllm.objectives.preference import Config, log_likelihoods
from speechllm.train import loop
from speechllm.train.phases import phases

FUSIONS = {"interleave": [], "cross_attention": ["fusion={name='cross_attention',every=1}"]}


def likelihood(run, model, row, answer):
    """log p of one answer, alone in its batch, from all logits: the slow reference."""
    phase = phases(run.system.preset)[0]
    made = run.examples(phase, run.manifests["train"], learning=False)
    example = made.make(0, row)
    messages = made.task.messages({**example.row, "text": answer})
    example = type(example)(
        example.row, made.builder.build(messages, [example.encoded.slots[0][1]]), example.media,
        example.lengths,
    )  # fmt: skip
    result = model(collate([example], 0))
    with result.joined() as embeddings:
        logits = model.llm(inputs_embeds=embeddings).logits[0].log_softmax(-1)
    labels = result.layout.labels[0]
    return sum(logits[i - 1, n].item() for i, n in enumerate(labels.tolist()) if n >= 0)


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("reference", ["lora", "copy"])
@torch.no_grad()
def test_equals_the_formula(pairs, batch_of, fusion, reference):
    run = pairs("{preference={}}", *FUSIONS[fusion])
    model, batch = batch_of(run, wake=False)
    base = run.system.build().eval()
    objective = Config(reference=reference, beta=0.3, label_smoothing=0.1).build(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name)
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
        if name.endswith("_gate"):
            parameter.fill_(0.0 if reference == "lora" else 0.4)
    wanted = {0.0: 0.0, 0.1: 0.0}
    for i in range(4):
        row = run.manifests["train"][i]
        chosen, rejected = row["chosen"], row["rejected"]
        gain = [
            likelihood(run, model, i, a) - likelihood(run, base, i, a) for a in (chosen, rejected)
        ]
        z = 0.3 * (gain[0] - gain[1])
        for wrong in wanted:
            wanted[wrong] += (1 - wrong) * math.log1p(math.exp(-z)) + wrong * math.log1p(
                math.exp(z)
            )
    objective.train()
    if reference == "copy":  # gates learn: shared they must not be
        model.requires_grad_(True)
    loss, count = objective(model(batch))
    assert count == 4 == objective.count(batch)
    assert loss.item() == pytest.approx(wanted[0.1], rel=1e-4)
    assert objective.eval()(model(batch))[0].item() == pytest.approx(wanted[0.0], rel=1e-4)


def test_equals_trl(pairs, tmp_path):
    """Log-likelihoods, loss and gradient of trl's DPOTrainer, on text alone: the same ids."""
    trl, datasets = pytest.importorskip("trl"), pytest.importorskip("datasets")
    learns = "phase.tune.train=['llm.*']"
    run = pairs("{preference={reference='copy',beta=0.3}}", "llm.lora={}", learns, "augment={}")
    rows = [run.manifests["train"][i] for i in range(4)]
    for row in rows:
        row["messages"] = [{"role": "user", "content": f"say {row['speaker']} high"}]
    write(tmp_path / "text.jsonl", rows)
    phase = phases(run.system.preset)[-1]
    examples = run.examples(phase, Manifest(tmp_path / "text.jsonl"), learning=False)
    made = [examples.make(0, i) for i in range(4)]
    model = run.system.build().eval()
    reference, objective = copy.deepcopy(model.llm), Config(beta=0.3, reference="copy").build(model)
    for parameter in model.llm.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    policy, result = copy.deepcopy(model.llm), model(collate(made, 0))
    loss, count = objective.train()(result)
    (loss / count).backward()
    data = []
    for example in made:
        n = next(i for i, label in enumerate(example.encoded.labels) if label >= 0)
        ids = example.encoded.ids, example.rejected.ids
        data.append(
            {"prompt_ids": ids[0][:n], "chosen_ids": ids[0][n:], "rejected_ids": ids[1][n:]}
        )
    text = {"prompt": "say", "chosen": " low", "rejected": " mid"}  # it wants a data set, unused
    options = {"output_dir": str(tmp_path / "trl"), "beta": 0.3, "report_to": [], "use_cpu": True}
    args = trl.DPOConfig(
        per_device_train_batch_size=4, bf16=False, gradient_checkpointing=False, **options
    )
    trainer = trl.DPOTrainer(
        model=policy, ref_model=reference, args=args,
        train_dataset=datasets.Dataset.from_list([text]), processing_class=run.system.tokenizer,
    )  # fmt: skip
    theirs = trainer.compute_loss(policy, trainer.data_collator(data))
    theirs.backward()
    likely = [half.mean().item() for half in log_likelihoods(result).chunk(2)]
    logged = {key: values[-1] for part in trainer._metrics.values() for key, values in part.items()}
    assert likely == pytest.approx([logged["logps/chosen"], logged["logps/rejected"]], rel=1e-5)
    assert abs(theirs.item() - math.log(2)) > 1e-3
    torch.testing.assert_close(loss / count, theirs.detach(), rtol=1e-5, atol=0)
    for ours, other in zip(model.llm.parameters(), policy.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, other.grad, rtol=1e-3, atol=1e-6)


def test_a_pair_is_encoded_once_and_language_modelling_takes_the_chosen(pairs, batch_of):
    run = pairs("{preference={}}")
    model, batch = batch_of(run)
    assert (len(batch.ids), len(batch.media["audio"].x), len(batch.slots)) == (8, 4, 8)
    half = pairs("{language_modelling={}}")
    _, alone = batch_of(half)
    objective = language_modelling.Config().build(model)
    assert alone.n_answers == 1 and objective.count(batch) == objective.count(alone)
    with torch.no_grad():
        both, one = objective(model(batch)), objective(model(alone))
    torch.testing.assert_close(both, one)


@pytest.mark.parametrize("reference", ["lora", "copy"])
def test_training_prefers_the_chosen(pairs, reference):
    """The loss falls from log 2; a copy is no part of the checkpoint."""
    learns = "['llm.*lora_*']" if reference == "lora" else "['llm.*', 'adapter.*']"
    run = pairs(
        f"{{preference={{reference='{reference}'}}}}", f"phase.tune.train={learns}",
        "phase.encoder.steps=1", "phase.tune.steps=12", "phase.tune.lr=5e-3", "augment={}",
    )  # fmt: skip
    loop.train(run)
    import json

    lines = [json.loads(line) for line in (run.out / "log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if line.get("phase") == "tune" and "loss" in line]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-4) and losses[-1] < losses[0] - 0.005


def test_likelihoods_are_sums_by_row(pairs, batch_of):
    model, batch = batch_of(pairs("{preference={}}"))
    with torch.no_grad():
        result = model(batch)
        assert log_likelihoods(result).sum() == pytest.approx(
            -torch.nn.functional.cross_entropy(
                result.logits, result.targets, reduction="sum"
            ).item(),
            rel=1e-5,
        )


def test_bad_settings_and_rows(pairs, batch_of, make_run, tmp_path):
    run = pairs("{preference={}}")
    model, batch = batch_of(run)
    with pytest.raises(ValueError, match='got one that has learned; set reference = "copy"'):
        Config().build(model)
    with pytest.raises(ValueError, match="wanted 'lora' or 'copy', got 'base'"):
        Config(reference="base")
    with pytest.raises(ValueError, match="wanted beta above 0"):
        Config(beta=0)
    model, batch = batch_of(run, wake=False)
    model.requires_grad_(False).adapter.requires_grad_(True)
    with pytest.raises(ValueError, match="but adapter.* learns too"):
        Config().build(model)(model(batch))
    bare = make_run(tmp_path / "other", "phase.tune.objectives={preference={}}")
    with pytest.raises(ValueError, match="wants 'chosen' and 'rejected' answers in each row"):
        loop.train(bare)
    examples = run.examples(phases(run.system.preset)[-1], run.manifests["train"], learning=False)
    with pytest.raises(ValueError, match="pairs of chosen and rejected answers cannot be packed"):
        collate([examples.make(0, 0)], 0, pack=100)
