"""An hour of speech in one file: memory, word error rate and speed against its utterances alone.

    python benchmarks/long_form.py openai/whisper-tiny.en dev-clean.jsonl --seconds 3600
    python benchmarks/long_form.py openai/whisper-tiny.en --noise DIR       # files without speech

Rows of a manifest are joined into one file, with nothing between them, and transcribed; then each
row by itself, cut by its reference times. Speed is in processor time, memory is what the process
has above what it had with the model loaded. With --noise: the files of a folder in which nobody
speaks that get words, by either detector.
"""

import argparse
import json
import tempfile
import threading
import time
from pathlib import Path

import psutil
import soundfile

from features.sources import Item, find
from speechllm.data.manifest import Manifest
from speechllm.data.rows import seconds
from speechllm.decode import listeners
from speechllm.decode.grouping import groups
from speechllm.decode.heap import flat_memory
from speechllm.decode.transcribe import Options, transcripts
from speechllm.decode.wanted import Wanted
from speechllm.media import audio
from speechllm.score.run import score_file

MB = 1 << 20


class Peak:
    """The most memory that this process has while a `with` lasts, above what it began with."""

    def __enter__(self) -> "Peak":
        self._process, self._over = psutil.Process(), threading.Event()
        self.began = self.most = self._process.memory_info().rss
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            self.most = max(self.most, self._process.memory_info().rss)

    def __exit__(self, *_) -> None:
        self._over.set()
        self._thread.join()

    @property
    def mb(self) -> float:
        """Of the peak."""
        return (self.most - self.began) / MB


def chosen(manifest: Manifest, wanted_s: float) -> list[dict]:
    """Take rows in order until they last so long."""
    rows, total = [], 0.0
    for row in manifest:
        if total >= wanted_s:
            break
        rows.append(row)
        total += seconds(row)
    return rows


def join(rows: list[dict], path: Path, rate: int) -> None:
    """Write rows one after another."""
    with soundfile.SoundFile(path, "w", rate, 1) as file:
        for row in rows:
            file.write(audio.open(row, rate))


def wer(pairs: list[tuple[str, str]], folder: Path, name: str) -> float:
    """Rate of (hypothesis, reference)."""
    path = folder / f"{name}.jsonl"
    lines = (json.dumps({"id": str(i), "hyp": h, "ref": r, "lang": "en"})
             for i, (h, r) in enumerate(pairs))  # fmt: skip
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return score_file(path).value


def hour(listener, manifest: Path, wanted_s: float, words: bool) -> None:
    """Print the table of one file against its utterances."""
    rows = chosen(Manifest(manifest), wanted_s)
    total = sum(map(seconds, rows))
    reference = " ".join(row["text"] for row in rows)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "joined.flac"
        join(rows, path, listener.sampling_rate)
        began = time.process_time()
        with Peak() as peak:
            options = Options(words=words)
            (file,) = transcripts(listener, [Item("joined", str(path))], options)
        spent = time.process_time() - began
        one = wer([(file.transcript.text, reference)], folder, "one")
        print(f"{'':22} {'WER':>6} {'RTFx':>6} {'MB above the model':>20}")
        said = f"one file of {total:.0f} s"
        print(f"{said:22} {one:6.2f} {total / spent:6.1f} {peak.mb:20.0f}", flush=True)
        texts, spent = {}, 0.0
        for batch in groups([listener.cost(seconds(row)) for row in rows], 200.0):
            waves = [audio.open(rows[i], listener.sampling_rate) for i in batch]
            began = time.process_time()
            texts |= dict(zip(batch, listener(waves), strict=True))
            spent += time.process_time() - began
        alone = wer([(texts[i], row["text"]) for i, row in enumerate(rows)], folder, "alone")
        print(f"{len(rows):5} utterances alone {alone:6.2f} {total / spent:6.1f}")
        print(f"WER {100 * (one / alone - 1):+.1f} % relative")


def noise(listener, folder: Path) -> None:
    """Print which files without speech get words."""
    items = [item for item in find(folder)]
    for vad in ("silero", "energy"):
        files = list(transcripts(listener, items, Options(vad)))
        said = {f.item.id: f.transcript.text for f in files if f.transcript.text}
        print(f"{vad:7} {len(said)} of {len(files)} files without speech have words")
        for name, text in said.items():
            print(f"        {name}: {text[:60]}")


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("manifest", type=Path, nargs="?")
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--words", action="store_true", help="with times of words")
    parser.add_argument("--noise", type=Path, nargs="*", default=[])
    args = parser.parse_args()
    flat_memory()  # as the command does
    listener = listeners.load(args.model, "cpu", Wanted(), {})
    if args.manifest:
        hour(listener, args.manifest, args.seconds, args.words)
    for folder in args.noise:
        noise(listener, folder)


if __name__ == "__main__":
    main()
