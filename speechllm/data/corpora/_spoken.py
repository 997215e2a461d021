"""Questions that are speech themselves: spoken by espeak-ng, then asked about a sound.

Each question asks for one name, yes or no. Voices and forms of words differ between the splits.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from speechllm.data.corpora import _speech
from speechllm.data.corpora._cast import Utterance, cast
from speechllm.data.corpora._questions import FORMS, YES_NO

SIZES = {"train": 1200, "dev": 100, "test": 200}
SHARDS = {"train": 4, "dev": 1, "test": 1}  # a fresh process each; more would give other bytes


def speak(names: dict[str, str], out: Path, seed: int) -> dict[str, list[dict]]:
    """Speak the questions of each split into `out`; rows with `asked`, the name asked for."""
    rng, splits, sounds = np.random.default_rng(seed), {}, {}
    for split, size in SIZES.items():
        names_asked = [list(names)[i % len(names)] for i in range(size)]
        forms = FORMS["yes_no"][split]
        drawn = rng.integers(len(forms), size=size)
        texts = [forms[i].format(x=names[name]) for i, name in zip(drawn, names_asked, strict=True)]
        splits[split] = cast(split, texts, rng)
        sounds |= {u.id: name for u, name in zip(splits[split], names_asked, strict=True)}
    settings = _speech.Settings(noise_share=0.3, seed=seed)
    rows = _speech.speak(settings, splits, SHARDS, out, _crowd)
    return {
        split: [row | {"asked": sounds[row["id"]]} for row in part] for split, part in rows.items()
    }


def _crowd(split: str, utterances: list[Utterance], _: np.random.Generator) -> list[Utterance]:
    """Whose voices babble is made of: the first ones."""
    return utterances[:6]


def about(
    spoken: list[dict], sounds: dict[str, list[dict]], rng: np.random.Generator
) -> Iterator[dict]:
    """Ask each question about a sound, of the name asked for and of another in turn.

    sounds: parts of messages, by name.
    """
    for number, row in enumerate(spoken):
        name, turn = row["asked"], number // len(sounds) % 2
        if turn:
            others = [other for other in sounds if other != name]
            name = others[int(rng.integers(len(others)))]
        sound = sounds[name][int(rng.integers(len(sounds[name])))]
        question = {"type": "audio", "audio": row["audio"], "duration": row["duration"]}
        content = [sound, {**question, "asks": True}]
        answer = YES_NO[turn]
        turns = [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]
        yield {
            "id": f"{Path(sound['audio']).stem}-spoken-{row['id']}",
            "text": answer,
            "kind": "spoken",
            "choices": list(YES_NO),
            "speaker": row["speaker"],
            "duration": sound["duration"] + row["duration"],
            "messages": turns,
        }
