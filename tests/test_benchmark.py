"""`speechllm benchmark`: recognisers side by side, each as it is; what cannot be right is said."""

import csv
import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from speechllm import cli
from speechllm.data.manifest import Manifest, write
from speechllm.decode import contest
from speechllm.decode.program import Program
from speechllm.decode.recognise import Transformer
from speechllm.media import audio
from speechllm.models import packed, recogniser_parts, recognisers

spec = importlib.util.spec_from_file_location(
    "checkpoints", Path(__file__).parent / "checkpoints.py"
)
checkpoints = importlib.util.module_from_spec(spec)
spec.loader.exec_module(checkpoints)

ECHO = f"{sys.executable} -c \"import sys; print('low', len(sys.argv))\""
SERVER = f"{sys.executable} -uc \"import sys; [print('low', flush=True) for line in sys.stdin]\""


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("recognisers")
    return {
        "whisper": checkpoints.whisper(folder / "whisper"),
        "masked": checkpoints.wav2vec2(folder / "masked"),
        "maskless": checkpoints.wav2vec2(folder / "maskless", mask=False),
    }


@pytest.fixture
def in_this_process(monkeypatch):
    """Starting a process imports torch anew; one test does it."""
    monkeypatch.setattr(contest, "run", contest.here)


def benchmark(*words) -> int:
    return cli.main(["benchmark", *map(str, words)])


def waves(tiny) -> list[np.ndarray]:
    return [audio.open(row, 16000) for row in Manifest(tiny / "valid.jsonl")]


def table(out: Path, name: str = "results") -> list[dict]:
    with open(out / "tables" / f"{name}.csv") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", ["whisper", "masked", "maskless"])
def test_texts_are_those_of_transformers_own_loop_alone_and_in_a_batch(name, models, tiny):
    recogniser = recognisers.load(str(models[name]))
    processor = recogniser.parts.processor
    model = recognisers.load(str(models[name]), packed=False).model
    expected = []
    for wave in waves(tiny):
        inputs = processor(wave, sampling_rate=16000, return_tensors="pt")
        with torch.no_grad():
            ids = (
                model.generate(**inputs) if name == "whisper" else model(**inputs).logits.argmax(-1)
            )
        expected += processor.batch_decode(ids, skip_special_tokens=True)
    assert len(set(expected)) > 1  # that the sounds matter
    assert recogniser(waves(tiny)) == expected
    assert [recogniser([wave])[0] for wave in waves(tiny)] == expected
    assert recogniser.alone == (name == "maskless")


def test_packed_layers_give_the_same_and_shared_weights_stay():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(32, 48), torch.nn.Linear(48, 32, bias=False))
    model.append(torch.nn.Embedding(8, 32))
    model.append(torch.nn.Linear(32, 8))
    model[3].weight = model[2].weight
    x = torch.randn(2, 5, 32)
    with torch.no_grad():
        expected = model[3](model[:2](x))
        packed.pack(model)
        found = model[3](model[:2](x))
    assert type(model[0]) is packed.Packed and type(model[3]) is torch.nn.Linear
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_all_kinds_in_one_table_and_a_second_call_goes_on(
    models, tiny, tmp_path, in_this_process, capsys
):
    out = tmp_path / "bench"
    rows = list(Manifest(tiny / "valid.jsonl"))
    (tmp_path / "foreign.trn").write_text("".join(f"{r['text']} ({r['id']})\n" for r in rows))
    words = ["--manifest", tiny / "valid.jsonl", models["whisper"], f"ctc={models['masked']}"]
    words += ["--command", f"echo={ECHO} {{audio}}", "--hypotheses"]
    words += [f"true={tmp_path / 'foreign.trn'}", "--out", out]
    assert benchmark(*words) == 0
    found = {row["model"]: row for row in table(out)}
    assert list(found) == ["whisper", "ctc", "echo", "true"]
    assert found["true"]["WER % whisper-en:1"] == "0.00" and found["true"]["RTFx"] == "-"
    assert float(found["ctc"]["RTFx"]) > 0 and float(found["echo"]["latency s"]) > 0
    assert 5 < float(found["echo"]["memory MB"]) < float(found["ctc"]["memory MB"])
    assert "WER % compounds:merged open-asr:2026-08" in found["ctc"]
    assert len(table(out, "paired_tests")) == 2 * 6  # each two, by each normaliser
    assert {row["part"] for row in table(out, "by_speaker")} == {"s0", "s1"}
    for name in ("txt", "md", "tex", "html"):
        assert "ctc" in (out / f"benchmark.{name}").read_text()
    answers = out / "ctc/valid/hyp.jsonl"
    before = answers.read_text()
    answers.write_text("".join(before.splitlines(keepends=True)[:2]) + '{"id": "va')  # killed
    capsys.readouterr()
    assert benchmark(*words) == 0
    texts = [[(row["id"], row["hyp"]) for row in map(json.loads, text.splitlines())]
             for text in (before, answers.read_text())]  # fmt: skip
    assert texts[0] == texts[1]
    assert before.splitlines()[:2] == answers.read_text().splitlines()[:2]
    other = ["ctc" + str(w)[3:] if str(w).startswith("ctc=") else w for w in words]
    other[3] = f"ctc={models['maskless']}"
    assert benchmark(*other) == 1  # answers of another model stand there
    assert "given by another model" in capsys.readouterr().err


def test_a_process_of_its_own_measures_its_own_memory(tiny, tmp_path):
    ballast = np.ones(100_000_000)  # 800 MB that are not the contestant's
    jobs = [(tiny / "valid.jsonl", tmp_path / "echo")]
    who = contest.Contestant("echo", contest.PROGRAM, SERVER)
    assert contest.run(who, jobs, contest.Settings()) == (1, "")
    measured = json.loads((tmp_path / "echo/measured.json").read_text())
    assert 5 < measured["peak_memory_mb"] < 100 and len(measured["latency_s"]) == 5
    assert ballast.nbytes > 700e6


def test_a_model_of_ours_takes_part(make_run, tiny, tmp_path, in_this_process):
    from speechllm.train import loop

    loop.train(make_run(tmp_path / "exp"), until="encoder")
    words = [
        f"ours={tmp_path / 'exp'}",
        "--manifest",
        tiny / "valid.jsonl",
        "--out",
        tmp_path / "b",
    ]
    benchmark(*words)  # it has learned nothing yet, and may well say nothing
    assert table(tmp_path / "b")[0]["model"] == "ours"
    folder = tmp_path / "b/ours/valid"
    ids = [json.loads(line)["id"] for line in (folder / "hyp.jsonl").read_text().splitlines()]
    assert sorted(ids) == [f"valid{i}" for i in range(5)]
    assert len(json.loads((folder / "measured.json").read_text())["latency_s"]) == 5


@pytest.mark.parametrize("command", [SERVER, f"{ECHO} {{wav}}", f"{ECHO} --file={{audio}}"])
def test_programs_answer_a_line(command, tiny):
    with Program(command) as program:
        texts = program.hear(list(Manifest(tiny / "valid.jsonl"))[:2])
    assert [text.split()[0] for text in texts] == ["low", "low"]


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("print(1); raise SystemExit('no model')", "status 1 at valid0: no model"),
        ("print(1); print(2)", "wrote 2 lines for valid0, wanted one: 1, 2"),
    ],
)
def test_a_program_that_fails_says_why(code, says, tiny):
    with Program(f'{sys.executable} -c "{code}" {{wav}}') as program:
        with pytest.raises(ValueError, match=says):
            program.hear(list(Manifest(tiny / "valid.jsonl"))[:1])


def test_what_fails_in_one_set_keeps_the_sets_before(tiny, tmp_path, in_this_process, capsys):
    rows = list(Manifest(tiny / "valid.jsonl"))
    write(tmp_path / "longer.jsonl", [{**row, "id": f"x{row['id']}"} for row in rows])
    words = ["--manifest", tiny / "valid.jsonl", "--manifest", tmp_path / "longer.jsonl"]
    words += ["--out", tmp_path / "b"]
    (tmp_path / "b/echo/longer").mkdir(parents=True)
    (tmp_path / "b/echo/longer/hyp.jsonl").write_text('{"id": "xvalid0", "hyp": "of another"}\n')
    assert benchmark("--command", f"echo={ECHO} {{audio}}", *words) == 1
    first, second = table(tmp_path / "b")
    assert first["failed"] == "" and float(first["WER % whisper-en:1"]) > 0
    assert second["WER % whisper-en:1"] == "-" and "holds answers" in second["failed"]


@pytest.mark.parametrize("name", ["whisper", "masked", "maskless"])
def test_half_precision_hears_too(name, models, tiny):
    rows = list(Manifest(tiny / "valid.jsonl"))
    hearer = Transformer(recognisers.load(str(models[name]), precision="bf16"))
    assert len(hearer.hear(rows)) == len(rows)
    assert {p.dtype for p in hearer.recogniser.model.parameters()} == {torch.bfloat16}
    assert hearer.identity["precision"] == "bf16"
    places = [place for _, place in hearer.recogniser.evidence([audio.open(rows[0], 16000)])]
    assert len(places) == 1


def no_weights(models, tmp_path):
    shutil.copytree(models["whisper"], tmp_path / "bare", ignore=lambda *_: ["model.safetensors"])
    return [tmp_path / "bare"]


def other_tokenizer(models, tmp_path):
    shutil.copytree(models["whisper"], tmp_path / "mixed")
    other = checkpoints.whisper(tmp_path / "other", more=3)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(other / name, tmp_path / "mixed")
    return [tmp_path / "mixed"]


def twice(models, tmp_path):
    return [models["whisper"], f"whisper={models['masked']}"]


def no_recogniser(models, tmp_path):
    (tmp_path / "llm").mkdir()
    (tmp_path / "llm/config.json").write_text('{"model_type": "llama"}')
    return [tmp_path / "llm"]


def a_stranger(models, tmp_path):
    (tmp_path / "other.txt").write_text("valid0 low\nelsewhere high\n")
    return ["--hypotheses", f"kaldi={tmp_path / 'other.txt'}"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (no_weights, "no weights"),
        (other_tokenizer, "the network has 31 tokens, the tokenizer 3"),
        (twice, "two recognisers are called 'whisper'"),
        (no_recogniser, "no recogniser of transformers"),
        (a_stranger, "no reference in valid for 1: elsewhere"),
        (lambda *_: ["nowhere/model"], "nowhere"),
        (lambda *_: ["--command", "x=no-such-program"], "no program called"),
        (lambda *_: [], "nobody takes part"),
    ],
)
def test_what_cannot_be_right_is_one_line(words, says, models, tiny, tmp_path, capsys):
    chosen = words(models, tmp_path)
    capsys.readouterr()  # of making them
    assert benchmark(*chosen, "--manifest", tiny / "valid.jsonl", "--out", tmp_path / "b") == 2
    said = capsys.readouterr().err.strip()
    assert says in said and len(said.splitlines()) == 1
    assert not (tmp_path / "b/benchmark.txt").exists()


def test_sets_that_cannot_be_scored_are_one_line(tiny, tmp_path, capsys):
    rows = list(Manifest(tiny / "valid.jsonl"))
    write(tmp_path / "untold.jsonl", [{k: v for k, v in r.items() if k != "text"} for r in rows])
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "twice.jsonl").write_text((tiny / "valid.jsonl").read_text() * 2)
    for name, says in (("untold", "transcript"), ("empty", "empty"), ("twice", "ids must differ")):
        words = ["--manifest", tmp_path / f"{name}.jsonl", "--out", tmp_path / "b"]
        assert benchmark("--command", f"x={ECHO} {{audio}}", *words) == 2
        said = capsys.readouterr().err.strip()
        assert says in said and len(said.splitlines()) == 1, said


def test_hypotheses_that_lack_some_and_a_model_that_says_nothing(
    tiny, tmp_path, in_this_process, capsys
):
    (tmp_path / "some.txt").write_text("valid0 low\n")
    words = ["--manifest", tiny / "valid.jsonl", "--hypotheses", f"some={tmp_path / 'some.txt'}"]
    words += ["--command", "mute=true {audio}", "--out", tmp_path / "b"]
    assert benchmark(*words) == 1
    said = capsys.readouterr().err
    assert "no hypothesis for 4" in said and "answered nothing to all" in said
    assert [row["RTFx"] for row in table(tmp_path / "b")] == ["-", "-"]
    assert benchmark(*words, "--missing", "delete") == 1
    rates = {row["model"]: row["WER % whisper-en:1"] for row in table(tmp_path / "b")}
    assert rates["mute"] == "-" and float(rates["some"]) > 50


def test_real_recognisers_on_real_speech(real_data, request, tmp_path, in_this_process):
    folder = Path(request.config.getoption("--models") or "") / "whisper-tiny.en"
    corpus = real_data / "librispeech_flac"
    if not (folder / "config.json").is_file() or not corpus.is_dir():
        pytest.skip("needs --models DIR with whisper-tiny.en, and librispeech_flac in --data")
    words = ["--corpus", corpus, "--splits", "dev-clean", "--every", 8, folder]
    assert benchmark(*words, "--out", tmp_path) == 0
    assert float(table(tmp_path)[0]["WER % whisper-en:1"]) < 15


def test_tokens_of_another_whisper_are_found_also_where_the_numbers_agree(models, tmp_path):
    shutil.copytree(models["whisper"], tmp_path / "moved")
    path = tmp_path / "moved/generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token_id": 5}))
    with pytest.raises(ValueError, match="eos_token_id is 5 to the network, 27"):
        recogniser_parts.inspect(str(tmp_path / "moved"))
