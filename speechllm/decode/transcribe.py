"""Transcribe files of any length: windows of many files in common batches, in flat memory.

    for file in transcripts(listener, items, Options()):      # each as soon as it is done
        print(file.error or file.transcript.text)

`decode/shelf.py` keeps the answers in a folder, so that what was stopped goes on.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import features
from features.sources import Item
from speechllm.decode import align, long, voice
from speechllm.decode.long import Cutter, Window
from speechllm.decode.transcript import Heard, Segment, Transcript

AHEAD = 2  # batches of windows that are put in order of length


@dataclass(frozen=True)
class Options:
    """How sound is cut and put together.

    Attributes:
        vad: who finds speech, one of `voice.KINDS`.
        window_s: longest window; 0: what the model hears at once.
        apart: each channel by itself.
        words: with times of words, where the listener has any; no text depends on it.
        max_batch_s: how much is computed at once, windows times the longest, in seconds.
    """

    vad: str = "auto"
    window_s: float = 0.0
    apart: bool = False
    words: bool = False
    max_batch_s: float = 200.0

    def limit(self, listener) -> float:
        """Give the longest window for a listener.

        Raises:
            ValueError: longer than it hears, or too short for a word.
        """
        if 0 < self.window_s < long.SHORTEST_S:
            raise ValueError(long.too_short(self.window_s))
        if self.window_s > listener.window_s:
            raise ValueError(
                f"window_s: the model hears at most {listener.window_s:.4g} s at once, got "
                f"{self.window_s:g}"
            )
        return self.window_s or listener.window_s

    def facts(self, listener) -> dict:
        """Say what of this an answer depends on."""
        kind = voice.chosen(self.vad)
        return {"vad": kind, "window_s": self.limit(listener), "apart": self.apart}


@dataclass
class File:
    """A file on its way.

    Attributes:
        item: which it is.
        duration: of all of it, in seconds.
        segments: what is heard so far, in order.
        error: why it cannot be heard, "" if it can.
        told: seconds of it that progress knows of.
    """

    item: Item
    duration: float = 0.0
    segments: list[Segment] = field(default_factory=list)
    error: str = ""
    told: float = 0.0

    @property
    def transcript(self) -> Transcript:
        """All that was said in it; windows in which nothing was said are left out."""
        said = sorted((s for s in self.segments if s.text), key=lambda one: one.start)
        return Transcript(self.item.id, self.item.path, round(self.duration, 3), tuple(said))


@dataclass
class _Piece:
    """A window of a file, or (window None) its end."""

    file: File
    window: Window | None = None
    channel: int | None = None
    reached: float = 0.0  # seconds of the file that are done with it
    heard: Heard | None = None


class Watch:
    """What is told of a run on its way; this one listens to nothing."""

    def known(self, file: File, segment: Segment) -> Heard | None:
        """Give what was said in a segment (without text) that need not be heard again."""

    def heard(self, file: File, segment: Segment) -> None:
        """Take a segment as soon as it is heard, in any order."""

    def told(self, file: File, segment: Segment) -> None:
        """Take a segment in its order."""

    def progress(self, seconds: float) -> None:
        """Take the seconds of sound that are newly done."""


def transcripts(
    listener,
    items: Sequence[Item],
    options: Options = Options(),  # noqa: B008  # frozen
    watch: Watch = Watch(),  # noqa: B008  # holds nothing
) -> Iterator[File]:
    """Yield each file once all of it is heard, in order; one that cannot be heard with its error.

    Args:
        listener: of `decode/listeners.py`.
        items: files, or parts of files.
        options: see there.
        watch: is told of what happens.

    Raises:
        ValueError: an option that means nothing.
        FloatingPointError: the model computes no numbers.
    """
    options.limit(listener)
    queue: list[_Piece] = []
    waiting = 0.0
    for piece in _pieces(listener, items, options):
        queue.append(piece)
        if piece.window:
            piece.heard = watch.known(piece.file, _segment(piece))
            if piece.heard is None:
                waiting += _cost(listener, piece)
            else:  # so that all of a long file that was stopped at its end is not kept
                piece.window = replace(piece.window, wave=piece.window.wave[:0])
        if waiting >= AHEAD * options.max_batch_s or (not waiting and not piece.window):
            yield from _answer(listener, queue, options, watch)
            queue, waiting = [], 0.0
    yield from _answer(listener, queue, options, watch)


def _pieces(listener, items: Sequence[Item], options: Options) -> Iterator[_Piece]:
    """Yield the windows of one file after another, and after each its end."""
    for item in items:
        file = File(item)
        try:
            info = features.info(item.path)
            file.duration = item.duration_s or info.duration_s - item.start_s
            one = item.channel is not None or not options.apart or info.channels == 1
            channels = [item.channel] if one else list(range(info.channels))
            for number, channel in enumerate(channels):
                for window in _windows(listener, item, channel, options):
                    reached = number + min(window.end / file.duration, 1.0)
                    share = reached / len(channels)
                    yield _Piece(file, window, channel, share * file.duration)
        except ValueError as error:
            file.error = str(error)
        yield _Piece(file, reached=file.duration)


def _windows(listener, item: Item, channel: int | None, options: Options) -> Iterator[Window]:
    part = {"start_s": item.start_s, "duration_s": item.duration_s, "channel": channel}
    with features.blocks(item.path, listener.sampling_rate, **part) as wave:
        yield from long.windows(wave, _cutter(listener, options))


def _cutter(listener, options: Options) -> Cutter:
    rate = listener.sampling_rate
    return Cutter(rate, voice.detector(options.vad, rate), options.limit(listener))


def _answer(listener, queue: list[_Piece], options: Options, watch: Watch) -> Iterator[File]:
    """Hear what is in a queue; then tell of it in order."""
    asked = [piece for piece in queue if piece.window and piece.heard is None]
    waves = [piece.window.wave for piece in asked]
    for i, heard in listener.many(waves, options.max_batch_s, options.words):
        _take(asked[i], heard, watch)
    for piece in queue:
        file = piece.file
        if piece.heard:
            file.segments.append(_segment(piece))
            watch.told(file, file.segments[-1])
        watch.progress(max(piece.reached - file.told, 0.0))
        file.told = max(piece.reached, file.told)
        if not piece.window:
            yield file


def _take(piece: _Piece, heard: Heard | ValueError, watch: Watch) -> None:
    """Put in what was said; what is refused takes its file out, and nothing else."""
    file = piece.file
    if isinstance(heard, ValueError):
        file.error = f"{file.item.path}: {heard}"
        return
    offset = piece.window.begin + file.item.start_s
    text = " ".join(heard.text.split())
    speech = [(a + file.item.start_s, b + file.item.start_s) for a, b in piece.window.speech]
    words = [word.later(offset) for word in heard.words]
    piece.heard = Heard(text, align.inside(words, speech))
    watch.heard(file, _segment(piece))


def _segment(piece: _Piece) -> Segment:
    offset = piece.file.item.start_s
    speech = tuple((round(a + offset, 3), round(b + offset, 3)) for a, b in piece.window.speech)
    heard = piece.heard or Heard("")
    return Segment(speech, heard.text, piece.channel, heard.words)


def _cost(listener, piece: _Piece) -> float:
    return listener.cost(len(piece.window.wave) / listener.sampling_rate)


def said(listener, sound, options: Options = Options()) -> str:  # noqa: B008  # frozen
    """Give what is said in one sound, a file or a wave (N,) at the listener's rate.

    Raises:
        ValueError: it cannot be heard; names the file.
    """
    if isinstance(sound, str | Path):
        file = next(transcripts(listener, [Item("asked", str(sound))], options))
    else:
        file = File(Item("the wave", "the wave"), len(sound) / listener.sampling_rate)
        windows = long.windows([sound], _cutter(listener, options))
        queue = [*(_Piece(file, window) for window in windows), _Piece(file)]
        file = next(_answer(listener, queue, options, Watch()))
    if file.error:
        raise ValueError(file.error)
    return file.transcript.text
