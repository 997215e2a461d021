"""Recognisers of transformers through `speechllm benchmark`'s path against their own `generate`.

    python benchmarks/recognisers.py MANIFEST MODEL [MODEL ...] [--limit 100] [--precision bf16]

The peer is the loop that transformers' documentation shows: a file, its processor, `generate`,
its tokenizer, the next file. Ours hears batches of like lengths. Both run in one process on the
same network's weights, batch by batch in turn, so that whatever else the machine does meets both;
the median over batches is of the time of this process on its processors, and of the clock's.
"""

import argparse
import statistics
import sys
import time

import numpy as np
import torch

import features
from speechllm.data.manifest import Manifest
from speechllm.decode.contest import Settings
from speechllm.decode.recognise import Transformer, filled
from speechllm.models import recognisers
from speechllm.score.text import normalise

CLOCKS = {"processor": time.process_time, "clock": time.perf_counter}


def peer(recogniser, rows: list[dict]) -> list[str]:
    """Transformers' own loop."""
    processor, model = recogniser.parts.processor, recogniser.model
    said = {"language": "en", "task": "transcribe"} if recogniser.multilingual else {}
    texts = []
    for row in rows:
        wave, rate = features.load(row["audio"], sampling_rate=recogniser.sampling_rate)
        inputs = processor(wave, sampling_rate=rate, return_tensors="pt")
        ids = model.generate(inputs.input_features.to(model.dtype), **said)
        texts += processor.batch_decode(ids, skip_special_tokens=True)
    return [text.strip() for text in texts]


def timed(hear, rows: list[dict]) -> tuple[list[str], dict[str, float]]:
    """Give texts and seconds by each clock."""
    began = {name: clock() for name, clock in CLOCKS.items()}
    texts = hear(rows)
    return texts, {name: clock() - began[name] for name, clock in CLOCKS.items()}


def measure(name: str, manifest: Manifest, max_batch_s: float, precision: str) -> None:
    """Print one model's line."""
    theirs = recognisers.load(name, packed=False)
    theirs.model.to({"fp32": torch.float32, "bf16": torch.bfloat16}[precision])
    ours = Transformer(recognisers.load(name, precision=precision))
    lengths = manifest.lengths_s
    costs = [ours.cost_s(float(s)) for s in lengths]
    ratios = {clock: [] for clock in CLOCKS}
    rtfx = {clock: [] for clock in CLOCKS}
    same = words = total = 0
    for indices in filled(np.argsort(-lengths, kind="stable").tolist(), costs, max_batch_s):
        rows = [manifest[i] for i in indices]
        expected, slow = timed(lambda rows: peer(theirs, rows), rows)
        found, fast = timed(ours.hear, rows)
        same += sum(a == b for a, b in zip(expected, found, strict=True))
        pairs = [
            [normalise.get("whisper-en")(t) for t in p] for p in zip(expected, found, strict=True)
        ]
        words += sum(a == b for a, b in pairs)
        total += len(rows)
        for row, a, b in zip(rows, expected, found, strict=True):
            if a != b:
                print(f"{row['id']}:\n  loop {a}\n  ours {b}")
        for clock in CLOCKS:
            ratios[clock].append(slow[clock] / fast[clock])
            rtfx[clock].append(float(lengths[indices].sum()) / fast[clock])
        print(f"{total} of {len(manifest)}", file=sys.stderr)
    for clock in CLOCKS:
        middle = statistics.median(ratios[clock])
        print(
            f"{name}, {clock}: RTFx {statistics.median(rtfx[clock]):.1f}, {middle:.2f}x of the "
            f"loop's [{min(ratios[clock]):.2f}, {max(ratios[clock]):.2f}] over "
            f"{len(ratios[clock])} batches"
        )
    print(f"{name}: {same} of {total} texts the same, {words} once normalised", flush=True)


def main() -> None:
    """Measure each model."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("manifest")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--limit", type=int, default=0, help="utterances, evenly; 0: all")
    parser.add_argument("--max-batch-s", type=float, default=Settings().max_batch_s)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    args = parser.parse_args()
    manifest = Manifest(args.manifest)
    if args.limit:
        chosen = np.linspace(0, len(manifest) - 1, min(args.limit, len(manifest)))
        manifest = manifest.subset(chosen.round().astype(int).tolist())
    print(f"{torch.get_num_threads()} threads, {len(manifest)} utterances, {args.precision}")
    with torch.inference_mode():
        for name in args.models:
            measure(name, manifest, args.max_batch_s, args.precision)


if __name__ == "__main__":
    main()
