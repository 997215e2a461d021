"""What was said in a sound file: words on the time axis, segments, the whole.

    Transcript("talk", "talk.mp3", 62.1, (Segment(((0.4, 5.2),), "hello there"), ...))

A segment's times are those of its speech. Where its words have no times of their own (they come of
what aligns, `decode/align.py`), a word's are spread: by its letters over the segment's speech,
pauses left out. `written.py` writes all this as text, subtitles and annotation.
"""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace

LINE, LINES = 42, 2  # letters and lines of a subtitle, as broadcasters have them
# Kana and Chinese characters stand without spaces: there each character counts as a word.
_SPACELESS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(f"[^\\w\\s]*[{_SPACELESS}][^\\w\\s]*|[^\\s{_SPACELESS}]+")


def split(text: str) -> list[str]:
    """Split a text into what has times of its own: words, or characters where no space parts them.

    Marks stay with what they stand at: "good day." is two words, and so is "\u4f60\u597d\u3002".
    """
    return _WORD.findall(text)


@dataclass(frozen=True)
class Word:
    """A word and its times, in seconds of the whole file.

    confidence: the probability that the model gives it, None where nothing gives one.
    """

    start: float
    end: float
    text: str
    confidence: float | None = None

    def later(self, seconds: float) -> "Word":
        """Give it as so many seconds later."""
        start, end = round(self.start + seconds, 3), round(self.end + seconds, 3)
        return replace(self, start=start, end=end)


@dataclass(frozen=True)
class Heard:
    """What was said in one window, its words with times where something has aligned them."""

    text: str
    words: tuple[Word, ...] = ()


class Spoken:
    """What has `speech`: (start, end) of each stretch without a pause, in seconds of the whole."""

    @property
    def start(self) -> float:
        """Where it begins, in seconds."""
        return self.speech[0][0]

    @property
    def end(self) -> float:
        """Where it ends."""
        return self.speech[-1][1]


@dataclass(frozen=True)
class Segment(Spoken):
    """What was said in one window.

    Attributes:
        speech: (start, end) of each stretch without a pause, in seconds of the whole file.
        text: what was said.
        channel: from 0; None where the channels were heard together.
        words: with times, where something has aligned them.
    """

    speech: tuple[tuple[float, float], ...]
    text: str
    channel: int | None = None
    words: tuple[Word, ...] = ()

    def timed(self) -> list[Word]:
        """Give each word with its times, or with those that its letters have a share of."""
        return list(self.words) or list(self._spread(split(self.text)))

    def cues(self) -> list[Word]:
        """Give pieces that a screen has room for, with their times."""
        lines = _even_lines(self.text)
        chunks = [lines[i : i + LINES] for i in range(0, len(lines), LINES)]
        sizes = [sum(len(split(line)) for line in chunk) for chunk in chunks]
        words, cues = self.timed(), []
        if not self.words or len(words) != sum(sizes):
            spread = self._spread([" ".join(chunk) for chunk in chunks])
            return [Word(one.start, one.end, "\n".join(chunk))
                    for one, chunk in zip(spread, chunks, strict=True)]  # fmt: skip
        for chunk, n in zip(chunks, sizes, strict=True):
            cues.append(Word(words[0].start, words[n - 1].end, "\n".join(chunk)))
            words = words[n:]
        return cues

    def _spread(self, pieces: list[str]) -> Iterator[Word]:
        total, done = sum(map(len, pieces)), 0
        for piece in pieces:
            start, done = self._time(done / total, late=True), done + len(piece)
            yield Word(start, self._time(done / total), piece)

    def _time(self, share: float, late: bool = False) -> float:
        """Give the time at which this share of the speech is over; `late`: after a pause there."""
        left = share * sum(end - start for start, end in self.speech)
        for start, end in self.speech:
            if left < end - start - 1e-6 or (not late and left < end - start + 1e-6):
                return round(start + left, 3)
            left -= end - start
        return self.end


@dataclass(frozen=True)
class Transcript:
    """What was said in one file, in order.

    Attributes:
        id: names it among others.
        audio: the file.
        duration: its seconds.
        segments: by their start.
    """

    id: str
    audio: str
    duration: float
    segments: tuple[Segment, ...]

    @property
    def text(self) -> str:
        """All of it, in one line."""
        return " ".join(one.text for one in self.segments if one.text)


def _even_lines(text: str) -> list[str]:
    """Wrap a text to as few subtitles as it takes, their lines alike in length."""
    lines = textwrap.wrap(text, LINE, break_on_hyphens=False)
    if len(lines) < 2:
        return lines
    most = len(lines) + len(lines) % LINES  # the last subtitle's second line is used, too
    longest = max(map(len, text.split()))
    for width in range(min(max(len(text) // most, longest), LINE), LINE):
        even = textwrap.wrap(text, width, break_on_hyphens=False)
        if len(even) <= most:
            return even
    return lines
