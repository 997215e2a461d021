"""The command: quick help, user errors in one line, the whole chain in a small way."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from speechllm import cli, config
from speechllm.cli import doctor, options

HEAVY = ("torch", "numpy", "transformers", "matplotlib")


def call(*words):
    return cli.main([str(word) for word in words])


@pytest.mark.parametrize("words", [["--help"], *([verb, "--help"] for verb in cli.VERBS)])
def test_help_imports_nothing_heavy(words):
    code = (
        "import sys; from speechllm import cli\n"
        f"try: cli.main({words!r})\nexcept SystemExit: pass\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == "[]"
    assert "usage: speechllm" in done.stdout


ACTIONS = [["data", action] for action in ("prepare", "validate", "show", "tokenizer")]


@pytest.mark.parametrize("words", [*([verb] for verb in cli.VERBS), *ACTIONS])
def test_help_shows_an_example_and_what_each_option_is(words, capsys):
    with pytest.raises(SystemExit):
        call(*words, "--help")
    said = capsys.readouterr().out
    assert f"  speechllm {' '.join(words)}" in said.split("\noptions:")[1]
    options = re.split(r"\n  (?=-)", said.split("\noptions:")[1].split("\n\n")[0])[1:]
    assert all(re.search(r"\S( {2,}|\n {24})\S", option) for option in options), options


def test_help_tells_defaults(capsys):
    with pytest.raises(SystemExit):
        call("decode", "--help")
    said = " ".join(capsys.readouterr().out.split())
    assert "1 is greedy (default: 1)" in said and "in seconds (default: 200.0)" in said


@pytest.mark.parametrize("corpus", config.names("data.corpora"))
def test_each_corpus_has_its_help(corpus, capsys):
    with pytest.raises(SystemExit) as done:
        call("data", "prepare", corpus, "--help")
    assert done.value.code == 0
    said = capsys.readouterr().out
    assert "--out" in said and "Options" in said  # its Config's own words
    with pytest.raises(SystemExit):
        call("data", "prepare", "--help")
    assert f"\n    {corpus}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["train", "minni", "--out", "x"], "did you mean 'mini'"),
        (["train", "mini", "--out", "x", "--data", "train=no.jsonl"], "NAME=MANIFEST"),
        (["train", "mini", "--out", "x"], "give --tokenizer"),
        (["decode", "nowhere", "no.jsonl"], "neither an experiment nor a checkpoint"),
        (["score", "nowhere/hyp.jsonl"], "nowhere"),
        (["report", "nowhere", "--declared", "run.sh"], "NAME=COMMAND"),
    ],
)
def test_user_errors_are_one_line(words, says, capsys):
    assert call(*words) == 2
    message = capsys.readouterr().err.strip()
    assert says in message and "\n" not in message


def test_a_gpu_that_is_not_there(capsys, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert call("decode", "nowhere", "no.jsonl", "--device", "cuda") == 2
    assert "--device cuda: torch sees no such GPU" in capsys.readouterr().err
    assert [options.device(wanted) for wanted in ("auto", "cpu")] == ["cpu", "cpu"]
    with pytest.raises(SystemExit):
        call("decode", "nowhere", "no.jsonl", "--device", "gpu")


def test_train_decode_score_report(tiny, tmp_path, capsys):
    data = [f"--data={name}={tiny / name}.jsonl" for name in ("train", "valid")]
    short = ["--set", "phase.encoder.steps=2", "--set", "phase.tune.steps=2"]
    out = tmp_path / "exp"
    assert not call("train", tiny / "tiny.toml", "--tokenizer", tiny / "bpe", *data, *short,
                    "--out", out, "--workers", 0, "--device", "cpu")  # fmt: skip
    assert not call("decode", out, tiny / "valid.jsonl", "--workers", 0, "--device", "cpu")
    assert not call("score", out / "decode_valid", "--manifest", tiny / "valid.jsonl")
    assert "%WER" in capsys.readouterr().out
    facts = json.loads((out / "decode_valid" / "decode.json").read_text())
    assert facts["n_utterances"] == 5 and facts["manifest_digest"]
    assert not call("report", out, "--out", tmp_path / "R.md", "--page", tmp_path / "p.html",
                    "--declared", "big=run.sh --big")  # fmt: skip
    text = (tmp_path / "R.md").read_text()
    assert "%WER" in text and "not run" in text
    assert (tmp_path / "p.html").stat().st_size > 1000
    shown = ["data", "show", "valid0", "--manifest", tiny / "valid.jsonl", "--preset", out]
    assert not call(*shown, "--plot", tmp_path / "x.png")
    printed = capsys.readouterr().out
    assert "slot" in printed and "answer" in printed and "close" in printed
    assert (tmp_path / "x.png").stat().st_size > 5000


def test_presets_and_doctor(capsys):
    assert not call("presets", "show", "mini", "--file")
    assert "[[phase]]" in capsys.readouterr().out
    assert call("presets", "show") == 2
    assert "show wants a name" in capsys.readouterr().err
    assert not call("doctor")
    printed = capsys.readouterr().out
    assert "all that is needed works" in printed
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    for extra, wanted in project["optional-dependencies"].items():
        if extra != "test":  # said for what it is, and what of it is missing
            assert f"\n[{extra}] " in printed, extra
            named = {re.split("[>=<]", one)[0] for one in wanted}
            assert set(doctor.EXTRAS[extra][1].split()) == named, extra


def test_presets_table_has_a_line_for_each(capsys):
    assert not call("presets")
    found = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()[1:]}
    assert list(found) == list(config.presets())
    line = " ".join(found["slam_asr_whisper"].split())
    assert line.endswith("whisper linear interleave vicuna-7b-v1.5 10.0 adapter 21.5, lora 25.7")


def test_presets_show_draws_and_estimates(capsys):
    change = ["--set", "llm.lora.r=16", "--rows", "2", "--seconds", "5", "--precision", "fp32"]
    assert not call("presets", "show", "slam_asr_wavlm", *change)
    shown = " ".join(capsys.readouterr().out.split())
    assert "encoder wavlm (249, 1024) adapter linear (49, 4096)" in shown
    assert "adapter 18.88 M parameters" in shown and "lora 8.39 M parameters" in shown
    assert "27.27 M at 0.0001: adapter.*, llm.*lora_*" in shown and "decoding 14." in shown


def test_one_model_is_asked_in_several_ways(tiny, tmp_path, capsys):
    from speechllm.data.manifest import Manifest, write

    for name in ("train", "valid"):
        rows = Manifest(tiny / f"{name}.jsonl")
        more = {"lang": "en", "translation_lang": "de"}
        write(tmp_path / f"{name}.jsonl", (r | more | {"translation": r["text"]} for r in rows))
    data = [f"--data={name}={tmp_path / name}.jsonl" for name in ("train", "valid")]
    task = "task={name='translate', mix=['direct', 'chain'], marker=' say '}"
    given = ["--set", task, "--set", "phase.encoder.steps=2", "--set", "phase.tune.steps=2"]
    train = ["train", tiny / "tiny.toml", "--tokenizer", tiny / "bpe", *data, "--workers", 0]
    out = tmp_path / "exp"
    for side, code in (("source", "de"), ("target", "en")):  # swapped: refused before any step
        given += ["--set", f"task.{side}={code}"]
    assert call(*train, *given, "--device", "cpu", "--out", out) == 2
    assert "translates de into en: they are swapped" in capsys.readouterr().err
    assert not list(tmp_path.glob("exp/*/step-*"))
    assert not call(*train, *given[:-4], "--device", "cpu", "--out", out)
    options = ["--workers", 0, "--device", "cpu", "--set"]
    for way in ("direct", "chain", "recognise"):
        folder = ["--out", out / f"decode_{way}"]
        assert not call(
            "decode", out, tmp_path / "valid.jsonl", *options, f"task.way={way}", *folder
        )
        assert not call("score", out / f"decode_{way}")
    printed = capsys.readouterr().out
    assert [printed.count(name) for name in ("%BLEU", "%chrF2++", "%WER")] == [2, 2, 2]
    phase = ["decode", out / "encoder", tmp_path / "valid.jsonl", *options, "task.way=direct"]
    assert not call(*phase, "--out", tmp_path / "early")
    assert call("decode", out, tmp_path / "valid.jsonl", *options, "llm.lora.r=3") == 2
    assert "a decode may only change its task" in capsys.readouterr().err
    both = ["score", out / "decode_direct", "--against", out / "decode_chain", "--metric", "chrf"]
    assert not call(*both) and "p_ar=" in capsys.readouterr().out
    assert not call("score", out / "decode_chain", "--against", out / "decode_direct")
    assert "wer" not in capsys.readouterr().out, "a direct answer has no transcript to compare"
    assert not call("report", out, "--out", tmp_path / "R.md")
    assert "| CHRF | direct | chain |" in (tmp_path / "R.md").read_text()


def test_a_folder_does_not_hide_the_preset_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("mini", "own"):
        (tmp_path / name).mkdir()
    assert options.model_folder("mini") is None and options.model_folder("absent") is None
    assert options.model_folder("./mini") == Path("mini") and options.model_folder("own") == Path(
        "own"
    )


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_refused(monkeypatch, name):
    import torch

    backends = {"cuda": torch.cuda, "mps": torch.backends.mps}
    for one in backends:
        monkeypatch.setattr(backends[one], "is_available", lambda one=one: one == name)
    assert options.device(name) == name
    assert options.device("auto") == ("cuda" if name == "cuda" else "cpu")
    other = "mps" if name == "cuda" else "cuda"
    with pytest.raises(ValueError, match=f"--device {other}: torch sees no such GPU"):
        options.device(other)


@pytest.mark.parametrize("value", ["0", "-1", "9" * 30, "nan", "1e5", ""])
def test_numbers_of_options_have_ranges(value, capsys):
    with pytest.raises(SystemExit):
        cli.main(["data", "tokenizer", "m.jsonl", "--out", "t", "--vocab-size", value])
    assert "--vocab-size: wanted a" in capsys.readouterr().err
