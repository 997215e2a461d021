"""`speechllm plan`: what a training wants on so many GPUs, before anybody has them."""

import argparse

from speechllm.cli.options import number
from speechllm.ranges import AboveZero, Positive

EPILOG = """No weights are loaded and nothing is trained: layers are counted at full size, lengths
come from a tiny form of the preset. MFU is the share of a GPU's stated bf16 FLOP/s that a training
reaches; 0.33 to 0.39 is published for LLMs of 8B on H100 (torchtitan). Activations are counted by a
pass on shapes alone, or estimated to a factor of 2 where an adapter drops blank steps. A price
is what you pay for a GPU and hour.

examples:
  speechllm plan slam_asr_whisper --gpus 8 --gpu h100 --hours 1000
  speechllm plan qwen2_audio --gpus 64 --gpu h200 --hours 100000 --mfu 0.4 --price 2.5
  speechllm plan whisper_llm --gpus 8 --hours 960 --set llm.gradient_checkpointing=true"""
# name -> (memory in GB, dense bfloat16 TFLOP/s), as their makers state them
GPUS = {
    "a100-40": (40, 312),
    "a100": (80, 312),
    "h100": (80, 989),
    "h200": (141, 989),
    "b200": (180, 2250),
    "l40s": (48, 362),
    "rtx4090": (24, 165),
    "a5000": (24, 111),
}
PURPOSES = ("weights", "gradients", "optimizer", "activations", "gathered", "total")


def add(parser: argparse.ArgumentParser, argv: list[str]) -> None:
    """Describe the options."""
    parser.epilog = EPILOG
    parser.add_argument("preset", help="a preset's name, a TOML file or a model folder")
    parser.add_argument("--gpus", type=number(Positive), required=True, help="how many")
    parser.add_argument("--gpu", choices=sorted(GPUS), default="h100", help="of which kind")
    parser.add_argument("--hours", type=number(AboveZero), required=True, help="of audio")
    parser.add_argument("--epochs", type=number(AboveZero), default=1.0, help="passes over them")
    parser.add_argument(
        "--seconds", type=number(AboveZero), default=12.0, help="of an utterance, on average"
    )
    parser.add_argument("--mfu", type=number(AboveZero), default=0.35, help="share of the FLOP/s")
    parser.add_argument("--price", type=number(AboveZero), help="of a GPU and hour")
    parser.add_argument(
        "--vocab-size", type=number(Positive), default=1000, help="of an LLM from nothing"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="TABLE.KEY=VALUE", help="change a setting"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print what each phase wants.

    Raises:
        ValueError: parts that do not fit together, an MFU above 1.
    """
    from speechllm.models import anatomy, tiny
    from speechllm.train import memory, plan, start

    if args.mfu > 1:
        raise ValueError(f"--mfu: wanted a share, at most 1, got {args.mfu:g}")
    preset, _ = start.read(args.preset, args.set)
    size, peak = GPUS[args.gpu]
    print(
        f"{preset.name} on {args.gpus} {args.gpu} ({size} GB, {peak} TFLOP/s dense bf16), "
        f"{args.hours:,g} h of audio x {args.epochs:g}, utterances of {args.seconds:g} s"
    )
    small = tiny.system(preset)
    whole = anatomy.outline(preset, args.vocab_size)
    pairs = zip(memory.each_phase(small, small.build()), memory.each_phase(*whole), strict=True)
    for (phase, little), (_, large) in pairs:
        show(args, plan.outlook(small, phase, little, large, args.gpus, args.seconds), large)


def show(args: argparse.Namespace, outlook, learner) -> None:
    """Print one phase."""
    from speechllm.train import plan

    phase, (size, peak) = outlook.phase, GPUS[args.gpu]
    learns = sum(p.numel() for p in learner.parameters() if p.requires_grad)
    total = sum(p.numel() for p in learner.parameters())
    print(f"\nphase {phase.name}: {learns / 1e6:,.1f} M of {total / 1e6:,.1f} M parameters learn")
    batches = phase.gradient_accumulation
    print(
        f"  a batch: {outlook.rows} x {outlook.seconds:g} s, {outlook.tokens:,} tokens; a step: "
        f"{batches} batches, {batches * outlook.tokens:,} tokens, "
        f"{batches * outlook.rows * outlook.seconds / 3600:.2f} h of audio"
    )
    if batches % args.gpus:
        print(
            f"  {batches} batches do not fall to {args.gpus} GPUs: each would be shared out by its "
            f"rows; --set phase.{phase.name}.gradient_accumulation={args.gpus} is one a GPU"
        )
    print("  GB a GPU  " + " ".join(f"{name:>11}" for name in PURPOSES))
    fits = []
    for engine, need in outlook.needs.items():
        room = need.total <= plan.USABLE * size * 1e9
        fits += [engine] * room
        values = " ".join(f"{getattr(need, name) / 1e9:11.2f}" for name in PURPOSES)
        print(f"  {engine:<9} {values}  {'fits' if room else 'does not fit'}")
    print(f"  {_advice(outlook, fits)}")
    _cost(args, outlook, peak)


def _advice(outlook, fits: list[str]) -> str:
    """Say which engine to take, or what to do where none fits."""
    if fits:
        return f"--parallel {fits[0]}"
    need = [*outlook.needs.values()][-1]
    if need.activations > need.total / 2:
        return (
            "neither fits: --set llm.gradient_checkpointing=true, or a smaller data.max_batch_s "
            f"(activations take {need.activations / need.total:.0%})"
        )
    return "neither fits: more GPUs with --parallel fsdp, LoRA in place of whole weights"


def _cost(args: argparse.Namespace, outlook, peak: float) -> None:
    """Print FLOPs, days and money."""
    hours = args.hours * args.epochs
    shares = {k: v / sum(outlook.flops.values()) for k, v in outlook.flops.items()}
    flops = outlook.flops_an_hour * hours
    gpu_hours = flops / (peak * 1e12 * args.mfu) / 3600
    parts = ", ".join(f"{k} {share:.0%}" for k, share in shares.items() if share >= 0.005)
    print(f"  {outlook.flops_an_hour:.2e} FLOP an hour of audio ({parts}), {flops:.2e} in all")
    days = gpu_hours / args.gpus / 24
    line = f"  at an MFU of {args.mfu:g}: {gpu_hours:,.1f} GPU hours, {days:,.2f} days"
    if args.price:
        line += f", {gpu_hours * args.price:,.0f} at {args.price:g} a GPU and hour"
    print(line)
