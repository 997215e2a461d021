"""`speechllm presets`: list presets, show one."""

import argparse

from speechllm import config


def add(parser: argparse.ArgumentParser, argv: list[str]) -> None:
    """Describe the options."""
    parser.add_argument("name", nargs="?", help="show this preset whole")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print the table, or one preset's file."""
    if args.name:
        print(open(config.load(args.name).source).read(), end="")
        return
    row = "{:<20} {:<14} {:<18} {:<16} {:<16} {:<24} {}".format
    print(row("preset", "front end", "encoder", "adapter", "fusion", "LLM", "stages"))
    for name, path in config.presets().items():
        preset = config.load(path)
        parts = [
            preset.table(p).get("name", "-") for p in ("frontend", "encoder", "adapter", "fusion")
        ]
        llm = preset.table("llm")
        model = llm.get("pretrained") or f"{llm.get('config', {}).get('model_type')} from nothing"
        stages = ", ".join(stage["name"] for stage in preset.tables.get("stage", []))
        print(row(name, *parts, model, stages))
