"""How fast a system trains and decodes, against transformers' own model of its family.

    python benchmarks/model.py qwen2_audio [--size real] [--device cuda] [--runs 5] [--quick]
    python benchmarks/model.py memory
    python benchmarks/model.py --parts DIR [--compile]     # real parts: model_parts.py

Random weights, no download; a peer gets ours, and the answers must be the same. Utterances of 2 to
30 s, mixed. The front end is outside the clock, but in the rows "from waves": those go all the way
from waves and talks to new weights, the peer by its family's own processor. Ours and the peer's
runs are interleaved, figures are medians. MFU counts what each utterance takes alone, so padding is
no work; on a CPU the peak is that of a matrix product of 1024. `memory` compares logits at labels
with logits everywhere.

Voxtral sees windows of 30 s whole, silence included, and each of its utterances fills half a row or
more: nothing can be left out or packed there. The frozen encoder, the same work on both sides, is
some 60 % of a step of the tiny form, so that training is not 1.5 times the peer's; the split is
printed.
"""

import argparse

import model_parts
import model_peers
import torch
from model_case import TOKENS_PER_S, Case, durations
from model_clock import Laps, flops, medians, peak_flops, peak_mb, split, verdict

from speechllm import config
from speechllm.decode import search
from speechllm.models.system import System
from speechllm.objectives import language_modelling

TRAINING_TARGET, DECODING_TARGET = 1.5, 1.0
UNGUARDED = search.Config(max_repeats=0)  # every answer is as long as its bound


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("preset", nargs="?", help="a preset's name, or `memory`")
    parser.add_argument("--parts", help="folder of whisper-base and gemma-3-270m: a step of these")
    parser.add_argument("--compile", action="store_true", help="with --parts: compiled as well")
    parser.add_argument("--size", choices=("tiny", "real"), default="tiny")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rows", type=int, default=16, help="utterances of a training batch")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16], help="of decoding")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument(
        "--quick", action="store_true", help="4 utterances, batches of 1 and 4, 2 runs"
    )
    args = parser.parse_args()
    if args.quick:
        args.rows, args.batches, args.runs = 4, [1, 4], 2
    if args.parts:
        return model_parts.main(args)
    if not args.preset:
        parser.error("wanted a preset's name, `memory` or --parts DIR")
    if args.preset == "memory":
        return memory(args)
    case = Case(args.preset, args.size, args.device)
    name = torch.cuda.get_device_name() if args.device == "cuda" else "CPU"
    threads = f"{torch.get_num_threads()} threads, " if args.device == "cpu" else ""
    sizes = f"{sum(p.numel() for p in case.ours.parameters()):,} parameters"
    print(f"{args.preset} {args.size}, {sizes}, {name}, {threads}torch {torch.__version__}")
    decoding(case, args)  # first: training takes the two sets of weights apart
    training(case, args)


def step_of(model, loss_of):
    """Make an optimiser step of a model; answers with seconds of forward, backward, optimiser."""
    learning = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=1e-5)

    def step():
        clock = Laps()
        loss = loss_of()
        clock.lap()
        loss.backward()
        clock.lap()
        optimizer.step()
        optimizer.zero_grad()
        clock.lap()
        return clock.laps

    return step


def steps_of(case: Case, said: list, args) -> tuple[dict, list, tuple]:
    """Make the steps that are timed, by name; and the examples and batches that they see.

    "from waves": the front end or processor, the tokenizer and the padding are inside the clock.
    """
    examples = case.examples(said)
    size = max(len(e.encoded.ids) for e in examples)
    plain, packed = case.batch(examples), case.batch(examples, pack=size)
    objective = language_modelling.Config().build(case.ours)

    def ours(batch):
        total, count = objective(case.ours(batch))
        return total / count

    steps = {
        "ours": step_of(case.ours, lambda: ours(plain)),
        "ours, packed": step_of(case.ours, lambda: ours(packed)),
        "ours, packed, from waves": step_of(
            case.ours, lambda: ours(case.batch(case.examples(said), pack=size))
        ),
    }
    if case.theirs:
        made = model_peers.inputs(case.name, plain, case.pad)
        waves = [wave.numpy() for wave, _ in said]
        texts = [case.system.tokenizer.decode(e.encoded.ids) for e in examples]

        def processed():
            return case.moved(model_peers.processed(case.name, waves, texts, case.system.tokenizer))

        def theirs(inputs):
            return case.theirs(**inputs, labels=plain.labels, use_cache=False).loss

        same(made, processed())
        with torch.no_grad():
            pair = ours(plain).item(), theirs(made).item()
        assert abs(pair[0] - pair[1]) < (1e-3 if args.device == "cpu" else 0.05), pair
        steps["transformers"] = step_of(case.theirs, lambda: theirs(made))
        steps["transformers, from waves"] = step_of(case.theirs, lambda: theirs(processed()))
    return steps, examples, (plain, packed)


def same(made: dict, processed: dict) -> None:
    """Make sure that the peer's own processor gives what we gave the peer."""
    assert made.keys() == processed.keys()
    for key, value in made.items():
        torch.testing.assert_close(processed[key], value, atol=2e-2, rtol=0, check_dtype=False)


def training(case: Case, args) -> None:
    """Time optimiser steps on one batch."""
    steps, examples, batches = steps_of(case, case.said(durations(args.rows)), args)
    objective = language_modelling.Config().build(case.ours)

    def alone(example):
        total, count = objective(case.ours(case.batch([example])))
        (total / count).backward()

    useful = sum(flops(lambda e=e: alone(e)) for e in examples)
    case.ours.zero_grad()
    seconds = dict(zip(steps, medians(list(steps.values()), args.runs, args.device), strict=True))
    audio, top = sum(e.seconds for e in examples), peak_flops(args.device)
    tokens = sum(len(e.encoded.ids) for e in examples)
    cells = [batch.ids.numel() for batch in batches]
    print(f"\ntraining: {args.rows} utterances, {audio:.0f} s, {tokens} positions, "
          f"{cells[0]} with padding, {cells[1]} packed")  # fmt: skip
    print(f"{'':<26}{'tokens/s':>10}{'audio h/h':>11}{'MFU %':>7}{'peak MB':>9}{'times':>7}")
    for name, took in seconds.items():
        peer = "transformers, from waves" if "waves" in name else "transformers"
        times = f"{seconds[peer] / took:.2f}" if case.theirs else "-"
        mb = peak_mb(steps[name], args.device)
        print(f"{name:<26}{tokens / took:>10,.0f}{audio / took:>11.1f}"
              f"{100 * useful / took / top:>7.1f}{mb:>9.0f}{times:>7}")  # fmt: skip
    for name, model in (("ours, packed", case.ours), ("transformers", case.theirs)):
        if model:
            print(f"{name}: {split(steps[name], case.encoder(model), args.runs)}")
    if case.theirs:
        for end in ("", ", from waves"):
            times = seconds["transformers" + end] / seconds["ours, packed" + end]
            verdict("training, packed" + end, times, TRAINING_TARGET)


@torch.no_grad()
def decoding(case: Case, args) -> None:
    """Time greedy answers, each as long as its utterance's speech."""
    print(
        f"\ndecoding: RTFx\n{'batch':<8}{'audio s':>8}{'ours':>9}{'transformers':>14}{'times':>7}"
    )
    worst = []
    case.ours.eval()
    for rows in args.batches:
        examples = case.examples(case.said(durations(rows)), answer=False)
        batch = case.batch(examples)
        bounds = [int(e.seconds * TOKENS_PER_S) for e in examples]
        found = {}

        def ours(batch=batch, bounds=bounds, found=found):
            answers = search.answers(case.ours(batch), bounds, (), case.pad, UNGUARDED)
            found["ours"] = [answer.ids for answer in answers]

        functions = [ours]
        if case.theirs:
            inputs = model_peers.inputs(case.name, batch, case.pad)

            def theirs(inputs=inputs, bounds=bounds, found=found):
                out = model_peers.generate(case.theirs.eval(), inputs, bounds, case.pad)
                found["theirs"] = [ids[:n] for ids, n in zip(out, bounds, strict=True)]

            functions.append(theirs)
        seconds = medians(functions, args.runs, args.device)
        if args.device == "cpu" and case.theirs:
            assert found["ours"] == found["theirs"], "the answers differ"
        audio = sum(e.seconds for e in examples)
        cells = [f"{audio / took:,.1f}" for took in seconds] + ["-"] * (2 - len(seconds))
        times = seconds[-1] / seconds[0]
        worst.append(times)
        print(f"{rows:<8}{audio:>8.0f}{cells[0]:>9}{cells[1]:>14}"
              f"{f'{times:.2f}' if case.theirs else '-':>7}")  # fmt: skip
    if case.theirs:
        verdict("decoding, slowest row", min(worst), DECODING_TARGET)


def memory(args) -> None:
    """Print the peak memory of a training step: 30 s of audio, an answer of 120, V = 151,936."""
    settings = {"model_type": "qwen2", "hidden_size": 256, "intermediate_size": 512,
                "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
                "vocab_size": 151_936, "tie_word_embeddings": True}  # fmt: skip
    case = Case("qwen2_audio", "tiny", args.device)
    tables = {**case.system.preset.tables}
    tables["llm"] = {**tables["llm"], "config": settings}
    case.system = System(config.Preset(tables, "memory"), case.system.tokenizer)
    case.ours = case.system.build().to(args.device).requires_grad_(False)
    case.ours.adapter.requires_grad_(True)
    objective = language_modelling.Config().build(case.ours)
    print(f"{'rows':<6}{'positions':>10}{'labels':>8}{'everywhere MB':>15}{'at labels MB':>14}")
    for rows in (1, 4):
        batch = case.batch(case.examples(case.said([30.0] * rows)))

        def labels(batch=batch):
            total, count = objective(case.ours(batch))
            (total / count).backward()

        def everywhere(batch=batch):
            result = case.ours(batch)
            with result.joined() as embeddings:
                case.ours.llm(
                    inputs_embeds=embeddings, attention_mask=batch.segments,
                    position_ids=batch.positions, labels=batch.labels, use_cache=False,
                ).loss.backward()  # fmt: skip

        plain, ours = peak_mb(everywhere, args.device), peak_mb(labels, args.device)
        print(
            f"{rows:<6}{batch.ids.numel():>10}{objective.count(batch):>8}{plain:>15.0f}{ours:>14.0f}"
        )


if __name__ == "__main__":
    main()
