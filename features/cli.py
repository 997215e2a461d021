"""The `features` command: extract, plot, presets, compare.

Torch is imported only when there is something to compute, so that --help answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from features import presets, utf8
from features.cli_texts import ABOUT, EXAMPLES, NOTES


def main(argv=None) -> int:
    """Run the command; 0 when all went well, 1 when some files failed, 2 for a wrong wish."""
    if argv is None:
        utf8.ensure()
    args = _parser().parse_args(argv)
    try:
        return args.run(args)
    except BrokenPipeError:  # whoever read our output, `head` say, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError) as error:
        print(f"features: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nfeatures: stopped; run the same line again to go on", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    layout = argparse.RawDescriptionHelpFormatter
    every = "\n".join(EXAMPLES.values())
    parser = argparse.ArgumentParser("features", description=ABOUT, formatter_class=layout,
                                     epilog=f"examples:\n{every}")  # fmt: skip
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def verb(name: str, text: str) -> argparse.ArgumentParser:
        epilog = f"examples:\n{EXAMPLES[name]}\n\n{NOTES[name]}"
        return commands.add_parser(
            name, help=text, description=text, epilog=epilog, formatter_class=layout
        )

    extract = verb("extract", "sound to stored features")
    extract.add_argument("source", help="sound file, folder, or manifest (.jsonl)")
    extract.add_argument("--out", required=True, help="folder for the features (made when absent)")
    extract.add_argument("--format", choices=("shards", "ark"), default="shards",
                         help="memory-mapped shards (default) or Kaldi archives")  # fmt: skip
    extract.add_argument(
        "--manifest", metavar="NEW", help="also write the manifest, referring to the features"
    )
    extract.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    extract.add_argument(
        "--ray", default="", metavar="ADDRESS", help="let a Ray cluster work, or `local` processes"
    )
    extract.set_defaults(run=_extract)
    plot = verb("plot", "draw the steps on one sound")
    plot.add_argument("source", help="sound file")
    plot.add_argument("out", help="picture to write: .png, .pdf, .svg")
    plot.add_argument("--start", type=float, default=0.0, metavar="S", help="from this second on")
    plot.add_argument("--duration", type=float, default=None, metavar="S", help="that many seconds")
    plot.add_argument("--quantize", default="", metavar="KIND", help="code the wave first: mulaw")
    plot.set_defaults(run=_plot)
    stats = verb("stats", "mean and deviation of a corpus")
    stats.add_argument("source", help="sound file, folder, or manifest (.jsonl)")
    stats.add_argument("out", help="file to write: .json")
    stats.set_defaults(run=_stats)
    compare = verb("compare", "how far two presets are apart on a file")
    compare.add_argument("a", metavar="A", help="preset, or preset:option=value,option=value")
    compare.add_argument("b", metavar="B", help="another one, or the same with other options")
    compare.add_argument("source", metavar="FILE", help="sound file")
    compare.set_defaults(run=_compare)
    fbank = "kaldi_fbank80"
    for command, default in ((extract, fbank), (stats, fbank), (plot, "mfcc_textbook")):
        command.add_argument(
            "--preset", default=default, help=f"one of `features presets` (default {default})"
        )
        command.add_argument("--config", metavar="CONF",
                             help="a Kaldi configuration file, in place of a preset")  # fmt: skip
        command.add_argument("--option", action="append", default=[], metavar="NAME=VALUE",
                             help="a preset's option, as num_mel_bins=40; repeatable")  # fmt: skip
    table = verb("presets", "table of presets, or all options of one")
    table.add_argument("name", nargs="?", help="a preset, to see all its options")
    table.set_defaults(run=_presets)
    return parser


def _extract(args) -> int:
    from features import extract, sources

    if args.manifest and (args.format != "shards" or not args.source.endswith((".jsonl", ".json"))):
        raise ValueError("--manifest wants a manifest as source, and shards; leave it out")
    preset, options = _chosen(args)
    tally = extract.extract(
        sources.find(args.source),
        args.out,
        preset,
        options,
        args.jobs,
        _progress,
        args.format,
        args.ray,
    )
    if sys.stderr.isatty():
        print(file=sys.stderr)
    for error in tally.errors:
        print(f"features: {error}", file=sys.stderr)
    if others := sources.left_out(args.source):
        kinds = " ".join(sorted({path.suffix.lower() for path in others}))
        print(f"features: {len(others)} files left out ({kinds}), which libsndfile does not read; "
              "convert: ffmpeg -i FILE -vn FILE.wav", file=sys.stderr)  # fmt: skip
    if tally.unsaid:
        print(f"{args.out}: {tally.unsaid} there do not say of which sound (an older set); "
              "where it changed, give another --out")  # fmt: skip
    if tally.anew:
        print(f"{args.out}: {tally.anew} ids stood there of other sound, times or channels: anew")
    print(
        f"{args.out}: {tally.done} written, {tally.skipped} there already, "
        f"{len(tally.errors)} failed; "
        f"{tally.audio_s:.1f} s of sound in {tally.seconds:.1f} s (RTFx {tally.rtfx:.0f})"
    )
    if args.manifest:
        n = sources.refer(args.source, args.out, args.manifest)
        print(f"{args.manifest}: {n} of {tally.total} rows refer to features in {args.out}")
    return 1 if tally.errors else 0


def _progress(tally) -> None:
    if not sys.stderr.isatty():
        return
    gone = tally.done + tally.skipped + len(tally.errors)
    bar = "#" * (30 * gone // tally.total)
    left_s = tally.seconds / max(gone - tally.skipped, 1) * (tally.total - gone)
    line = f"[{bar:30}] {gone}/{tally.total}  RTFx {tally.rtfx:.0f}  {left_s:.0f} s left"
    failed = f"  {len(tally.errors)} failed" if tally.errors else ""
    print(f"\r{line}{failed} ", end="", file=sys.stderr, flush=True)


def _plot(args) -> int:
    from features.picture import plot

    preset, options = _chosen(args)
    spot = {"start_s": args.start, "duration_s": args.duration}
    plot(Path(args.source), args.out, preset, **spot, coded=args.quantize, **options)
    print(args.out)
    return 0


def _stats(args) -> int:
    from features import audio, extractor, normalise, sources, statistics

    preset, options = _chosen(args)
    fe = extractor.get(preset, **options)
    seen, failed = normalise.Statistics(fe.dim), 0
    for item in sources.find(args.source):
        try:
            wave, _ = audio.load(
                item.path, fe.sampling_rate, item.start_s, item.duration_s, channel=item.channel
            )
            seen.add(fe(wave)[0])
        except (ValueError, OSError) as error:
            failed += 1
            print(f"features: {item.id}: {error}", file=sys.stderr)
    statistics.write(args.out, seen, preset=preset, options=presets.plain(fe._options))
    print(f"{args.out}: {seen.count} frames, {failed} sounds failed")
    return 1 if failed else 0


def _chosen(args) -> tuple[str, dict]:
    """Preset and options of --preset or --config, and --option."""
    preset, options = args.preset, {}
    if args.config:
        from features import kaldi_conf

        preset, options = kaldi_conf.read(args.config)
    return preset, _options(preset, args.option, options)


def _presets(args) -> int:
    if args.name:
        row = presets.options(args.name)
        about = presets.about(row)
        for name, value in presets.plain(row).items():
            print(f"{name:18} {value!r:12}  {about.get(name, '')}".rstrip())
        return 0
    print(f"{'preset':17} {'Hz':>6} {'ms':>4} {'dim':>4} {'steps/s':>8} {'streams':7}  follows")
    for name in presets.names():
        row = presets.options(name)
        length, streams = getattr(row, "frame_length_ms", 0.0), "no" if row.whole else "yes"
        print(f"{name:17} {row.sampling_rate:6} {length:4g} {row.dim:4} {row.frame_rate_hz:8g} "
              f"{streams:7}  {presets.ABOUT[name]}")  # fmt: skip
    return 0


def _compare(args) -> int:
    from features import audio, compare, extractor

    both = [_spec(word) for word in (args.a, args.b)]
    wave, rate = audio.load(args.source, sampling_rate=None)
    rows = compare.compare(*(extractor.get(name, **chosen) for name, chosen in both), wave, rate)
    print(f"{'step':12} {'A':>14} {'B':>14} {'mean':>10} {'max':>10}")
    for row in rows:
        shapes = ["x".join(map(str, shape)) if shape else "-" for shape in (row.a, row.b)]
        apart = ["-" if x is None else f"{x:.3g}" for x in (row.mean, row.most)]
        print(f"{row.step:12} {shapes[0]:>14} {shapes[1]:>14} {apart[0]:>10} {apart[1]:>10}")
    return 0


def _spec(word: str) -> tuple[str, dict]:
    """preset:option=value,option=value to its parts."""
    name, _, pairs = word.partition(":")
    return name, _options(name, [pair for pair in pairs.split(",") if pair])


def _options(preset: str, pairs: list[str], base: dict | None = None) -> dict:
    """`name=value` words to typed options of the preset, after those of `base`."""
    defaults = presets.plain(presets.options(preset))
    chosen = dict(base or {})
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise ValueError(f"--option {pair!r}: wanted NAME=VALUE, e.g. num_mel_bins=40")
        chosen[name] = _value(name, text, type(defaults.get(name, "")))
    presets.options(preset, **chosen)
    return chosen


def _value(name: str, text: str, kind: type):
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    try:
        if kind is tuple:
            return text  # the file that holds them
        return words[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError):
        raise ValueError(
            f"--option {name}={text!r}: wanted {kind.__name__}; correct the value"
        ) from None
