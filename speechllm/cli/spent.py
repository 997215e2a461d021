"""What trainings that were run have computed: FLOPs, and the share of the machine that is (MFU).

Layers are counted as `speechllm plan` counts them, for the audio that each phase has seen, as its
log says; utterances are taken to be as long as those that were decoded, on average.
"""

from pathlib import Path

from speechllm.cli.plan import GPUS

USUAL_S = 10.0  # of an utterance, where none was decoded


def of(folder: Path) -> dict[str, float]:
    """Give tflop (10^12 FLOPs) and, on GPUs whose speed is known, mfu; nothing where nothing is.

    Raises:
        ValueError: the experiment holds no whole model.
    """
    from speechllm.report import collect

    experiment = collect.read(folder)
    heard = {name: _audio_s(log) for name, log in experiment.phases().items()}
    if not any(heard.values()):
        return {}
    rates = _flops_a_second(folder, _mean_s(experiment))
    flops = sum(rate * heard.get(name, 0.0) for name, rate in rates.items())
    spent = {"tflop": flops / 1e12}
    peak, seconds = (
        peak_tflops(str(experiment.run.get("hardware", ""))),
        experiment.run.get("seconds"),
    )
    return spent | ({"mfu": spent["tflop"] / (peak * seconds)} if peak and seconds else {})


def _audio_s(log: list[dict]) -> float:
    """Seconds of audio that a phase has seen, by the last line that says its speed."""
    said = [line for line in log if "rtfx" in line and "seconds" in line]
    return float(said[-1]["rtfx"] * said[-1]["seconds"]) if said else 0.0


def _mean_s(experiment) -> float:
    """Mean seconds of what was decoded."""
    audio = sum(score.decode.get("audio_s") or 0 for score in experiment.scores)
    n = sum(score.decode.get("n_utterances") or 0 for score in experiment.scores)
    return audio / n if audio and n else USUAL_S


def _flops_a_second(folder: Path, seconds: float) -> dict[str, float]:
    """FLOPs of a second of audio in each phase."""
    from speechllm.models import anatomy, store, tiny
    from speechllm.train import memory, plan

    system = store.system_of(store.find(folder))
    small = tiny.system(system.preset)
    whole = anatomy.outline(system.preset, len(system.tokenizer))
    pairs = zip(memory.each_phase(small, small.build()), memory.each_phase(*whole), strict=True)
    return {
        phase.name: plan.outlook(small, phase, little, large, 1, seconds).flops_an_hour / 3600
        for (phase, little), (_, large) in pairs
    }


def peak_tflops(hardware: str) -> float:
    """Dense bf16 TFLOP/s of all GPUs that are named, 0 where one is not known."""
    names = [part.strip().lower() for part in hardware.split(",") if "nvidia" in part.lower()]
    peaks = []
    for name in names:
        words = name.replace("-", " ").split()
        known = [speed for gpu, (_, speed) in GPUS.items() if gpu.split("-")[0] in words]
        peaks.append(known[0] if known else 0)
    return float(sum(peaks)) if all(peaks) else 0.0
