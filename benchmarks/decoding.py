"""Ways to decode a model, side by side in one run: `generate`, ours, refilled, drafted.

    python benchmarks/decoding.py exp/whisper_llm data/dev-clean.jsonl --utterances 32
    python benchmarks/decoding.py exp/speller data/dev-clean.jsonl --forced     # before its LoRA

What is timed begins with the encoder's states (where the manifest refers to stored ones they are
read, not computed) and ends with the answers; the ways take turns, after a warm-up each. `--forced`
lets every way say the transcripts, by a filter: real lengths, and of the draft what a model would
make of it that hears all. Memory is what tensors take at most besides the weights.
"""

import argparse
import math
import statistics
import time
from pathlib import Path

import torch

from speechllm.data.collate import collate
from speechllm.data.examples import Examples
from speechllm.data.manifest import Manifest
from speechllm.decode import many, search
from speechllm.decode.ask import Answerer
from speechllm.models import states, store
from speechllm.models.footprint import Live
from speechllm.models.reading import joins

GREEDY = search.Config(max_repeats=0)


class Forced:
    """Lets each row say one answer; `rows` are the numbers of the answers, as rows come."""

    def __init__(self, answers: list[list[int]], rows: list[int]):
        self.answers, self.rows = answers, rows

    def wanted(self, row: int, n: int) -> int:
        """The id of a row's place n, the last one of its answer for ever."""
        ids = self.answers[self.rows[row]]
        return ids[min(n, len(ids) - 1)]

    def __call__(self, scores, lines):
        """As a filter of ours."""
        ids = torch.tensor([[self.wanted(line.row, len(line.ids))] for line in lines])
        kept = scores.gather(1, ids)
        return torch.full_like(scores, -torch.inf).scatter_(1, ids, kept)

    def processor(self, ids, scores):
        """As a logits processor of transformers, which gets what was said in each row."""
        said = ids.shape[1]
        wanted = torch.tensor([[self.wanted(row, said)] for row in range(len(ids))])
        return torch.full_like(scores, -torch.inf).scatter_(1, wanted, scores.gather(1, wanted))


class Bench:
    """A model, so many utterances sorted by length, and what each may say at most."""

    def __init__(self, folder: Path, manifest: Path, n: int, forced: bool, float32: bool):
        self.system, self.model = store.load(store.find(folder))
        if float32:
            self.model.float()
        origins = states.origins(self.system, self.model)
        examples = Examples.of(self.system, Manifest(manifest), answer=False, encoders=origins)
        chosen = [round(i * len(examples.manifest) / n) for i in range(n)]
        made = sorted((examples.make(0, i) for i in chosen), key=lambda one: one.seconds)
        self.examples, self.seconds = made, sum(one.seconds for one in made)
        self.pad = self.system.tokenizer.pad_token_id
        answerer = Answerer(self.system, self.model)
        self.stops, self.close = sorted(answerer.stops), answerer.builder.close[0]
        self.answers = [self._spoken(one) for one in made] if forced else None

    def _spoken(self, one) -> list[int]:
        text = one.row["text"].lower()
        return [*self.system.tokenizer(text, add_special_tokens=False)["input_ids"], self.close]

    def bound(self, i: int) -> int:
        """Most tokens of an utterance's answer."""
        return len(self.answers[i]) if self.answers else int(self.examples[i].seconds * 8) + 8

    def filters(self, rows: list[int]) -> list:
        """What lets rows say their answers, if they are forced."""
        return [Forced(self.answers, rows)] if self.answers else []

    def batches(self, size: int) -> list[list[int]]:
        """Numbers of utterances, so many together, of like lengths."""
        every = list(range(len(self.examples)))
        return [every[i : i + size] for i in range(0, len(every), size)]

    def batch(self, rows: list[int]):
        """Put utterances side by side."""
        return collate([self.examples[i] for i in rows], self.pad)

    def generate(self, batches: list[list[int]]) -> list[tuple]:
        """By transformers: each batch to the end of its longest answer."""
        return [one for rows in batches for one in self._generated(rows)]

    def _generated(self, rows: list[int]) -> list[tuple]:
        result, filters = self.model(self.batch(rows)), self.filters(rows)
        bounds = [self.bound(i) for i in rows]
        with result.joined() as embeddings:
            out = self.model.llm.generate(
                inputs_embeds=embeddings, attention_mask=result.layout.segments, do_sample=False,
                max_new_tokens=max(bounds), eos_token_id=self.stops, pad_token_id=self.pad,
                logits_processor=[one.processor for one in filters],
                suppress_tokens=[self.pad], return_dict_in_generate=True, output_logits=True,
            )  # fmt: skip
        return [(self._cut(out.sequences[k].tolist(), n), self._score(out, k, n))
                for k, n in enumerate(bounds)]  # fmt: skip

    def _cut(self, ids: list[int], bound: int) -> list[int]:
        ids = ids[:bound]
        return ids[: next((i for i, id in enumerate(ids) if id in self.stops), len(ids))]

    def _score(self, out, row: int, bound: int) -> float:
        """Mean log-probability of an answer, its end among it, from the logits of each step."""
        ids = out.sequences[row].tolist()[:bound]
        n = min(len(self._cut(ids, bound)) + 1, len(ids))
        return sum(out.logits[i][row].float().log_softmax(-1)[ids[i]].item() for i in range(n)) / n

    def plain(self, batches: list[list[int]], config=GREEDY) -> list[tuple]:
        """By batches of ours, which rows that have ended leave."""
        found = []
        for rows in batches:
            answerer = Answerer(self.system, self.model, config, self.filters(rows))
            answers = answerer(self.batch(rows), [self.bound(i) for i in rows])
            found += [(answer.ids, answer.score) for answer in answers]
        return found

    def refilled(self, batches: list[list[int]]) -> list[tuple]:
        """As plain, but others begin where rows have ended; the longest first."""
        size, order = len(batches[0]), sorted((i for rows in batches for i in rows), reverse=True)
        answerer = Answerer(self.system, self.model, GREEDY, self.filters(order))
        step = max(size // many.GROUPS, 1)

        def make(rows: list[int]):
            return self.batch(rows), [self.bound(i) for i in rows]

        rows = (order[first : first + step] for first in range(0, len(order), step))
        groups = many.waiting((many.Group(some, float(len(some)), make) for some in rows), size)
        found = dict(one for _, ended in many.answered(answerer, groups, size) for one in ended)
        return [(found[i].ids, found[i].score) for i in sorted(order)]

    def drafted(self, batches: list[list[int]]) -> list[tuple]:
        """One by one, the LLM checking what the CTC head reads."""
        return self.plain(batches, search.Config(max_repeats=0, draft="ctc"))

    def first_word_s(self, config) -> float:
        """Median seconds from an utterance's states to its first word, alone."""
        waits = []
        for i in range(0, len(self.examples), max(len(self.examples) // 8, 1)):
            answerer = Answerer(self.system, self.model, config, self.filters([i]))
            began, said = time.perf_counter(), []
            for news in answerer.said(self.batch([i]), [self.bound(i)]):
                said += [id for _, id in news]
                # a word is over when the next one, or the end, has begun
                if len(answerer.text(said).split()) > 1 or said[-1] in self.stops:
                    break
            waits.append(time.perf_counter() - began)
        return statistics.median(waits)


def ways(bench: Bench, size: int) -> dict:
    """Give the ways that serve at a batch size: batches -> (ids, score) of each utterance."""
    found = {"generate": bench.generate, "plain": bench.plain}
    if size > 1 and joins(bench.model):
        found["refilled"] = bench.refilled
    if size == 1 and "ctc" in bench.model.heads:
        found["drafted"] = bench.drafted
    return found


def measured(bench: Bench, size: int, turns: int, only: list[str]) -> list[str]:
    """Run each way `turns` times, in turns; give the lines of the table."""
    chosen, batches = ways(bench, size), bench.batches(size)
    chosen = {k: way for k, way in chosen.items() if not only or k in ("generate", *only)}
    for way in chosen.values():
        way(batches[:1])  # warm-up
    answers, spent = {}, {name: [] for name in chosen}
    for _ in range(turns):
        for name, way in chosen.items():
            began = time.perf_counter()
            answers[name] = way(batches)
            spent[name].append(time.perf_counter() - began)
    rows, base = [], min(spent["generate"])
    for name, way in chosen.items():
        same = sum(a[0] == b[0] for a, b in zip(answers[name], answers["generate"], strict=True))
        off = max((abs(a[1] - b[1]) for a, b in zip(answers[name], answers["generate"], strict=True)
                   if a[0] == b[0]), default=math.nan)  # fmt: skip
        with Live() as live:  # of the longest
            way(batches[-1:])
        first = ""
        if size == 1 and name != "generate":
            config = search.Config(max_repeats=0, draft="ctc" if name == "drafted" else "")
            first = f"{bench.first_word_s(config):.2f}"
        best = min(spent[name])
        rows.append(
            f"| {size} | {name} | {bench.seconds / best:.1f} | {base / best:.2f} | {first} | "
            f"{live.peak / 1e6:.0f} | {same} of {len(answers[name])} | {off:.1e} |"
        )
    return rows


@torch.no_grad()
def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="an experiment or a checkpoint of ours")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--utterances", type=int, default=32)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--turns", type=int, default=2, help="of which the best counts")
    parser.add_argument("--forced", action="store_true", help="all say the transcripts")
    parser.add_argument("--float32", action="store_true", help="whatever the LLM's weights are")
    parser.add_argument("--ways", nargs="+", default=[], help="only these, and generate")
    args = parser.parse_args()
    bench = Bench(args.model, args.manifest, args.utterances, args.forced, args.float32)
    print(f"{args.utterances} utterances, {bench.seconds:.0f} s, {torch.get_num_threads()} threads")
    print("| batch | way | RTFx | to generate | first word, s | MB | same text | score off by |")
    print("|---|---|---|---|---|---|---|---|")
    for size in args.sizes:
        print("\n".join(measured(bench, size, args.turns, args.ways)), flush=True)


if __name__ == "__main__":
    main()
