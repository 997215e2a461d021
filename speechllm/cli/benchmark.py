"""`speechllm benchmark`: any number of recognisers side by side, in one table."""

import argparse
import sys
from pathlib import Path

from speechllm.cli.contestants import ALL_COPIES
from speechllm.cli.options import add_device, device, number
from speechllm.ranges import AboveZero, Positive

EPILOG = f"""A MODEL is one of ours (an experiment, an imported folder), or any recogniser of
transformers (AutoModelForSpeechSeq2Seq, AutoModelForCTC) by Hub name or folder. NAME=MODEL gives
it a name for the tables. Each runs in a process of its own, and all hear the same files.

OUT/benchmark.txt, .md, .tex, .html and OUT/tables/*.csv: WER by each normaliser and CER with
intervals, RTFx, latency of a single file, peak memory; paired tests of each two; errors by kind,
length and speaker. OUT/MODEL/SET keeps answers, scores and alignments. The same command goes on
where it was stopped; what stands there and was made otherwise is refused.

A program writes one line for a file: {{audio}} in its words is the file, {{wav}} a 16 kHz mono WAV
of it; with neither it is started once, reads a path a line and answers a line. Of hypotheses
.trn, .ctm, .tsv and .jsonl are known by their ending; any other file is taken as Kaldi's text.

examples:
  speechllm benchmark --corpus LibriSpeech --splits dev-clean,dev-other \\
      openai/whisper-tiny.en openai/whisper-base exp/slam --out bench
  speechllm benchmark --corpus LibriSpeech --splits dev-clean --every 27 openai/whisper-tiny.en
  speechllm benchmark --manifest data/test.jsonl ours=exp/mini facebook/wav2vec2-base-960h \\
      --command "sphinx=python benchmarks/pocketsphinx_lines.py" \\
      --hypotheses "kaldi=exp/tdnn/text" --copies all

--copies all is {ALL_COPIES}."""


def add(parser: argparse.ArgumentParser, argv: list[str]) -> None:
    """Describe the options."""
    parser.epilog = EPILOG
    parser.add_argument("model", nargs="*", metavar="[NAME=]MODEL", help="folders or Hub names")
    parser.add_argument("--corpus", default="", help="folder of LibriSpeech, or of its layout")
    parser.add_argument("--splits", default="", help="of the corpus, with commas between")
    parser.add_argument(
        "--manifest", type=Path, action="append", default=[], help="any other set; repeatable"
    )
    parser.add_argument(
        "--every", type=number(Positive), default=1, help="take each so many-th utterance alone"
    )
    parser.add_argument("--out", type=Path, default=Path("benchmark"), help="folder of all of it")
    parser.add_argument(
        "--command", action="append", default=[], metavar="NAME=PROGRAM", help="see above"
    )
    parser.add_argument(
        "--hypotheses", action="append", default=[], metavar="NAME=FILE",
        help="what another recogniser wrote; several files of one NAME are joined",
    )  # fmt: skip
    parser.add_argument(
        "--missing", choices=("error", "delete"), default="error",
        help="utterances that hypotheses lack: the row fails, or they count as deletions",
    )  # fmt: skip
    parser.add_argument(
        "--normaliser", default="whisper-en,open-asr",
        help="one or several of score's, with commas between; the first is what is compared",
    )  # fmt: skip
    parser.add_argument(
        "--copies", default="", metavar="LIST",
        help="also on copies of each set: speed0.9 (times as fast), noise10 (dB), or all",
    )  # fmt: skip
    parser.add_argument(
        "--noise", type=Path, action="append", default=[], metavar="FILE",
        help="noise of the copies; white noise if not given",
    )  # fmt: skip
    parser.add_argument(
        "--max-batch-s", type=number(AboveZero), default=240.0,
        help="size of a batch: utterances times the longest (Whisper: its 30 s), in seconds",
    )  # fmt: skip
    parser.add_argument(
        "--precision", choices=("fp32", "bf16"), default="fp32", help="of the computation"
    )
    parser.add_argument("--again", action="store_true", help="run anew, whatever answers are there")
    add_device(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run all of them, score, write the tables; 1 where something has failed."""
    from speechllm import lock
    from speechllm.cli import contestants
    from speechllm.decode.contest import Settings
    from speechllm.report import benchmark
    from speechllm.score.text import normalise

    normalisers = [name for name in args.normaliser.split(",") if name]
    for name in normalisers:
        normalise.get(name)
    how = Settings(args.max_batch_s, args.precision, device(args.device), args.again)
    every = contestants.contestants(args)
    with lock.hold(args.out):
        sets = contestants.sets(args)
        foreign = contestants.take_hypotheses(args.hypotheses, sets, args.out)
        failed = {one.name: _ran(one, sets, args.out, how) for one in every}
        entries = [
            benchmark.Entry(
                split, path, name, args.out / name / split, failed.get(name, {}).get(split, "")
            )
            for split, path in sets.items()
            for name in [*failed, *foreign]
        ]
        entries = [benchmark.scored(one, normalisers, args.missing) for one in entries]
        _report(entries, args)
    for one in entries:
        if one.failed:
            print(f"speechllm benchmark: {one.name}, {one.split}: {one.failed}", file=sys.stderr)
    return int(any(one.failed for one in entries))


def _ran(contestant, sets: dict[str, Path], out: Path, how) -> dict[str, str]:
    """Run one; why it failed, by the sets that it has not done."""
    from speechllm.decode import contest

    jobs = [(path, out / contestant.name / split) for split, path in sets.items()]
    done, reason = contest.run(contestant, jobs, how)
    return dict.fromkeys(list(sets)[done:], reason)


def _report(entries: list, args: argparse.Namespace) -> None:
    from speechllm import provenance
    from speechllm.report import benchmark, benchmark_page, layouts
    from speechllm.report.collect import portable

    known = provenance.facts()
    facts = {"command": portable(known["command"])}
    facts |= {key: str(known[key]) for key in ("commit", "hardware", "date")}
    facts["versions"] = ", ".join(f"{k} {v}" for k, v in known["versions"].items())
    tables = benchmark.make(entries, args.missing)
    benchmark_page.write(tables, args.out, facts, entries)
    for warning in dict.fromkeys(w for one in entries for s in one.scores.values()
                                 for w in s.warnings):  # fmt: skip
        print(f"WARNING: {warning}", file=sys.stderr)
    print("\n".join(layouts.text(table) for table in tables[:2]))
    print(f"{args.out / 'benchmark.txt'}: written, as .md, .tex, .html and tables/*.csv")
