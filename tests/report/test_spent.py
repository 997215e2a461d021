"""FLOPs of a training that was run: as the plan counts them, for what it has seen."""

import json

import pytest

from speechllm.cli import main, spent
from speechllm.models import anatomy, store, tiny
from speechllm.train import memory, plan


@pytest.fixture(scope="module")
def trained(request, tmp_path_factory):
    """A few steps of a phase."""
    tiny = request.getfixturevalue("tiny")  # the corpus; the module is of that name, too
    out = tmp_path_factory.mktemp("spent") / "exp"
    words = [f"--data={name}={tiny / f'{name}.jsonl'}" for name in ("train", "valid")]
    words += ["--set", "phase.tune.steps=3", "--tokenizer", str(tiny / "bpe"), "--log-every", "1"]
    assert (
        main(["train", str(tiny / "tiny.toml"), *words, "--out", str(out), "--workers", "0"]) == 0
    )
    return out


def test_flops_are_those_of_what_was_seen(trained, tmp_path):
    system = store.system_of(store.find(trained))
    small, whole = tiny.system(system.preset), anatomy.outline(system.preset, len(system.tokenizer))
    wanted = 0.0
    log = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    pairs = zip(memory.each_phase(small, small.build()), memory.each_phase(*whole), strict=True)
    for (phase, little), (_, large) in pairs:
        last = [x for x in log if x.get("phase") == phase.name and "rtfx" in x][-1]
        hour = plan.outlook(small, phase, little, large, 1, spent.USUAL_S).flops_an_hour
        wanted += hour * last["rtfx"] * last["seconds"] / 3600
    assert spent.of(trained)["tflop"] == pytest.approx(wanted / 1e12) and wanted > 0
    page = tmp_path / "p.html"
    assert main(["report", str(trained), "--flops", "--page", str(page)]) == 0
    assert f"{wanted:.2e}</td>" in page.read_text()


def test_the_speed_of_a_machine():
    assert spent.peak_tflops("AMD EPYC, 16 cores, 128 GiB, NVIDIA H200") == 989
    two = "x, 8 cores, 1 GiB, NVIDIA A100-SXM4-80GB, NVIDIA A100-SXM4-80GB"
    assert spent.peak_tflops(two) == 624
    for unknown in ("AMD EPYC, 2 cores, 24 GiB", "x, NVIDIA Q9000", "x, NVIDIA H100, NVIDIA Q9"):
        assert spent.peak_tflops(unknown) == 0
