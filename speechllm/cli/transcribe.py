"""`speechllm transcribe`: what is said in sound files of any length, as text or subtitles."""

import argparse
import sys
import time
from pathlib import Path

from speechllm.cli import listening
from speechllm.cli.options import (
    add_device,
    add_listener,
    add_search,
    add_windows,
    device,
    number,
    searched,
)
from speechllm.ranges import NotNegative

FORMATS = ("text", "json", "srt", "vtt", "ctm", "textgrid")
EPILOG = """Speech is found, cut at pauses into windows that the model knows, heard in batches, and
put together again: a file may be as long as it likes, memory stays the same. Where nobody
speaks, nothing is written. Without --out what is said goes to standard output. With it,
OUT/NAME.txt, OUT/NAME.srt, ... come from each NAME.mp3; what is stopped goes on with the
same command, and files that are done are not heard again: OUT/decode.json says which model
heard them, and how.

Times of a segment are those of its speech. Those of words, for all formats but text, come of
a CTC head that the model has (its steps aligned with the text) or, in a Whisper, of the
attention that its checkpoint names; a word's confidence is its probability. Where there is
neither, which is said, lines and words have a share of the speech by their letters.

examples:
  speechllm transcribe exp/mini talk.mp3
  speechllm transcribe openai/whisper-base lecture.m4a --language fr --task translate
  speechllm transcribe exp/mini recordings --out texts --format text srt
  speechllm transcribe qwen2_audio call.wav --channels apart --out texts
  speechllm transcribe exp/multi rede.flac --task translate --language de --to en
  ffmpeg -i URL -f s16le -ac 1 -ar 16000 - | speechllm transcribe exp/mini --live"""


def add(parser: argparse.ArgumentParser, argv: list[str]) -> None:
    """Describe the options."""
    parser.epilog = EPILOG
    add_listener(parser)
    parser.add_argument(
        "audio", type=Path, nargs="*", help="sound files, folders of them, or a manifest"
    )
    listening.add(parser)
    parser.add_argument("--out", type=Path, help="folder of the transcripts")
    parser.add_argument(
        "--format",
        nargs="+",
        default=["text"],
        type=_formats,
        metavar="FORMAT",
        help=f"one or more of {', '.join(FORMATS)}",
    )
    parser.add_argument("--language", default="", metavar="CODE", help="what is spoken")
    parser.add_argument(
        "--task", default="", help="transcribe or translate; the model's own otherwise"
    )
    parser.add_argument("--to", default="en", metavar="CODE", help="language of a translation")
    parser.add_argument(
        "--hotwords",
        default="",
        metavar="FILE|a,b,c",
        help="words that may occur, for models whose prompt has a place for them, and Whisper; of "
        "many, those that the model's CTC head is near to hearing",
    )
    parser.add_argument(
        "--channels",
        choices=("together", "apart"),
        default="together",
        help="apart: each channel by itself, where each speaker has one",
    )
    add_windows(
        parser, ": silero where its package is installed, else what is loud; none: all is heard"
    )
    parser.add_argument(
        "--window-s",
        type=number(NotNegative),
        default=0.0,
        help="longest window in seconds; 0: what the model hears at once",
    )
    parser.add_argument(
        "--again", action="store_true", help="hear all anew, whatever stands in --out"
    )
    add_search(parser)
    add_device(parser)
    parser.set_defaults(run=run)


def _formats(word: str) -> list[str]:
    """Read `srt` or `srt,vtt`."""
    names = [name for name in word.split(",") if name]
    if not names or (wrong := [name for name in names if name not in FORMATS]):
        said = wrong[0] if names else word
        raise argparse.ArgumentTypeError(f"wanted some of {', '.join(FORMATS)}, got {said!r}")
    return names


def run(args: argparse.Namespace) -> int:
    """Transcribe; 2 where a file cannot be heard, the others are done."""
    from speechllm.decode.heap import flat_memory
    from speechllm.decode.transcribe import Options

    flat_memory()
    formats = list(dict.fromkeys(name for names in args.format if names for name in
                                 ([names] if isinstance(names, str) else names)))  # fmt: skip
    if args.live:
        return _live(args, formats)
    if not args.audio:
        raise ValueError("which sound? wanted files, a folder or a manifest, or --live")
    if not args.out and len(formats) > 1:
        raise ValueError(f"--format {' '.join(formats)}: several need a folder, --out DIR")
    options = Options(
        args.vad, args.window_s, args.channels == "apart", formats != ["text"], args.max_batch_s
    )
    items = found(args.audio)
    listener = _listener(args)
    options.facts(listener)  # refuses before anything is read
    return _files(args, listener, items, options, formats)


def _files(args: argparse.Namespace, listener, items: list, options, formats: list[str]) -> int:
    from tqdm import tqdm

    total = sum(_seconds(item) for item in items)
    began = time.perf_counter()
    with tqdm(total=round(total, 1), unit="s", unit_scale=True, disable=None) as bar:
        if args.out:
            from speechllm.decode.shelf import run as into

            facts = {"checkpoint": str(args.model), "n_files": len(items)}
            summary = into(
                listener, items, args.out, options, formats, bar.update, args.again, facts
            )
        else:
            summary = _print(listener, items, options, formats[0], bar.update)
    for error in summary.errors:
        print(f"not heard: {error}", file=sys.stderr)
    if options.words and summary.n_untimed:
        why = listener.untimed or "heard without, or more words than steps (--again: anew)"
        print(f"{summary.n_untimed} with words that have no times: {why}", file=sys.stderr)
    print(_told(summary, args.out, time.perf_counter() - began), file=sys.stderr)
    return 2 if summary.errors else 0


def _live(args: argparse.Namespace, formats: list[str]) -> int:
    """Hear what is coming."""
    from speechllm.decode.live import Live

    if args.audio or args.out or formats not in (["text"], ["json"]):
        raise ValueError("--live: no files and no --out, and one format, text or json")
    source = listening.source(args.rate)
    live = Live(_listener(args), args.rate, vad=args.vad)
    return listening.run(live, source, as_json=formats == ["json"])


def found(paths: list[Path]) -> list:
    """List what is to be heard.

    Raises:
        ValueError: a folder without sound, a file that is none, two of one name.
    """
    from features.sources import find

    items = {}
    for path in paths:
        for item in find(path):
            if item.id in items and items[item.id].path != item.path:
                raise ValueError(
                    f"{items[item.id].path} and {item.path} would both be {item.id!r}; give their "
                    "folder, or call twice with an --out each"
                )
            items[item.id] = item
    return list(items.values())


def _seconds(item) -> float:
    from speechllm.media import audio

    return item.duration_s or audio.cost({"audio": item.path, "start": item.start_s})


def _listener(args: argparse.Namespace):
    """Load what listens."""
    from speechllm.decode import hotwords, listeners

    hot = hotwords.read(args.hotwords) if args.hotwords else ()
    wanted = listeners.Wanted(args.task, args.language, args.to, hot)
    listener = listeners.load(args.model, device(args.device), wanted, searched(args))
    if listener.needless:
        print(f"speechllm transcribe: {listener.needless}", file=sys.stderr)
    return listener


def _print(listener, items: list, options, name: str, progress):
    """Write to standard output: text as it is heard, another format file by file."""
    from tqdm import tqdm

    from speechllm.decode.shelf import Summary
    from speechllm.decode.transcribe import Watch, transcripts
    from speechllm.decode.written import FORMATS, line

    def out(text: str) -> None:
        tqdm.write(text, file=sys.stdout, end="")  # around the bar, where both are on a terminal
        sys.stdout.flush()

    class Printing(Watch):
        def told(self, file, segment):
            if name == "text" and segment.text:
                if len(items) > 1 and not any(one.text for one in file.segments[:-1]):
                    out(f"==> {file.item.path} <==\n")
                out(line(segment) + "\n")

        def progress(self, seconds):
            progress(seconds)

    summary = Summary()
    for file in transcripts(listener, items, options, Printing()):
        if file.error:
            summary.errors.append(file.error)
            continue
        if name != "text":
            out(FORMATS[name](file.transcript))
        summary.add(file.transcript)
    return summary


def _told(summary, out: Path | None, wall_s: float) -> str:
    files = "1 file" if summary.n_files == 1 else f"{summary.n_files} files"
    speed = f", {summary.audio_s:.1f} s of sound, RTFx {summary.audio_s / wall_s:.1f}"
    return (
        f"{f'{out}: ' if out else ''}{files} heard, {summary.n_with_words} with words"
        + (f", {summary.n_before} were there already" if summary.n_before else "")
        + (speed if summary.audio_s else "")
        + (f", {len(summary.errors)} not heard" if summary.errors else "")
    )
