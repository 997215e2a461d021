"""`speechllm import`: a published checkpoint becomes a model folder of ours."""  # noqa: N999

import argparse
from pathlib import Path

from speechllm import config

EPILOG = """The folder decodes, trains and is scored like one that was trained here:

  speechllm import Qwen/Qwen2-Audio-7B-Instruct --out qwen2_audio
  speechllm decode qwen2_audio data/test.jsonl
  speechllm train qwen2_audio --data train=... --data valid=... --out exp/tuned

Weights that are published only as a pickle, or as an archive of NeMo, are made safetensors first;
the folder can then stand in a preset's `pretrained`, or be imported:

  speechllm import facebook/hubert-xlarge-ls960-ft --convert --out hubert_xl

families: """


def add(parser: argparse.ArgumentParser, argv: list[str]) -> None:
    """Describe the options."""
    parser.epilog = EPILOG + ", ".join(config.names("models.families"))
    parser.add_argument("source", help="a checkpoint's folder, or its id on the Hub")
    parser.add_argument("--out", type=Path, help="the model folder; by default the id's last word")
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        default="",
        help="of the LLM's weights; by default the checkpoint's own",
    )
    parser.add_argument(
        "--convert",
        action="store_true",
        help="only make safetensors of pickled weights, read by a process of its own that builds "
        "tensors and runs nothing",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Import, and print what was done."""
    from tqdm import tqdm

    from speechllm.models.importing import bring

    out = args.out or Path(Path(args.source.rstrip("/")).name.removesuffix(".nemo"))
    if args.convert:
        from speechllm.models.convert import convert

        print(f"{out}: {convert(args.source, out)} tensors of {args.source} as safetensors")
        return
    with tqdm(unit="B", unit_scale=True, disable=None) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        brought = bring(args.source, out, args.dtype, progress)
    print(table(brought))
    print(f"{out}: made from {args.source}, a {brought.family}")
    print(f"opened again: a prompt of one second is {prove(out)} tokens")


def prove(folder: Path) -> int:
    """Open what was written, and build one prompt with it; gives the prompt's tokens.

    Raises:
        ValueError: it cannot be used, and why.
    """
    from speechllm import media
    from speechllm.data.chat import Builder
    from speechllm.models.importing import reopen

    try:
        system = reopen(folder)
        task = system.preset.part("task", "tasks")
        if "audio" in system.branches:
            counts = [system.soft_tokens(system.extractor.count(system.extractor.sampling_rate))]
            messages = task.messages({"audio": "a second", "text": "", "lang": "en"})
        else:
            kind, branch = next(iter(system.branches.items()))
            counts = [system.soft_tokens(media.of(kind).usual(branch.front), kind)]
            messages = [{"role": "user", "content": [{"type": kind}]}]
        return len(Builder.of(system).build(messages, counts, answer=False).ids)
    except ValueError as error:
        raise ValueError(f"{folder}: was written, but cannot be used: {error}") from None


def table(brought) -> str:
    """Say what became of the front end and each part, a line each."""
    system = brought.system
    row = "{:<10} {:<20} {:>8} {:>16} {:<10} {}".format
    lines = [row("part", "is", "tensors", "parameters", "as", "settings")]
    for branch in system.branches.values():
        frontend = dict(branch.tables["frontend"])
        name = frontend.pop("name")
        lines.append(row(f"{branch.kind}", name, "-", "-", "float32", _settings(frontend)))
    ways = {f"{b.place}{noun}": b.tables[noun] for b in system.branches.values()
            for noun in ("encoder", "adapter")}  # fmt: skip
    for part, given in (*ways.items(), *((n, system.preset.table(n)) for n in ("fusion", "llm"))):
        settings = dict(given)
        inner = settings.pop("config", {})
        name = settings.pop("name", None) or inner.get("model_type", "")
        tensors, parameters, dtype = brought.parts.get(part, (0, 0, "-"))
        lines.append(row(part, name, tensors, f"{parameters:,}", dtype, _settings(settings)))
    chat = system.preset.table("chat")
    lines.append(f"chat       {chat['user']!r}, around media {chat.get('medium', '{}')!r}")
    if brought.ignored:
        lines.append(f"not needed: {', '.join(brought.ignored)}")
    return "\n".join(line.rstrip() for line in lines)


def _settings(settings: dict) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items())
