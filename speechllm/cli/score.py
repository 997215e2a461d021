"""`speechllm score`: score a decode, with interval, tables and alignments; compare two."""

import argparse
import re
from pathlib import Path

from speechllm import files

EPILOG = """Writes OUT/score.json, score.txt, alignments.txt, alignments.html, ref.trn, hyp.trn.

examples:
  speechllm score exp/decode_test
  speechllm score exp/decode_test --metric cer --normaliser none
  speechllm score exp/decode_test --against other/decode_test
  speechllm score exp/decode_test --metric bleu,chrf
  speechllm score exp/decode_chain --metric wer@transcript:source    # other fields of its lines"""


def add(parser: argparse.ArgumentParser, argv: list[str]) -> None:
    """Describe the options."""
    parser.epilog = EPILOG
    parser.add_argument("decode", type=Path, help="a decode's folder, or its hyp.jsonl")
    parser.add_argument(
        "--metric",
        help="one of speechllm/score (wer, cer, accuracy, macro_f1, bleu, chrf, comet, cider, "
        "rouge_l), or several with commas between; that of the decoded task if not given",
    )
    parser.add_argument(
        "--normaliser",
        default="",
        help="none, basic or whisper-en; the metric's own if not given: whisper-en, or none for "
        "translations",
    )
    parser.add_argument(
        "--out", type=Path, help="folder; score_METRIC in the decode's if not given"
    )
    parser.add_argument(
        "--manifest", type=Path, help="check that every utterance of it was decoded"
    )
    parser.add_argument(
        "--missing",
        choices=("error", "delete"),
        default="error",
        help="utterances of --manifest without a hypothesis: an error, or deletions",
    )
    parser.add_argument("--against", type=Path, help="another decode: paired tests")
    parser.add_argument("--seed", type=int, default=0, help="seed of the bootstrap")
    parser.set_defaults(run=run)


def facts(folder: Path) -> dict:
    """Read what the decoder wrote of itself, if it did."""
    path = folder / "decode.json"
    return files.read_json(path) if path.exists() else {}


def run(args: argparse.Namespace) -> None:
    """Score."""
    hyp = args.decode / "hyp.jsonl" if args.decode.is_dir() else args.decode
    found = facts(hyp.parent)
    metrics = (args.metric or found.get("metric", "wer")).split(",")
    if args.against and not args.metric:
        metrics = [name for name in metrics if "@" not in name]  # a part that others may not have
    for metric in metrics:
        if args.against:
            _compare(args, hyp, metric)
        else:
            _score(args, hyp, metric, found)


def _compare(args: argparse.Namespace, hyp: Path, metric: str) -> None:
    from speechllm.score import compare

    other = args.against / "hyp.jsonl" if args.against.is_dir() else args.against
    found = compare.compare_files(hyp, other, metric, args.normaliser, seed=args.seed)
    compare.write(found, metric, other.parent.name, args.out or hyp.parent / "paired")
    print(f"{metric}: {found}")


def _score(args: argparse.Namespace, hyp: Path, metric: str, found: dict) -> None:
    from speechllm.score.run import score_file

    result = score_file(
        hyp,
        metric=metric,
        normaliser=args.normaliser,
        out_dir=args.out or hyp.parent / f"score_{re.sub('[:@]', '_', metric)}",
        context={key: found[key] for key in ("preset", "seed", "commit") if key in found},
        manifest=args.manifest,
        missing=args.missing,
        seed=args.seed,
    )
    print(result.line)
