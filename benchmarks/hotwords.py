"""Hotwords at 0, 100 and 500 distractors: what is heard better, and what is made up.

    python benchmarks/hotwords.py MODEL dev-clean.jsonl --number 60
    python benchmarks/hotwords.py openai/whisper-base dev-clean.jsonl --near exp/speller

The hotwords of a row are those of its words that few rows of the manifest have; distractors are
such words of other rows, drawn with one seed. Of a speech LLM it is asked which of the list its CTC
head is near to hearing (`decode/hotwords.py`): how many of the spoken ones it keeps, and how many
others a sound. A Whisper is told the list, which is said and not measured where its prompt has no
room for it; with --near it is told what that model's CTC head is near to hearing. Scores are by the
whole list, whatever was told.
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


def rated(recogniser, chosen: list[dict], every: list, told: list[list[str]]) -> str:
    """Transcribe each row, told some words, and score by its list."""
    lines = []
    for row, (own, others), words in zip(chosen, every, told, strict=True):
        listener = OfRecogniser(recogniser, Wanted(hotwords=tuple(sorted(words))))
        (text,) = listener([audio.open(row, listener.sampling_rate)])
        lines.append({"id": row["id"], "hyp": text, "ref": row["text"], "lang": "en",
                      "hotwords": [*own, *others]})  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hyp.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        result = score_file(path, "hotwords")
        return f"B-WER {result.value:.2f} [ {result.described} ], WER {score_file(path).value:.2f}"


def near(listener, chosen: list[dict], every: list) -> tuple[list[list[str]], str]:
    """Give what the CTC head keeps of each list, and say how much that is."""
    timer, kept, spoken, more, told = listener._timer, 0, 0, 0, []
    for row, (own, others) in zip(chosen, every, strict=True):
        wave = audio.open(row, listener.sampling_rate)
        request = Request([wave], listener._messages, row["id"])
        (found,) = hotwords.near(listener.speech, timer, [request], [*own, *others])
        told.append(found)
        spoken, kept = spoken + len(own), kept + len(set(found) & set(own))
        more += len(set(found) - set(own))
    others = more / len(chosen)
    return told, f"keeps {kept} of {spoken} spoken, and {others:.2f} others a sound"


def main() -> None:
    """Print a line a number of distractors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--number", type=int, default=60)
    parser.add_argument("--distractors", type=int, nargs="+", default=DISTRACTORS)
    parser.add_argument("--near", help="a model of ours whose CTC head chooses what is told")
    args = parser.parse_args()
    rows = list(Manifest(args.manifest))
    chosen = rows[:: max(len(rows) // args.number, 1)][: args.number]
    head = listeners.load(args.near or args.model, "cpu", Wanted(), {})
    recogniser = None if hasattr(head, "speech") and not args.near else recognisers.load(args.model)
    if recogniser:
        every = lists(rows, chosen, 0)
        print(f"untold: {rated(recogniser, chosen, every, [[]] * len(chosen))}", flush=True)
    for n in args.distractors:
        every = lists(rows, chosen, n)
        told, said = [[*own, *others] for own, others in every], ""
        if hasattr(head, "speech"):
            told, said = near(head, chosen, every)
            print(f"{n:4} distractors: the head {said}", flush=True)
        if recogniser:
            try:
                said = rated(recogniser, chosen, every, told)
            except ValueError as error:
                said = str(error)
            print(f"{n:4} distractors: {said}", flush=True)


if __name__ == "__main__":
    main()
