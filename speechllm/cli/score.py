"""`speechllm score`: score a decode, with interval, tables and alignments; compare two."""

import argparse
import re
import sys
from pathlib import Path

from speechllm import files
from speechllm.cli.options import number
from speechllm.ranges import Count

EPILOG = """A line of hypotheses holds {"id": ..., "hyp": ..., "ref": ...}, best also "lang".
Writes OUT/score.json, score.txt, alignments.txt, alignments.html, ref.trn, hyp.trn.

examples:
  speechllm score exp/decode_test
  speechllm score exp/decode_test --metric cer --normaliser none
  speechllm score exp/decode_test --against other/decode_test third/decode_test
  speechllm score exp/decode_test --metric bleu,chrf
  speechllm score exp/mini0/decode_test exp/mini1/decode_test exp/mini2/decode_test
  speechllm score german.jsonl --lang de --manifest test.jsonl    # of another program
  speechllm score exp/decode_chain --metric wer@transcript:source    # other fields of its lines
  speechllm score exp/decode_test --metric hotwords:names.txt    # with leaks; a word a line
  speechllm score exp/decode_dev --metric calibration    # says the temperature that fits, then
  speechllm score exp/decode_test --metric calibration:1.37    # and draws OUT/reliability.html"""


OPTIONS = ("normaliser", "manifest", "missing", "seed", "lang")


def add(parser: argparse.ArgumentParser, argv: list[str]) -> None:
    """Describe the options."""
    parser.epilog = EPILOG
    parser.add_argument(
        "decode",
        type=Path,
        nargs="+",
        help="a decode's folder, or its hyp.jsonl; of several the mean and deviation too",
    )
    parser.add_argument(
        "--metric",
        help="one of speechllm/score/metrics (wer, cer, accuracy, macro_f1, bleu, chrf, comet, "
        "cider, rouge_l, hotwords, calibration), or several with commas between; that of the "
        "decoded task if not given",
    )
    parser.add_argument(
        "--normaliser",
        default="",
        help="none, basic, basic-marks, whisper-en or open-asr (the leaderboard's, best with "
        "--metric wer:merged); if not given the metric's own, or what the language of each row "
        "wants: whisper-en for English, else basic, or basic-marks where it is written with "
        "combining marks",
    )
    parser.add_argument("--lang", default="", help="language of the rows that do not say theirs")
    parser.add_argument(
        "--out", type=Path, help="folder; score_METRIC in the decode's if not given"
    )
    parser.add_argument(
        "--manifest", type=Path, help="check that every utterance of it was decoded"
    )
    parser.add_argument(
        "--missing",
        choices=("error", "delete", "leave"),
        default="error",
        help="utterances of --manifest without a hypothesis: an error, deletions, or left out",
    )
    parser.add_argument(
        "--against", type=Path, nargs="+", action="extend", help="other decodes: paired tests"
    )
    parser.add_argument("--seed", type=number(Count), default=0, help="seed of the bootstrap")
    parser.set_defaults(run=run)


def facts(folder: Path) -> dict:
    """Read what the decoder wrote of itself, if it did."""
    path = folder / "decode.json"
    return files.read_json(path) if path.exists() else {}


def run(args: argparse.Namespace) -> None:
    """Score each decode by each metric."""
    if len(args.decode) > 1 and (args.out or args.against):
        raise ValueError(f"--out and --against are for one decode, got {len(args.decode)}")
    options = {key: getattr(args, key) for key in OPTIONS}
    results: dict[str, list] = {}
    for hyp in map(_file, args.decode):
        decoded = facts(hyp.parent)
        metrics = (args.metric or str(decoded.get("metric", "wer"))).split(",")
        if args.against and not args.metric:
            metrics = [name for name in metrics if "@" not in name]  # others may not have the part
        for metric in metrics:
            for other in args.against or ():
                _compare(hyp, _file(other), metric, args.out, options)
            if not args.against:
                result = _score(hyp, metric, args.out, decoded, options)
                results.setdefault(metric, []).append(result)
    for several in results.values():
        if len(several) > 1:
            print(_spread(several))


def _file(place: Path) -> Path:
    return place / "hyp.jsonl" if place.is_dir() else place


def _warn(warnings: tuple[str, ...]) -> None:
    for text in warnings:
        print(f"WARNING: {text}", file=sys.stderr)


def _compare(hyp: Path, other: Path, metric: str, out: Path | None, options: dict) -> None:
    from speechllm.score import compare

    comparison = compare.compare_files(hyp, other, metric, **options)
    compare.write(comparison, out or hyp.parent / "paired")
    _warn(comparison.warnings)
    print(comparison)


def _score(hyp: Path, metric: str, out: Path | None, decoded: dict, options: dict):
    from speechllm.report import reliability
    from speechllm.score import counting
    from speechllm.score.run import score_file

    result = score_file(
        hyp,
        metric=metric,
        out_dir=out or hyp.parent / f"score_{re.sub('[:@]', '_', metric)}",
        context={key: decoded[key] for key in ("preset", "seed", "commit") if key in decoded},
        **options,
    )
    _warn(result.warnings)
    if hasattr(counting.named(metric), "reliability"):
        place = out or hyp.parent / f"score_{re.sub('[:@]', '_', metric)}"
        files.write_text(place / "reliability.html", reliability.page(result))
    print(result.line)
    print(result.rows)
    return result


def _spread(several: list) -> str:
    """Write mean and deviation of one metric over several decodes, as those of several seeds."""
    from speechllm.score.spread import Spread

    return f"%{several[0].label} {Spread.of(one.value for one in several)}"
