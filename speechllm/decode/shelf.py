"""A folder of transcripts, to which a run that was stopped comes back.

    decode.json     which model answered and how: other answers are refused
    hyp.jsonl       a line a file that is done
    windows.jsonl   a line a window, of files that are not
    talk.txt talk.srt ...

A file that has changed since is heard again. Other formats are written of what is there.
"""

import json
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

from features.sources import Item
from speechllm import files, lock
from speechllm.decode import record, written
from speechllm.decode.lines import finished
from speechllm.decode.transcribe import File, Options, Watch, transcripts
from speechllm.decode.transcript import Heard, Segment, Transcript, Word

WINDOWS = "windows.jsonl"


@dataclass
class Summary:
    """What a run did.

    Attributes:
        n_files: that are done, those that were done before among them.
        n_before: of them, done before.
        n_with_words: of them, in which something was said.
        n_untimed: of them, with words that have no times of their own.
        audio_s: seconds of sound heard in this run.
        errors: a line a file that cannot be heard.
    """

    n_files: int = 0
    n_before: int = 0
    n_with_words: int = 0
    n_untimed: int = 0
    audio_s: float = 0.0
    errors: list[str] = field(default_factory=list)

    def add(self, transcript: Transcript, before: bool = False) -> None:
        """Count a file."""
        self.n_files += 1
        self.n_before += before
        self.n_with_words += bool(transcript.text)
        self.n_untimed += any(one.text and not one.words for one in transcript.segments)
        self.audio_s += 0.0 if before else transcript.duration


def run(
    listener,
    items: Sequence[Item],
    folder: Path,
    options: Options,
    formats: Sequence[str],
    progress: Callable[[float], None] = lambda seconds: None,
    again: bool = False,
    facts: dict | None = None,
) -> Summary:
    """Transcribe files into `folder`, leaving out what stands there already.

    Args:
        listener, items, options, progress: as of `transcripts`.
        folder: made if absent; no other process may be writing there.
        formats: of `written.FORMATS`, a file each.
        again: hear all anew, whatever stands there.
        facts: what decode.json shall say besides.

    Raises:
        ValueError: answers of another model, or heard in another way, stand there; a name that
            cannot be a file's.
        FloatingPointError: the model computes no numbers.
    """
    for item in items:
        for name in formats:
            place(folder, item.id, name)
    now = listener.identity | {"options": options.facts(listener)}
    with lock.hold(folder), ExitStack() as stack:
        files.sweep(folder)
        if again:
            (folder / WINDOWS).unlink(missing_ok=True)
        record.begin(folder, now, facts or {}, again)
        stamps = {item.id: stamp(item) for item in items}
        done, summary = _done(folder, stamps), Summary()
        for id in [item.id for item in items if item.id in done]:
            summary.add(done[id], before=True)
            progress(done[id].duration)
            _write(folder, done[id], formats, anew=False)
        out = folder / record.ANSWERS
        answers = stack.enter_context(open(out, "a", encoding="utf-8"))
        watch = stack.enter_context(_Windows(folder / WINDOWS, stamps, progress))
        left = [item for item in items if item.id not in done]
        for file in transcripts(listener, left, options, watch):
            if file.error:
                summary.errors.append(file.error)
                continue
            transcript = file.transcript
            with files.naming(out):
                _append(answers, _line(transcript, stamps[file.item.id]))
            _write(folder, transcript, formats, anew=True)
            summary.add(transcript)
        record.end(folder, {**(facts or {}), **asdict(summary)})
    if not summary.errors:
        (folder / WINDOWS).unlink(missing_ok=True)
    return summary


def place(folder: Path, id: str, name: str) -> Path:
    """Give the file of a transcript in one format.

    Raises:
        ValueError: it would not stand in the folder, or in the place of the folder's own files.
    """
    path = Path(folder) / f"{id}{written.SUFFIXES.get(name, '.' + name)}"
    inside = os.path.relpath(os.path.abspath(path), os.path.abspath(folder))
    if inside.startswith("..") or inside == record.NAME:
        raise ValueError(f"{path}: the transcript of {id!r} cannot be called so; rename the file")
    return path


def stamp(item: Item) -> list:
    """Say which sound a file holds: its size and time, and the part that is meant; cheaply."""
    try:
        status = os.stat(item.path)
    except OSError:  # it will be said of the file itself
        return []
    part = [item.start_s, item.duration_s, item.channel]
    return [os.path.abspath(item.path), status.st_size, status.st_mtime_ns, *part]


def _done(folder: Path, stamps: dict[str, list]) -> dict[str, Transcript]:
    """Read the transcripts that stand there; lines of files that have changed are taken out.

    Raises:
        ValueError: a line is not ours, or of another file of the same name.
    """
    out = folder / record.ANSWERS
    finished(out)  # refuses what is none, and removes a line cut short
    rows = [row for _, row in files.json_lines(out)] if out.exists() else []
    for row in rows:
        before, now = row.get("of") or [""], stamps.get(row["id"])
        if now and before[0] != now[0]:
            raise ValueError(
                f"{folder}: holds {row['id']!r} of {before[0]}, and {now[0]} is called so, too; "
                "choose another --out, or hear all anew with --again"
            )
    kept = [row for row in rows if row["id"] not in stamps or row.get("of") == stamps[row["id"]]]
    if len(kept) < len(rows):
        files.write_text(out, "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in kept))
    return {row["id"]: _read(row, f"{out}: {row['id']!r}") for row in kept if row["id"] in stamps}


def _line(transcript: Transcript, of: list) -> dict:
    return {
        "id": transcript.id,
        "hyp": transcript.text,
        "audio": transcript.audio,
        "duration": transcript.duration,
        "segments": [written.shown(one) for one in transcript.segments],
        "of": of,
    }


def _read(row: dict, where: str) -> Transcript:
    segments = []
    for one in files.entry(row, "segments", list, where):
        speech = tuple((float(a), float(b)) for a, b in files.entry(one, "speech", list, where))
        text, words = files.entry(one, "text", str, where), _words(one, where)
        segments.append(Segment(speech, text, one.get("channel"), words))
    duration = files.entry(row, "duration", float, where)
    return Transcript(row["id"], row["audio"], duration, tuple(segments))


def _words(row: dict, where: str) -> tuple[Word, ...]:
    """Read the words of a segment, none where they were not aligned."""
    there = files.expect(row.get("words", []), list, f"{where}: 'words'")
    return tuple(
        Word(files.entry(one, "start", float, where), files.entry(one, "end", float, where),
             files.entry(one, "word", str, where), one.get("confidence"))
        for one in there
    )  # fmt: skip


def _write(folder: Path, transcript: Transcript, formats: Sequence[str], anew: bool) -> None:
    for name in formats:
        path = place(folder, transcript.id, name)
        if anew or not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            files.write_text(path, written.FORMATS[name](transcript))


class _Windows(Watch):
    """What was heard of files that are not done, by file, channel and times."""

    def __init__(self, path: Path, stamps: dict[str, list], progress: Callable[[float], None]):
        self._path, self._stamps, self.progress = path, stamps, progress
        finished(path)  # removes a line cut short
        rows = files.json_lines(path) if path.exists() else []
        self._heard = {
            self._key(row["id"], row["channel"], row["speech"]): Heard(
                row["text"], _words(row, str(path))
            )
            for _, row in rows
            if stamps.get(row["id"]) == row["of"]
        }

    def __enter__(self) -> "_Windows":
        self._out = open(self._path, "a", encoding="utf-8")
        return self

    def __exit__(self, *_) -> None:
        self._out.close()

    def known(self, file: File, segment: Segment) -> Heard | None:
        """Give what was said in a segment that was heard before a run was stopped."""
        return self._heard.get(self._key(file.item.id, segment.channel, segment.speech))

    def heard(self, file: File, segment: Segment) -> None:
        """Write a segment down at once."""
        values = {"id": file.item.id, "channel": segment.channel, "speech": segment.speech}
        with files.naming(self._path):
            shown = {"text": segment.text, "words": [written.word(w) for w in segment.words]}
            _append(self._out, {**values, **shown, "of": self._stamps[file.item.id]})

    @staticmethod
    def _key(id: str, channel: int | None, speech) -> tuple:
        return id, channel, tuple(map(tuple, speech))


def _append(file, values: dict) -> None:
    file.write(json.dumps(values, ensure_ascii=False) + "\n")
    file.flush()
