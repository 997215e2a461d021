"""Live transcription of speech that comes at its own pace: latency, revisions, WER, processor.

    python benchmarks/live.py openai/whisper-tiny.en dev-clean.jsonl --number 12

Rows of a manifest are fed in real time, 50 ms at a time, with two seconds of silence after each. A
word's latency is the time from its end, as the model times it in the whole utterance, until it is
shown: as a partial word for the first time, and as a final one.
"""

import argparse
import tempfile
import threading
import time
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
from long_form import wer

from speechllm.cli.listening import BLOCK_S
from speechllm.data.manifest import Manifest
from speechllm.decode import listeners
from speechllm.decode.live import Live, _bare
from speechllm.decode.wanted import Wanted
from speechllm.media import audio

SILENCE_S = 2.0


def feed(wave: np.ndarray, rate: int, arrived: list, over: threading.Event) -> None:
    """Let blocks arrive when they are said."""
    began, size = time.perf_counter(), round(BLOCK_S * rate)
    for at in range(0, len(wave), size):
        time.sleep(max(began + (at + size) / rate - time.perf_counter(), 0))
        arrived.append(wave[at : at + size])
    over.set()


def listen(listener, wave: np.ndarray, every_s: float) -> dict:
    """Hear one utterance live; say when each word was shown."""
    rate = listener.sampling_rate
    live, arrived, over = Live(listener, rate, every_s), [], threading.Event()
    thread = threading.Thread(target=feed, args=(wave, rate, arrived, over))
    began, spent = time.perf_counter(), time.process_time()
    thread.start()
    final, shown, times, taken, revised = [], {}, [], 0, 0
    while not (over.is_set() and taken == len(arrived)):
        n = len(arrived)
        if n == taken:
            time.sleep(0.005)
            continue
        before = len(final)
        update = live(np.concatenate(arrived[taken:n]))
        taken, now = n, time.perf_counter() - began
        final += update.final
        times += [now] * len(update.final)
        for place, word in enumerate((*update.final, *update.partial), before):
            shown.setdefault((place, _bare(word)), now)
    thread.join()
    last = live.flush().final
    times += [time.perf_counter() - began] * len(last)
    final += last
    for place, word in enumerate(final):
        shown.setdefault((place, _bare(word)), times[place])
    first = [shown[place, _bare(word)] for place, word in enumerate(final)]
    return {"final": final, "times": times, "first": first, "revised": revised,
            "spent": time.process_time() - spent}  # fmt: skip


def latencies(found: dict, known: list) -> list[tuple[float, float]]:
    """Pair words with those of the offline hearing: (seconds to be shown, seconds to be final)."""
    a, b = [_bare(w) for w in found["final"]], [_bare(w) for w in known]
    pairs = []
    for i, j, size in SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks():
        for k in range(size):
            end = known[j + k].end
            pairs.append((found["first"][i + k] - end, found["times"][i + k] - end))
    return pairs


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--number", type=int, default=12, help="utterances, evenly chosen")
    parser.add_argument("--every-s", type=float, default=0.5)
    args = parser.parse_args()
    listener = listeners.load(args.model, "cpu", Wanted(), {})
    rows = Manifest(args.manifest)
    rows = [rows[i] for i in range(0, len(rows), max(len(rows) // args.number, 1))][: args.number]
    total, spent, late, live, offline = 0.0, 0.0, [], [], []
    for row in rows:
        wave = audio.open(row, listener.sampling_rate)
        (heard,) = listener.timed([wave])
        wave = np.pad(wave, (0, round(SILENCE_S * listener.sampling_rate)))
        found = listen(listener, wave, args.every_s)
        total += len(wave) / listener.sampling_rate
        spent += found["spent"]
        late += latencies(found, heard.words)
        live.append((" ".join(word.text for word in found["final"]), row["text"]))
        offline.append((heard.text, row["text"]))
    shown, final = np.array(late).T
    print(f"{args.model}, heard every {args.every_s:g} s: {len(rows)} utterances, {total:.0f} s")
    for name, values in (("shown", shown), ("final", final)):
        median, most = np.median(values), np.quantile(values, 0.95)
        print(f"words are {name}: {median:.2f} s after their end (median), p95 {most:.2f} s")
    with tempfile.TemporaryDirectory() as name:
        rates = [wer(pairs, Path(name), "hyp") for pairs in (live, offline)]
    print(
        f"WER live {rates[0]:.2f}, offline {rates[1]:.2f}; processor {spent / total:.0%} of a core"
    )


if __name__ == "__main__":
    main()
