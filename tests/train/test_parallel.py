"""One, two and four processes, by DDP and FSDP2: the same losses and weights, for all that learns.

The processes are forked and do all cases one after the other, a few steps each, by `PhaseRun`.
"""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed.fsdp  # noqa: F401  # before the processes part
from safetensors.torch import load_file

from speechllm.data.manifest import Manifest, write
from speechllm.models import kernels, store, whole
from speechllm.models.average import average
from speechllm.models.shards import Tensors
from speechllm.train import loop, parallel, sharded  # noqa: F401
from speechllm.train.log import Log
from speechllm.train.phases import Learner, phases
from speechllm.train.steps import PhaseRun
from speechllm.train.stopping import Stopped

sys.path.insert(0, str(Path(__file__).parents[1]))
from processes import together  # noqa: E402

STEPS = 2
PLAIN = (
    *("augment={}", "encoder.dropout=0.0", "data.max_rows=3", "data.n_buckets=2"),
    *("phase.encoder.gradient_accumulation=4", "phase.tune.gradient_accumulation=4"),
    "phase.encoder.optimizer=adamw",
)
ACROSS = ('fusion={name="cross_attention",every=1,heads=2,ff=32}',)
MIX = ("phase.tune.data={train=1,text={weight=1,task={name='copy'}}}",)
CASES = {  # phase, changes
    "encoder": ("encoder", ()),
    "LoRA": ("tune", ("llm.gradient_checkpointing=true",)),
    "everything": ("tune", ("phase.tune.train=['*']",)),
    "cross-attention": ("tune", (*ACROSS, "phase.tune.train=['adapter.*','fusion.*']")),
    "rows": ("tune", ("phase.tune.gradient_accumulation=1",)),
    "one row": ("tune", ("phase.tune.gradient_accumulation=1", "data.max_rows=1")),
    "text beside sound": ("tune", (
        *MIX, "llm.lora.media=['audio']", "phase.tune.train=['adapter.*','llm.*lora_*','enc*']")),
    "distillation": ("tune", ("phase.tune.objectives={distillation={}}",)),
    "BatchNorm": ("encoder", ('encoder={name="cnn",channels=[4,8]}',)),
    "16 bits": ("tune", ("llm.dtype=bfloat16", "phase.tune.train=['adapter.*','llm.*']")),
}  # fmt: skip
# what softmax takes out again: the gradient is rounding alone, and AdamW brings it to full size
NOISE = ("self_attn.k_proj.bias", "self_attn.relative_k_proj.weight")


def learn(run, name):
    """Do some steps of a case; return losses, whole weights, and the share of them held here."""
    number, phase = next(
        (n, p) for n, p in enumerate(phases(run.system.preset)) if p.name == CASES[name][0]
    )
    learner = Learner(run.system.build())
    job = PhaseRun(run, phase, number, learner, [list(phase.train)], Log(run.out, False))
    source, losses = job.source(), []
    for _ in range(STEPS):
        values = job.step(job.pull(source))
        losses.append([values["loss"], values["norm"]])
        job.progress.step += 1
    held = sum(getattr(p, "_local_tensor", p).numel() for p in job.learner.parameters())
    idle = {n for n, p in job.learning.items() if not job.optimizer.of(p).state.get(p)}
    done = job.engine.end()
    state = {k: v.clone() for k, v in done.state_dict().items()}
    return losses, state, held / sum(p.numel() for p in done.parameters()), idle


@pytest.fixture
def results(make_run, tmp_path_factory, request, cache={}):  # noqa: B006  # once a session
    """{case: results} of each process, by (processes, kind)."""

    def of(n, kind):
        if (n, kind) not in cache:
            folder = tmp_path_factory.mktemp(f"{kind}{n}")
            texts = [{"id": f"t{i}", "text": t} for i, t in enumerate(["low mid", "high"] * 4)]
            write(folder / "text.jsonl", texts)

            def job(rank):
                found = {}
                for name, (_, changes) in CASES.items():
                    run = make_run(folder / name, *PLAIN, *changes,
                                   parallel=parallel.Config(kind))  # fmt: skip
                    run.manifests["text"] = Manifest(folder / "text.jsonl")
                    found[name] = learn(run, name)
                return found

            cache[n, kind] = together(n, job, folder)
        return cache[n, kind]

    return of


WAYS = [(2, "ddp"), (2, "fsdp"), (4, "ddp"), (4, "fsdp")]


@pytest.mark.parametrize(("n", "kind"), WAYS)
@pytest.mark.parametrize("name", CASES)
def test_several_processes_learn_what_one_does(results, request, n, kind, name):
    if n > 2:
        request.getfixturevalue("slow")
    if name == "16 bits" and not kernels.has_bf16():
        pytest.skip("no bfloat16 kernels on this machine")
    (one,) = results(1, "ddp")
    losses, weights, _, idle = one[name]
    # gradients of 16 bits: FSDP2 rounds their sum once more
    bits = 2e-3 if name == "16 bits" and kind == "fsdp" else 1e-6
    far = {"loss": 0.0, "weights": 0.0}
    for found in results(n, kind):
        now, then = torch.tensor(found[name][0]), torch.tensor(losses)
        torch.testing.assert_close(now, then, rtol=bits, atol=1e-6)
        far["loss"] = max(far["loss"], float((now / then - 1).abs().max()))
        assert found[name][1].keys() == weights.keys() and found[name][3] == idle
        for key, value in weights.items():
            if not key.endswith(NOISE) and value.numel():
                there = found[name][1][key]
                torch.testing.assert_close(there, value, rtol=bits, atol=bits, msg=f"{name} {key}")
                far["weights"] = max(far["weights"], float((there - value).abs().max()))
        share = sum(held for _, _, held, _ in found.values()) / len(found)
        assert share == pytest.approx(1 / n if kind == "fsdp" else 1, abs=0.03)
    # pytest --slow -s: the table of benchmarks/RESULTS.md
    print(f"\n{name:18} {n} x {kind:5} loss and norm {far['loss']:.0e} weights {far['weights']:.0e}"
          f" held {found[name][2]:.2f}")  # fmt: skip


def test_the_cases_are_what_they_are_called(results):
    (one,) = results(1, "ddp")
    assert all(any(abs(a - b) > 1e-6 for a, b in zip(*losses[:2], strict=True))
               for losses, *_ in one.values())  # fmt: skip
    before, after = one["BatchNorm"][1], one["encoder"][1]
    norm = "model.encoder.blocks.0.norm.num_batches_tracked"
    assert before[norm] == 4 * STEPS and norm not in after


def test_sharded_in_two_processes_then_on_alone(make_run, tmp_path):
    """Validation, saving and resuming under FSDP2; what it saved, one process reads."""
    changes = ("phase.encoder.steps=2", "phase.tune.steps=2",
               *PLAIN)  # fmt: skip
    loop.train(make_run(tmp_path / "alone", *changes))
    for until in ("encoder", "tune"):
        together(2, lambda rank, until=until: loop.train(make_run(
            tmp_path / "both", *changes, parallel=parallel.Config("fsdp")), until=until) and None,
            tmp_path / f"said{until}")  # fmt: skip
    logs = [
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("alone", "both")
    ]
    kept = store.find(tmp_path / "both")
    assert len([*(kept / "shards").glob("*.safetensors")]) == 2
    assert not (kept / "model.safetensors").exists() and whole.facts(kept)["files"]
    numbers = [[v.get("loss", v.get("valid", {}).get("loss")) for v in log] for log in logs]
    assert numbers[1] == pytest.approx(numbers[0], rel=1e-6)
    assert average([kept], tmp_path / "one") == len(Tensors(kept / "model.safetensors").parts)
    models = [store.load(folder)[1].state_dict() for folder in (kept, tmp_path / "one")]
    assert all(torch.equal(value, models[1][name]) for name, value in models[0].items())
    shutil.copytree(kept / "shards", tmp_path / "shards")
    shutil.rmtree(tmp_path / "both" / "tune")
    loop.train(make_run(tmp_path / "both", *changes))
    for file in ("model", "optimizer", "objectives"):
        files = [store.find(tmp_path / n) / f"{file}.safetensors" for n in ("alone", "both")]
        one, other = map(load_file, files)
        spread = Tensors(tmp_path / f"{file}.safetensors")
        assert {k: spread.shape(k) for k in spread.parts} == {k: v.shape for k, v in one.items()}
        assert all(
            (spread.tensor(k) - other[k]).abs().max() < 1e-5
            for k in one
            if not any(w in k for w in NOISE)
        )
        assert one.keys() == other.keys()
        for key, value in one.items():
            if not any(word in key for word in NOISE):
                torch.testing.assert_close(other[key], value, rtol=1e-5, atol=1e-5, msg=key)
                torch.testing.assert_close(spread.tensor(key), value, rtol=1e-5, atol=1e-5)


def test_saved_by_two_in_the_middle_and_resumed_by_three(make_run, tmp_path):
    """Weights and moments of a sharded checkpoint, in a phase whose steps three cannot divide."""
    changes = ("phase.encoder.steps=3", "phase.encoder.valid_every=3", *PLAIN)
    loop.train(make_run(tmp_path / "alone", *changes), until="encoder")

    def job(rank, stop):
        run = make_run(tmp_path / "both", *changes, parallel=parallel.Config("fsdp"))
        run.stop.number = 15 if stop else 0
        try:
            loop.train(run, until="encoder")
        except Stopped:
            assert stop

    together(2, lambda rank: job(rank, True), tmp_path / "said2")
    kept = [one.name for one in store.checkpoints(tmp_path / "both/encoder")]
    assert kept == ["step-00000001"]
    together(3, lambda rank: job(rank, False), tmp_path / "said3")
    numbers, tensors = [], []
    for name in ("alone", "both"):
        log = (tmp_path / name / "log.jsonl").read_text().splitlines()
        numbers.append([v["loss"] for v in map(json.loads, log) if "loss" in v])
        folder = store.checkpoints(tmp_path / name / "encoder")[-1]
        there = [Tensors(folder / f"{stem}.safetensors") for stem in ("model", "optimizer")]
        tensors.append({k: one.tensor(k) for one in there for k in one.parts})
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-6)
    assert tensors[0].keys() == tensors[1].keys()
    for key, value in tensors[0].items():
        if not any(word in key for word in NOISE):
            torch.testing.assert_close(tensors[1][key], value, rtol=1e-5, atol=1e-5, msg=key)


def test_who_has_something_else_is_named(make_run, tiny, tmp_path):
    """Another setting, another manifest: one line in all processes, before any step."""
    cases = {"preset": ("phase.tune.lr=2e-3", "train"), "manifest train": ("seed=7", "valid")}

    def job(rank, folder=tmp_path / "exp"):
        said = []
        for change, other in cases.values():
            run = make_run(folder, *([change] if rank == 1 else []))
            if rank == 1 and other == "valid":
                run.manifests["train"] = Manifest(tiny / "valid.jsonl")
            with pytest.raises(ValueError) as error:
                loop.train(run)
            said.append(str(error.value))
        return said

    for said in together(2, job, tmp_path / "said"):
        for line, what in zip(said, cases, strict=True):
            assert line.startswith(f"process 1 has another {what} than process 0")


def test_a_full_disk_of_one_process_is_named(make_run, tmp_path):
    """And the checkpoint before stays, with nothing half-written beside it."""
    from torch.distributed.checkpoint import HuggingFaceStorageWriter

    def job(rank):
        write_data, done = HuggingFaceStorageWriter.write_data, []

        def full(self, *args):
            done.append(1)
            if rank == 1 and len(done) == 2:
                raise OSError(28, "No space left on device")
            return write_data(self, *args)

        HuggingFaceStorageWriter.write_data = full
        changes = ("phase.encoder.steps=4", "phase.encoder.valid_every=2", *PLAIN)
        run = make_run(tmp_path / "exp", *changes, parallel=parallel.Config("fsdp"))
        with pytest.raises(OSError, match="step-00000004: process 1: its disk is full: free"):
            loop.train(run, until="encoder")

    together(2, job, tmp_path / "said")
    kept = store.checkpoints(tmp_path / "exp" / "encoder")
    assert [one.name for one in kept] == ["step-00000002"]
    whole.verify(kept[0])
