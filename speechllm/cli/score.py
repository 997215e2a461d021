"""`speechllm score`: score a decode, with interval, tables and alignments; compare two."""

import argparse
import json
from pathlib import Path

EPILOG = """Writes OUT/score.json, score.txt, alignments.txt, alignments.html, ref.trn, hyp.trn.

examples:
  speechllm score exp/decode_test
  speechllm score exp/decode_test --metric cer --normaliser none
  speechllm score exp/decode_test --against other/decode_test"""


def add(parser: argparse.ArgumentParser, argv: list[str]) -> None:
    """Describe the options."""
    parser.epilog = EPILOG
    parser.add_argument("decode", type=Path, help="a decode's folder, or its hyp.jsonl")
    parser.add_argument("--metric", default="wer", help="wer, cer or accuracy")
    parser.add_argument("--normaliser", default="whisper-en", help="none, basic or whisper-en")
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
    parser.add_argument("--against", type=Path, help="another decode: paired bootstrap test")
    parser.add_argument("--seed", type=int, default=0, help="seed of the bootstrap")
    parser.set_defaults(run=run)


def context(folder: Path) -> dict:
    """Read what the signature says of the decode: preset, seed, commit."""
    facts = folder / "decode.json"
    found = json.loads(facts.read_text()) if facts.exists() else {}
    return {key: found[key] for key in ("preset", "seed", "commit") if key in found}


def run(args: argparse.Namespace) -> None:
    """Score."""
    from speechllm.score.compare import compare_files
    from speechllm.score.run import score_file

    hyp = args.decode / "hyp.jsonl" if args.decode.is_dir() else args.decode
    if args.against:
        other = args.against / "hyp.jsonl" if args.against.is_dir() else args.against
        print(compare_files(hyp, other, args.metric, args.normaliser, seed=args.seed))
        return
    result = score_file(
        hyp,
        metric=args.metric,
        normaliser=args.normaliser,
        out_dir=args.out or hyp.parent / f"score_{args.metric}",
        context=context(hyp.parent),
        manifest=args.manifest,
        missing=args.missing,
        seed=args.seed,
    )
    print(result.line)
