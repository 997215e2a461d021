"""`speechllm presets`: list presets; show what one is made of and how much memory it wants."""

import argparse
from dataclasses import replace
from pathlib import Path

from speechllm import config
from speechllm.cli.options import number
from speechllm.ranges import AboveZero, Positive

EPILOG = """examples:
  speechllm presets                       # all, one line each
  speechllm presets show slam_asr_wavlm   # nouns with shapes, parameters, memory
  speechllm presets show my.toml --rows 8 --set llm.lora.r=16
  speechllm presets show IMPORTED --set llm.lora.r=8   # whatever speechllm train takes
  speechllm presets show mini --file      # its TOML"""
ROW = "{:<18} {:<17} {:<16} {:<15} {:<24} {:>8}  {}"
COLUMNS = "preset|encoder|adapter|fusion|LLM|tokens/s|learns, millions by phase".split("|")
GPU_GB = 80  # of the largest that are common
PURPOSES = ("weights", "gradients", "optimizer", "activations", "cache", "total")


def add(parser: argparse.ArgumentParser, argv: list[str]) -> None:
    """Describe the options."""
    parser.epilog = EPILOG
    parser.add_argument(
        "what", nargs="?", choices=("list", "show"), default="list", help="all, or one (list)"
    )
    parser.add_argument("name", nargs="?", help="show: a preset, a TOML file or a model folder")
    parser.add_argument("--file", action="store_true", help="show the file itself")
    parser.add_argument(
        "--rows", type=number(Positive), default=4, help="utterances in a batch, for memory"
    )
    parser.add_argument(
        "--seconds",
        type=number(AboveZero),
        default=10.0,
        help="length of each, in seconds",
    )
    parser.add_argument(
        "--precision", choices=("fp32", "bf16"), default="bf16", help="of the computation"
    )
    parser.add_argument(
        "--vocab-size",
        type=number(Positive),
        default=1000,
        help="of the tokenizer of an LLM from nothing",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="TABLE.KEY=VALUE",
        help="change a setting; repeatable",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print the table, one preset's anatomy, or its file.

    Raises:
        ValueError: show without a name, parts that do not fit together.
    """
    if args.what == "list":
        table()
    elif not args.name:
        raise ValueError(f"show wants a name; known: {', '.join(config.presets())}")
    elif args.file:
        from speechllm.train import start

        print(Path(start.read(args.name)[0].source).read_text("utf-8"), end="")
    else:
        show(args)


def table() -> None:
    """Print a line a preset, each as soon as it is counted."""
    print(ROW.format(*COLUMNS), flush=True)
    from speechllm.models import anatomy
    from speechllm.train import memory

    for name in config.presets():
        preset = config.load(name)
        system, model = anatomy.outline(preset)
        parts = [anatomy.name_of(preset, p) for p in ("encoder", "adapter", "fusion", "llm")]
        rate_hz = anatomy.rate_hz(system)
        rate = "" if rate_hz is None else f"{rate_hz:.1f}"
        learns = [f"{s.name} {learning(x) / 1e6:.1f}" for s, x in memory.each_phase(system, model)]
        print(ROW.format(name, *parts, rate, ", ".join(learns)), flush=True)


def learning(learner) -> int:
    """Count the parameters that learn."""
    return sum(p.numel() for p in learner.parameters() if p.requires_grad)


def show(args: argparse.Namespace) -> None:
    """Draw one preset: shapes, parameters, phases, memory."""
    from speechllm.models import anatomy, tiny
    from speechllm.train import start

    preset, _ = start.read(args.name, args.set)
    system, model = anatomy.outline(preset, args.vocab_size)
    rate_hz = anatomy.rate_hz(system)
    heard = "an ordinary medium" if rate_hz is None else f"{args.seconds:g} s of audio"
    print(f"{preset.name}, {heard}\n")
    for row in anatomy.drawing(preset, system, model, args.seconds):
        print("  {:<10} {:<26} {}".format(*row))
    if rate_hz is not None:
        rate = f"{rate_hz:.4g} soft tokens a second, over {anatomy.WINDOW_S:g} s"
        print(f"  {'':<10} {rate}")
    print()
    counts = anatomy.count(model)
    for part, n in {**counts, "total": sum(counts.values())}.items():
        print(f"  {part:<10} {n / 1e6:12,.2f} M parameters")
    precision = f"{args.rows} x {args.seconds:g} s, {args.precision}"
    print(f"\nmemory of a batch of {precision}, in GB; decoding is estimated, to a factor of 2\n")
    print("  {:<10} {}  learns".format("", " ".join(f"{p:>11}" for p in PURPOSES)))
    budget(args, (system, model), tiny.system(preset))


def budget(args: argparse.Namespace, whole: tuple, small) -> None:
    """Print a line of memory a phase, and one for decoding."""
    from speechllm.train import memory

    rows, seconds, bf16, over = args.rows, args.seconds, args.precision == "bf16", []
    tiny_model = small.build()
    pairs = zip(memory.each_phase(small, tiny_model), memory.each_phase(*whole), strict=True)
    for (phase, little), (_, large) in pairs:
        batch = memory.batch_of(small, phase, rows, seconds)
        line = memory.training(little, large, phase, batch, bf16)
        learns = f"{learning(large) / 1e6:.2f} M at {phase.lr:g}: {', '.join(phase.train)}"
        print(f"  {phase.name:<10} {_gigabytes(line)}  {learns}", flush=True)
        if (wanted := line.weights + line.gradients + line.optimizer) > GPU_GB * 1e9:
            over.append(f"{phase.name} ({wanted / 1e9:.0f} GB)")
    batch = memory.batch_of(small, replace(phase, task=None), rows, seconds)
    line = memory.decoding(tiny_model, whole[1], batch, bf16)
    print(f"  {'decoding':<10} {_gigabytes(line)}")
    if over:
        print(
            f"\nbeyond one GPU of {GPU_GB} GB, whatever the batch: {', '.join(over)}; each process "
            "holds all of it, so more of them do not help: let LoRA learn in place of whole weights"
        )


def _gigabytes(estimate) -> str:
    return " ".join(f"{getattr(estimate, p) / 1e9:11.2f}" for p in PURPOSES)
