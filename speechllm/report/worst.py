"""The worst utterances of a score: coloured alignment, player, spectrogram.

Sound and picture stand in the page itself, small: mono MP3 and a PNG of 80 mel bands. Where the
manifest or a file of it is not at hand any more, the text stands alone and the page says why.
"""

import base64
import io
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speechllm.report.collect import Score
from speechllm.score.pages.frame import Html, fill, join

MOST = 8  # utterances of a score
MOST_S = 30.0  # of a sound in a page
RATE = 16000
SCORES = re.compile(r"^Scores: \(#C #S #D #I\) (\d+) (\d+) (\d+) (\d+)")
GAP = re.compile(r"\*+")
SPAN = 80.0  # dB below the loudest that a picture shows


@dataclass(frozen=True)
class Utterance:
    """One utterance as alignments.txt has it: (reference word, recognised word), "" for none."""

    label: str
    errors: int
    words: tuple[tuple[str, str], ...]


def section(score: Score, utterances: list[Utterance]) -> Html:
    """Write the worst utterances of a score; nothing where nothing is wrong."""
    chosen = worst(utterances)
    if not chosen:
        return Html("")
    items, why = _items(score)
    articles = [_article(one, items) for one in chosen]
    note = fill('<p class="soft">Without sound: {}</p>', why) if why else Html("")
    return fill("<h3>Worst utterances</h3>{}{}", note, join(articles, "\n"))


def read(path: Path) -> list[Utterance]:
    """Read all utterances of an alignments.txt; none where there is none."""
    if not path.is_file():
        return []
    blocks = path.read_text("utf-8", errors="replace").split("\n\n")
    return [one for block in blocks if (one := _parsed(block))]


def worst(utterances: list[Utterance]) -> list[Utterance]:
    """Choose those with the most errors, the highest share first among equals."""
    wrong = [one for one in utterances if one.errors]
    return sorted(wrong, key=lambda one: (-one.errors, len(one.words)))[:MOST]


def _parsed(block: str) -> Utterance | None:
    lines = block.strip("\n").split("\n")
    scores = next((m for line in lines if (m := SCORES.match(line))), None)
    rows = {line[:4]: line[4:].split() for line in lines if line[:4] in ("REF:", "HYP:")}
    if scores is None or not lines[0].startswith("id: (") or len(rows) < 2:
        return None
    pairs = zip(*(rows[name] for name in ("REF:", "HYP:")), strict=False)
    words = tuple(tuple(GAP.sub("", word) for word in pair) for pair in pairs)
    errors = sum(int(n) for n in scores.groups()[1:])
    return Utterance(lines[0].removeprefix("id: (").removesuffix(")"), errors, words)


def _items(score: Score) -> tuple[dict, str]:
    """Give the manifest's sounds by id, and why there are none."""
    from features.sources import find

    manifest = score.decode.get("manifest")
    if not isinstance(manifest, str) or not Path(manifest).is_file():
        return {}, "the manifest is not where the decode says it was"
    try:
        return {item.id: item for item in find(manifest)}, ""
    except ValueError as error:
        return {}, str(error)


def _article(one: Utterance, items: dict) -> Html:
    total = sum(bool(reference) for reference, _ in one.words)
    words = join((_word(*pair) for pair in one.words), " ")
    head = fill("<header><b>{}</b> <span>{} / {}</span></header>", one.label, one.errors, total)
    sound = _sound(_item(one.label, items))
    return fill('<article>{}<p class="a" dir="auto">{}</p>{}</article>', head, words, sound)


def _word(reference: str, said: str) -> Html:
    if reference.lower() == said.lower():
        return fill("{}", said)
    if not reference:
        return fill("<ins>{}</ins>", said.lower())
    if not said:
        return fill("<del>{}</del>", reference.lower())
    return fill('<ruby class="s">{}<rt>{}</rt></ruby>', said.lower(), reference.lower())


def _item(label: str, items: dict):
    """Find the sound of a label, which may have a speaker before the id: `m4-test-00128`."""
    while label not in items and "-" in label:
        label = label.split("-", 1)[1]
    return items.get(label)


def _sound(item) -> Html:
    """Write player and spectrogram of a sound; nothing where it cannot be read."""
    import features

    if item is None:
        return Html("")
    try:
        wave, _ = features.load(
            item.path, RATE, item.start_s, item.duration_s, channel=item.channel
        )
    except ValueError as error:
        return fill('<p class="soft">{}</p>', Path(item.path).name + ": " + str(error)[:200])
    wave = wave[: round(MOST_S * RATE)]
    return fill(
        '<img class="spectrogram" alt="spectrogram" src="data:image/png;base64,{}">'
        '<audio controls preload="none" src="data:audio/mpeg;base64,{}"></audio>',
        _base64(picture(wave)),
        _base64(mp3(wave)),
    )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def picture(wave: np.ndarray) -> bytes:
    """Draw log-mel frames of a wave (N,), low bands at the bottom, as PNG."""
    import matplotlib.image

    import features

    fbank = features.get("kaldi_fbank80", dither=0.0, snip_edges=False)
    frames = np.asarray(fbank(wave)[0]) * (10 / np.log(10))  # dB
    step = max(1, len(frames) // 800)
    frames = frames[: len(frames) // step * step].reshape(-1, step, frames.shape[1]).mean(1)
    file, most = io.BytesIO(), float(frames.max())
    shown = {"vmin": most - SPAN, "vmax": most, "cmap": "magma", "origin": "lower"}
    matplotlib.image.imsave(file, frames.T, format="png", **shown)
    return file.getvalue()


def mp3(wave: np.ndarray) -> bytes:
    """Write a wave (N,) as MP3."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, np.clip(wave, -1, 1), RATE, format="MP3", subtype="MPEG_LAYER_III")
    return file.getvalue()
