"""The `speechllm` command: one file a verb, loaded when the verb is called.

Nothing heavy is imported before it is needed, so that `--help` answers at once.
"""

import argparse
import importlib
import os
import sys

import speechllm
from features import utf8
from speechllm.cli.options import Layout

VERBS = {
    "data": "prepare, validate and show data; train a tokenizer",
    "train": "train a preset's phases",
    "decode": "decode a manifest with a trained model",
    "draw": "pictures through a model's discrete tokens, and new ones of what is named",
    "ask": "ask a trained or imported model about a sound file",
    "transcribe": "write down what is said in sound files of any length",
    "score": "score a decode: WER, CER, accuracy, with intervals and alignments",
    "serve": "a model behind OpenAI's HTTP routes",
    "benchmark": "any number of recognisers side by side: ours, transformers', programs'",
    "import": "turn a published checkpoint into a model folder of ours",
    "export": "a model in the forms that transformers and peft read",
    "merge": "several checkpoints of one model as one, their mean",
    "following": "measure how often each of several instructions is followed",
    "report": "write RESULTS.md and a page of pictures from experiments",
    "plan": "memory, FLOPs, days and cost of a training on so many GPUs",
    "presets": "list presets, show one",
    "doctor": "check versions, torch, torchaudio, CUDA; say what to do about each fault",
}

EPILOG = """examples:
  speechllm data prepare librispeech --corpus LibriSpeech --out data
  speechllm train slam_asr_whisper --data train=data/train.jsonl \\
      --data valid=data/dev.jsonl --out exp
  speechllm decode exp data/test.jsonl
  speechllm score exp/decode_test

Each verb has its own --help. Recipes that do all of it stand under egs/."""


def main(argv: list[str] | None = None) -> int:
    """Run the command; user errors are one line and exit status 2."""
    if argv is None:
        utf8.ensure()
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        prog="speechllm",
        description="Speech LLMs from their own audio front end to a word error rate.",
        epilog=EPILOG,
        formatter_class=Layout,
    )
    version = f"speechllm {speechllm.__version__}"
    parser.add_argument("--version", action="version", version=version, help="show it")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    chosen = next((word for word in argv if not word.startswith("-")), None)
    for verb, text in VERBS.items():
        sub = verbs.add_parser(verb, help=text, description=text, formatter_class=Layout)
        if verb == chosen:
            importlib.import_module(f"speechllm.cli.{verb}").add(sub, argv)
    if not argv:
        parser.print_help()
        return 0
    args = parser.parse_args(argv)
    try:
        return args.run(args) or 0
    except BrokenPipeError:  # whoever read our output, `head` say, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"speechllm {args.verb}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"speechllm {args.verb}: stopped; the same command goes on", file=sys.stderr)
        return 130
