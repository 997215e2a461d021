"""`speechllm train`: run a preset's phases; the same command resumes."""

import argparse
import dataclasses
import logging
import os
import sys
import time
import warnings
from pathlib import Path

from speechllm.cli.options import add_reading, device, number
from speechllm.ranges import NotNegative, Positive

EPILOG = """A second call with the same --out goes on from the last checkpoint, to the bit; one is
made at each validation (a phase's valid_every; each tenth of its steps if not given), each
--save-minutes, and at SIGINT (Ctrl-C), SIGTERM and SIGUSR1, which end the training after its step.
Several machines: torchrun (or accelerate launch) ... -m speechllm train ...

examples:
  speechllm train mini --tokenizer data/bpe --data train=data/train.jsonl \\
      --data valid=data/dev.jsonl --data text=data/text.jsonl --out exp/mini
  speechllm train slam_asr_wavlm --data ... --set phase.adapter.steps=2000 --out exp/slam
  speechllm train IMPORTED --data ... --out exp/tuned    # goes on from a model folder's weights
  speechllm train IMPORTED --set llm.lora.r=8 --data ... --out exp/lora   # LoRA in place of the LLM
  speechllm train IMPORTED --set encoder.lora.targets='["*.1?.*_proj"]' --data ... --out exp/both"""


def add(parser: argparse.ArgumentParser, argv: list[str]) -> None:
    """Describe the options."""
    parser.epilog = EPILOG
    parser.add_argument(
        "preset",
        help="a preset's name (speechllm presets), a TOML file, or a model folder to start from",
    )
    parser.add_argument(
        "--data",
        action="append",
        default=[],
        metavar="NAME=MANIFEST",
        help="a manifest under the name that the phases use: train, valid, text; repeatable",
    )
    parser.add_argument("--out", required=True, type=Path, help="the experiment's folder")
    parser.add_argument(
        "--tokenizer",
        help="folder of the tokenizer, for an LLM from nothing "
        "(speechllm data tokenizer makes one)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="TABLE.KEY=VALUE",
        help="change a setting of the preset, as often as wanted; phases: phase.NAME.key=value",
    )
    _add_computation(parser)
    _add_course(parser)
    parser.set_defaults(run=run)


def _add_computation(parser: argparse.ArgumentParser) -> None:
    """Add what computes, and in which precision."""
    parser.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16"),
        default="auto",
        help="auto: bf16 on a GPU that has it, and on a processor that has it where the LLM is of "
        "dtype bfloat16; else fp32",
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        help="run the LLM's layers as compiled code (torch.compile): a tenth faster on a processor "
        "in bf16, after up to a minute or two at each start; wants a C++ compiler",
    )
    add_reading(parser)
    parser.add_argument(
        "--num-processes",
        type=number(Positive),
        default=1,
        help="processes of this machine that share each step's batches",
    )
    parser.add_argument(
        "--parallel",
        choices=("ddp", "fsdp"),
        help="how several processes hold the model: each all of it, or each its part; if not "
        "given, as the preset's [parallel] says (ddp)",
    )


def _add_course(parser: argparse.ArgumentParser) -> None:
    """Add where a training stops, how it goes on, and what it tells and keeps on the way."""
    parser.add_argument("--until", metavar="PHASE", default="", help="stop after this phase")
    parser.add_argument(
        "--other-data",
        action="store_true",
        help="go on with other manifests than those that this training began with",
    )
    parser.add_argument(
        "--save-minutes",
        type=number(NotNegative),
        default=15.0,
        help="between checkpoints, besides those at validations; 0: only there",
    )
    parser.add_argument(
        "--log-every",
        type=number(Positive),
        default=50,
        help="steps between printed lines",
    )


def manifests(pairs: list[str]) -> dict[str, Path]:
    """Read NAME=MANIFEST pairs.

    Raises:
        ValueError: not of that form, or no such file.
    """
    paths = {}
    for pair in pairs:
        name, equals, path = pair.partition("=")
        if not equals or not Path(path).is_file():
            raise ValueError(f"--data wants NAME=MANIFEST, an existing file; got {pair!r}")
        paths[name] = Path(path)
    return paths


def run(args: argparse.Namespace) -> int:
    """Train, in one process or several; return the exit status."""
    from speechllm.train import launch
    from speechllm.train.stopping import Stopped

    if args.num_processes > 1 and not launch.is_child():
        manifests(args.data)  # told once, before any process is started
        return launch.launch(sys.argv[1:], args.num_processes)
    with launch.member():
        try:
            train(args, manifests(args.data))
        except Stopped as stopped:
            if os.environ.get("RANK", "0") == "0":
                print(f"speechllm train: {stopped}", file=sys.stderr)
            return stopped.code
    return 0


def train(args: argparse.Namespace, paths: dict[str, Path]) -> None:
    """Train in this process; the first of several prints and writes."""
    import accelerate

    from speechllm import energy
    from speechllm.data.manifest import Manifest
    from speechllm.decode.settings import usual
    from speechllm.models import kernels
    from speechllm.models.system import System
    from speechllm.train import launch, loop, parallel
    from speechllm.train import start as begin
    from speechllm.train.context import Run
    from speechllm.train.stopping import Stop

    preset, start = begin.read(args.preset, args.set)
    usual(preset, {})  # told now, not when the model is trained
    system = System.open(preset, args.tokenizer or (start and str(start / "tokenizer")))
    launch.meet(device(args.device) == "cpu")
    accelerator = accelerate.Accelerator(cpu=device(args.device) == "cpu")
    fits = accelerator.device.type == "cuda" or system.llm.dtype == "bfloat16"
    if not accelerator.is_main_process:
        hush()
    with accelerator.local_main_process_first():  # it builds the index of a long manifest
        opened = {name: Manifest(path) for name, path in paths.items()}
    precision = kernels.precision(args.precision, fits)
    shared = preset.section("parallel", parallel.Config)
    job = Run(
        system=system,
        manifests=opened,
        out=args.out,
        accelerator=accelerator,
        precision=precision,
        workers=args.workers,
        on_error=args.on_error,
        log_every=args.log_every,
        start=start,
        other_data=args.other_data,
        compile=args.compile,
        save_minutes=args.save_minutes,
        parallel=dataclasses.replace(shared, kind=args.parallel or shared.kind),
        stop=Stop(tells=accelerator.is_main_process),
    )
    began = time.monotonic()
    with energy.Meter() as meter:
        summary = loop.train(job, until=args.until)
    # of a run that goes on from a checkpoint the meter has seen the rest alone
    whole = time.monotonic() - began > 0.95 * summary.seconds
    spent = {"energy_j": meter.joules} if whole and meter.joules else {}
    if accelerator.is_main_process:
        _tell(job, summary, spent)


def _tell(job, summary, spent: dict) -> None:
    """Write run.json, and print what was trained."""
    from speechllm import files, provenance

    preset = job.system.preset
    facts = provenance.facts(
        preset=preset.name,
        seed=preset.seed,
        precision=job.precision,
        data={name: manifest.digest() for name, manifest in job.manifests.items()},
        **dataclasses.asdict(summary),
        **spent,
    )
    files.write_json(job.out / "run.json", facts)
    for error in summary.errors:
        print(f"skipped: {error}")
    print(
        f"{job.out}: trained in {summary.seconds:.0f} s, peak memory {facts['peak_memory_mb']} MB"
    )


def hush() -> None:
    """Leave it to the first of several processes to print and warn."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    sys.stdout = open(os.devnull, "w", encoding="utf-8")
