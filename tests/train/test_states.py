"""Training on an encoder's stored states: what it is on the sound, or a plain refusal."""

import json
from pathlib import Path

import pytest
import torch

from features import folder, sources
from features.stored import Stored
from speechllm import cli, config
from speechllm.data.collate import collate
from speechllm.data.manifest import Manifest, write
from speechllm.decode import heard
from speechllm.decode import run as decoding
from speechllm.models import states, store, storing
from speechllm.train import loop
from speechllm.train.phases import phases

CONFIG = {
    "d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 24,
    "max_source_positions": 60, "num_mel_bins": 20,
}  # fmt: skip
FROZEN = [
    "augment={}", "phase.encoder.train=['adapter.*']", "phase.encoder.steps=1",
    "phase.encoder.objectives={language_modelling={}}",
]  # fmt: skip


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    """Folders of tiny Whisper encoders: two checkpoints of one shape."""
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    made = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        folder = tmp_path_factory.mktemp("whisper")
        WhisperEncoder(WhisperConfig(**CONFIG)).save_pretrained(folder)
        made.append(folder)
    return made


@pytest.fixture
def job(make_run, whisper, tmp_path):
    """Make a run; `stored`: of the set of that name, made first of the first checkpoint."""

    def make(name, *changes, stored="", dtype="float32", encoder=whisper[0], **options):
        table = f"encoder={{name='whisper',pretrained='{encoder}',window='variable'}}"
        run = make_run(tmp_path / name, table, *FROZEN, *changes, **options)
        for which, manifest in run.manifests.items() if stored else ():
            new = tmp_path / stored / f"{which}.jsonl"
            if not new.exists():
                keep(run, manifest.path, tmp_path / stored, new, dtype)
            run.manifests[which] = Manifest(new)
        return run

    return make


def keep(run, path, out, new, dtype="float32"):
    branch = run.system.audio
    job = storing.Job(branch, branch.build_encoder().eval(), out, dtype, workers=0)
    tally = storing.make(job, path)
    sources.refer(path, out, new)
    assert not tally.errors
    return tally


def losses(run):
    lines = [json.loads(line) for line in (run.out / "log.jsonl").read_text().splitlines()]
    there = [v["valid"] | v["health"] if "valid" in v else {"loss": v["loss"]} for v in lines]
    return [value for values in there for _, value in sorted(values.items())]


@pytest.mark.parametrize("dtype, close", [("float32", 1e-5), ("bfloat16", 2e-2), ("int8", 2e-2)])
def test_losses_and_health_are_those_of_the_sound(job, dtype, close, monkeypatch):
    heard, stored = job("heard"), job("stored", stored=f"set-{dtype}", dtype=dtype)
    loop.train(heard)
    passes = []
    encode = storing.encode
    for room in ("speechllm.models.forward", "speechllm.train.health"):
        monkeypatch.setattr(f"{room}.encode", lambda *a: passes.append(1) or encode(*a))
    loop.train(stored)
    assert losses(stored) == pytest.approx(losses(heard), rel=close)
    assert len(passes) == 3  # silence, at each validation


def test_masks_over_states_are_the_same_on_stored_ones(job):
    changes = "augment={state_masks=2,state_width=9}", "phase.tune.steps=3"
    heard, stored, plain = (
        job("heard", *changes), job("stored", *changes, stored="set"), job("plain", changes[1]),
    )  # fmt: skip
    for run in (heard, stored, plain):
        loop.train(run)
    assert losses(stored) == pytest.approx(losses(heard), rel=1e-5)
    assert losses(plain) != pytest.approx(losses(heard), rel=1e-4)
    phase = phases(heard.system.preset)[1]
    batch = collate([stored.examples(phase, stored.manifests["train"], True).make(0, i)
                     for i in range(5)], 0)  # fmt: skip
    assert batch.encoded == {"audio"} and 0 < batch.masked["audio"].float().mean() < 0.9
    found, lengths = heard.system.build()(batch).states
    for x, mask, n, real in zip(found, batch.masked["audio"], lengths, batch.media["audio"].x,
                                strict=True):  # fmt: skip
        wanted = torch.where(mask[:n, None], real[:n].mean(0), real[:n])
        torch.testing.assert_close(x[:n], wanted)


@pytest.mark.parametrize(
    "change, wanted",
    [
        ("encoder.window='masked'", "different: states.encoder.window"),
        ("encoder.final_norm=false", "different: states.encoder.final_norm"),
        ("frontend.preemphasis=0.5", "different: preemphasis"),
        ("phase.tune.train=['encoder.*']", "stored, but encoder.model.conv1.weight learns: take"),
        ("augment.speed=[0.9,1.1]", r"\[augment\] speed changes what the encoder hears"),
        ("augment.time_masks=1", r"\[augment\] time_masks changes what the encoder hears"),
    ],
)
def test_what_no_longer_fits_is_refused_before_any_step(job, change, wanted):
    job("first", stored="set")
    run = job("run", change, stored="set")
    with pytest.raises(ValueError, match=f"utterance 'train0': .*{wanted}"):
        loop.train(run)
    assert not (run.out / "log.jsonl").exists()


def test_states_of_other_weights_are_refused(job, whisper):
    job("first", stored="set")
    with pytest.raises(ValueError, match=r"train0.*different: states.weights\); give another"):
        loop.train(job("other", stored="set", encoder=whisper[1]))


def test_a_segment_that_moved_is_refused(job, tmp_path):
    run = job("run", stored="set")
    path = run.manifests["train"].path
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[0]["start"] = 0.05
    write(path, rows)
    run.manifests["train"] = Manifest(path)
    with pytest.raises(ValueError, match="made from 0 s on, but .* `speechllm data states` again"):
        loop.train(run)


def test_a_set_goes_on_and_takes_nothing_else(job, tmp_path):
    run = job("run")
    old, out, new = run.manifests["train"].path, tmp_path / "set", tmp_path / "new.jsonl"
    few = tmp_path / "few.jsonl"
    write(few, [dict(row) for row in run.manifests["train"]][:4])
    assert keep(run, few, out, new).done == 4
    tally = keep(run, old, out, new)
    assert (tally.done, tally.skipped) == (8, 4) and len(Stored(out)) == 12
    assert keep(run, old, out, new).skipped == 12
    with pytest.raises(ValueError, match="different: dtype"):
        keep(run, old, out, new, "int8")
    with pytest.raises(ValueError, match="states of kaldi_fbank80, wanted kaldi_fbank80"):
        Stored(out, run.system.extractor)
    Stored(out).verify()


def test_an_interrupt_keeps_what_is_there(job, tmp_path, monkeypatch):
    """And leaves nothing half written; the same line then makes the rest."""
    run, out = job("run"), tmp_path / "set"
    path = run.manifests["train"].path
    monkeypatch.setattr(storing, "MAX_BATCH_S", 1.0)
    branch = run.system.audio
    made = storing.Job(branch, branch.build_encoder().eval(), out, workers=0)

    def stop(tally):
        if tally.done >= 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        storing.make(made, path, stop)
    there = len(Stored(out))
    assert 5 <= there < 12 and not [*out.glob(".*.part")]
    with folder.writing(out, made.note), pytest.raises(ValueError, match="another run writes"):
        storing.make(made, path)
    tally = storing.make(made, path)
    assert (tally.done, tally.skipped) == (12 - there, there)
    alone = storing.Job(branch, made.encoder, tmp_path / "alone", workers=0)
    monkeypatch.setattr(storing, "MAX_BATCH_S", 0.1)
    storing.make(alone, path)
    both = Stored(out), Stored(tmp_path / "alone")
    for id in both[0]:
        x, y = (torch.from_numpy(one[id][0].copy()) for one in both)
        torch.testing.assert_close(x, y, rtol=2**-7, atol=1e-4)  # bfloat16


def test_what_cannot_be_read_is_listed_and_the_others_stored(job, tmp_path):
    run = job("run")
    rows = [dict(row) for row in run.manifests["train"]][:3]
    rows[1]["audio"] = str(tmp_path / "gone.wav")
    write(tmp_path / "m.jsonl", rows)
    branch = run.system.audio
    made = storing.Job(branch, branch.build_encoder().eval(), tmp_path / "set", workers=0)
    tally = storing.make(made, tmp_path / "m.jsonl")
    assert tally.done == 2 and [e.split(":")[0] for e in tally.errors] == ["train1"]
    assert sources.refer(tmp_path / "m.jsonl", tmp_path / "set", tmp_path / "n.jsonl") == 2
    run.manifests["train"] = Manifest(tmp_path / "n.jsonl")
    examples = run.examples(phases(run.system.preset)[1], run.manifests["train"], False)
    both = [examples.make(0, 0), examples.make(0, 2)]
    assert collate(both, 0).encoded == {"audio"}


def test_some_stored_and_some_not_are_told(job, tmp_path):
    run = job("run", stored="set")
    examples = run.examples(phases(run.system.preset)[1], run.manifests["train"], False)
    other = job("other")
    heard = other.examples(phases(run.system.preset)[1], other.manifests["train"], False)
    with pytest.raises(ValueError, match="'train1': its audio has no stored states, others of"):
        collate([examples.make(0, 0), heard.make(0, 1)], 0)


def test_decoding_takes_them(job, tmp_path):
    run = job("run", stored="set")
    loop.train(run)
    system, model = store.load(store.find(run.out))
    heard, found = job("heard").manifests["valid"], []
    rows = [pair[i % 2] for i, pair in enumerate(zip(heard, run.manifests["valid"], strict=True))]
    write(tmp_path / "mixed.jsonl", rows)
    for audio in ("real", "shuffled", "silent"):
        for manifest in (heard, run.manifests["valid"], Manifest(tmp_path / "mixed.jsonl")):
            folder = tmp_path / f"{audio}{len(found)}"
            options = decoding.Options(workers=0, audio=audio, max_tokens_per_s=9.0)
            decoding.decode(system, model, manifest, folder, options)
            lines = (folder / "hyp.jsonl").read_text().splitlines()
            answers = {v["id"]: v["hyp"] for v in map(json.loads, lines)}
            found.append(answers)
        assert found[-1] == found[-2] == found[-3]


def test_the_command_from_a_preset_and_from_a_model(job, tmp_path, capsys):
    run = job("run")
    loop.train(run)
    path = str(run.manifests["valid"].path)
    given = [
        "--out",
        str(tmp_path / "s"),
        "--workers",
        "0",
        "--manifest",
        str(tmp_path / "n.jsonl"),
    ]
    assert cli.main(["data", "states", str(run.out), path, *given, "--dtype", "int8"]) == 0
    assert "5 of 5 rows refer to states" in capsys.readouterr().out
    (tmp_path / "p.toml").write_text(run.system.preset.dump())
    again = ["data", "states", str(tmp_path / "p.toml"), path, *given, "--dtype", "int8"]
    assert cli.main(again) == 0 and "5 were there already" in capsys.readouterr().out
    assert cli.main([*again[:3], path, *given, "--set", "encoder.config={}"]) == 2
    assert "different: dtype" in capsys.readouterr().err
    assert cli.main(["data", "states", "mini", path, *given]) == 2
    assert "trained nowhere: give the folder of a trained model" in capsys.readouterr().err
    several = [*again[:3], path, str(run.manifests["train"].path), *given[:4], "--dtype", "int8"]
    assert cli.main([*several, "--beside", "states"]) == 0
    beside = Path(path).with_suffix(".states.jsonl")
    assert f"{beside}: 5 of 5 rows refer to states" in capsys.readouterr().out
    assert "features" in json.loads(beside.read_text().splitlines()[0])
    assert cli.main([*several, *given[4:]]) == 2
    assert "--beside states writes one for each" in capsys.readouterr().err
    assert cli.main([*several, "--beside", "a/b"]) == 2
    assert "--beside wants a word" in capsys.readouterr().err


def test_lower_case_is_an_option_of_the_task():
    row = {"id": "a", "audio": "a.wav", "text": "HE HOPED"}
    for lower, wanted in ((False, "HE HOPED"), (True, "he hoped")):
        task = config.part("tasks", {"name": "asr", "lower": lower}, "here")
        assert task.messages(row)[-1]["content"] == wanted


def test_a_head_of_letters_learns_from_stored_states(job):
    """CTC over letters; the validation says how many letters and words are wrong."""
    run = job(
        "run", "adapter={name='ctc_posterior',letters=' lowmidhg',convs=2}",
        "phase.encoder.objectives={ctc={on='posterior'}}", "phase.encoder.train=['adapter.head.*']",
        "phase.encoder.steps=60", "phase.encoder.lr=1e-2", "phase.encoder.valid_every=30",
        "phase.tune.steps=1", "phase.tune.objectives={language_modelling={}}", stored="set",
    )  # fmt: skip
    loop.train(run)
    log = [json.loads(line) for line in (run.out / "log.jsonl").read_text().splitlines()]
    read = [v["valid"] for v in log if v["stage" if "stage" in v else "phase"] == "encoder" and
            "valid" in v]  # fmt: skip
    assert read[-1]["ctc"] < read[0]["ctc"] and read[-1]["ctc/token_errors"] < 0.9
    assert 0 <= read[-1]["ctc/word_errors"] <= 1.5
    _, model = store.load(store.find(run.out))
    ids = [run.system.tokenizer.decode([i]).strip() for i in model.adapter.units.tolist()]
    assert ids == ["", *"lowmidhg"]


def test_the_upper_layers_learn_above_what_is_stored(job):
    """Stored at the split, masked there, as on the sound; what learns below is refused."""
    changes = (
        "encoder.split=1", "augment={state_masks=1,state_width=9}",
        "phase.tune.train=['adapter.*','encoder.model.layers.1.*','encoder.model.layer_norm.*']",
    )  # fmt: skip
    heard, stored = job("heard", *changes), job("stored", *changes, stored="set")
    for run in (heard, stored):
        loop.train(run)
    assert losses(stored) == pytest.approx(losses(heard), rel=1e-5)
    _, model = store.load(store.find(stored.out))
    before = stored.system.build().encoder.state_dict()
    moved = {k for k, v in model.encoder.state_dict().items() if not torch.equal(v, before[k])}
    assert moved and all(model.encoder.lies_above(name) for name in moved)
    kept = states.origins(stored.system, model)["audio"]
    assert kept == states.origins(stored.system, stored.system.build())["audio"]
    below = job("below", *changes[:2], "phase.tune.train=['encoder.*']", stored="set")
    with pytest.raises(ValueError, match=r"encoder\.model\.\S+ learns: take"):
        loop.train(below)


def test_soft_tokens_learn_to_be_embeddings_of_what_they_spell(job):
    """CTC over pieces of the LLM, tied to its embeddings, through an adapter of any kind."""
    run = job(
        "run", "adapter={name='conv',layers=1}",
        "phase.encoder.objectives={ctc={on='adapter',tied=true,letters=' lowmidhg'}}",
        "phase.encoder.train=['adapter.*']", "phase.encoder.steps=60",
        "phase.encoder.lr=1e-2", "phase.encoder.valid_every=30", "phase.tune.steps=1",
        "phase.tune.objectives={language_modelling={}}", stored="set",
    )  # fmt: skip
    loop.train(run)
    log = [json.loads(line) for line in (run.out / "log.jsonl").read_text().splitlines()]
    read = [v["valid"] for v in log if "valid" in v and "ctc" in v["valid"]]
    assert read[-1]["ctc"] < read[0]["ctc"] and read[-1]["ctc/token_errors"] < 0.7
    _, model = store.load(store.find(run.out))
    head = model.heads["ctc"]
    assert len(head.alphabet.units) == 9 and head.head.scale != 20
    ids = model.tokenizer.convert_ids_to_tokens(head.head.ids.tolist())
    assert [t.replace("▁", " ") for t in ids] == list(head.alphabet.units)


def test_a_head_alone_learns_and_a_second_one_beside_it(job):
    """Letters on states in a phase of their own; then another head on soft tokens, with the LLM."""
    letters = "letters=' lowmidhg'"
    run = job(
        "run", "adapter={name='conv',layers=1}", "phase.encoder.train=[]", "phase.encoder.steps=2",
        f"phase.encoder.objectives={{ctc={{{letters},convs=1,conv_dropout=0.1}}}}",
        "phase.tune.steps=2", "phase.tune.objectives={language_modelling={},ctc_tokens={"
        f"on='adapter',tied=true,{letters},weight=0.3}}}}", stored="set",
    )  # fmt: skip
    loop.train(run)
    spelled = store.load(store.find(run.out / "encoder"))[1]
    _, model = store.load(store.find(run.out))
    assert [*model.heads] == ["ctc", "ctc_tokens"] and [*spelled.heads] == ["ctc"]
    kept = spelled.heads["ctc"].state_dict()
    assert all(torch.equal(v, kept[k]) for k, v in model.heads["ctc"].state_dict().items())
    assert heard.head_of(model) is model.heads["ctc"]
    log = [json.loads(line) for line in (run.out / "log.jsonl").read_text().splitlines()]
    assert "ctc_tokens/word_errors" in log[-1].get("valid", log[-2].get("valid", {}))
