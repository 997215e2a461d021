"""Hotwords at 0, 100 and 500 distractors: what is heard better, and what is made up.

    python benchmarks/hotwords.py MODEL dev-clean.jsonl --number 60

The hotwords of a row are those of its words that few rows of the manifest have; distractors are
such words of other rows, drawn with one seed. Of a speech LLM it is asked which of the list its CTC
head is near to hearing (`decode/hotwords.py`): how many of the spoken ones it keeps, and how many
others a sound. A list that a Whisper's prompt has no room for is said, and not measured.
"""

import argparse
import json
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from speechllm.data.manifest import Manifest
from speechllm.decode import hotwords, listeners
from speechllm.decode.of_recogniser import OfRecogniser
from speechllm.decode.requests import Request
from speechllm.decode.wanted import Wanted
from speechllm.media import audio
from speechllm.models import recognisers
from speechllm.score.run import score_file

RARE = 2  # rows that have a word, at most
DISTRACTORS = (0, 100, 500)


def lists(rows: list[dict], chosen: list[dict], n: int) -> list[tuple[list[str], list[str]]]:
    """Give (hotwords, distractors) of each chosen row."""
    seen = Counter(word for row in rows for word in set(row["text"].lower().split()))
    rare = sorted(word for word, count in seen.items() if count <= RARE and len(word) > 3)
    rng, found = np.random.default_rng(0), []
    for row in chosen:
        words = set(row["text"].lower().split())
        others = [rare[i] for i in rng.permutation(len(rare))[: n + len(words)]]
        found.append((sorted(words & set(rare)), [w for w in others if w not in words][:n]))
    return found


def rated(model: str, chosen: list[dict], every: list, tell: bool) -> str:
    """Transcribe each row with its list (or without, `tell` false), and score by the list."""
    lines, recogniser = [], recognisers.load(model)
    for row, (own, others) in zip(chosen, every, strict=True):
        words = (*own, *others)
        wanted = Wanted(hotwords=tuple(sorted(words))) if tell and words else Wanted()
        listener = OfRecogniser(recogniser, wanted)
        (text,) = listener([audio.open(row, listener.sampling_rate)])
        lines.append({"id": row["id"], "hyp": text, "ref": row["text"], "lang": "en",
                      "hotwords": list(words)})  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hyp.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        result = score_file(path, "hotwords")
        return f"B-WER {result.value:.2f} [ {result.described} ], WER {score_file(path).value:.2f}"


def filtered(listener, chosen: list[dict], every: list) -> str:
    """Say what the CTC head keeps of the lists."""
    timer, kept, spoken, more = listener._timer, 0, 0, 0
    for row, (own, others) in zip(chosen, every, strict=True):
        wave = audio.open(row, listener.sampling_rate)
        request = Request([wave], listener._messages, row["id"])
        (found,) = hotwords.near(listener.speech, timer, [request], [*own, *others])
        spoken, kept = spoken + len(own), kept + len(set(found) & set(own))
        more += len(set(found) - set(own))
    return f"keeps {kept} of {spoken} spoken, and {more / len(chosen):.2f} others a sound"


def main() -> None:
    """Print a line a number of distractors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--number", type=int, default=60)
    parser.add_argument("--distractors", type=int, nargs="+", default=DISTRACTORS)
    args = parser.parse_args()
    rows = list(Manifest(args.manifest))
    chosen = rows[:: max(len(rows) // args.number, 1)][: args.number]
    listener = listeners.load(args.model, "cpu", Wanted(), {})
    if hasattr(listener, "speech"):
        for n in args.distractors:
            print(f"{n:4} distractors: {filtered(listener, chosen, lists(rows, chosen, n))}")
        return
    print(f"untold: {rated(args.model, chosen, lists(rows, chosen, 0), False)}", flush=True)
    for n in args.distractors:
        try:
            said = rated(args.model, chosen, lists(rows, chosen, n), True)
        except ValueError as error:
            said = str(error)
        print(f"{n:4} distractors: {said}", flush=True)


if __name__ == "__main__":
    main()
