"""How fast a system trains and decodes, against transformers' own model of its family.

    python benchmarks/model.py qwen2_audio [--size real] [--device cuda] [--runs 5] [--quick]
    python benchmarks/model.py memory

Random weights, no download; a peer gets ours, and the answers must be the same. Utterances of 2 to
30 s, mixed; the front end is outside the clock. Ours and the peer's runs are interleaved, figures
are medians. MFU counts what each utterance takes alone, so padding is no work; on a CPU the peak is
that of a matrix product of 1024. `memory` compares logits at labels with logits everywhere.

Voxtral sees windows of 30 s whole, silence included, and each of its utterances fills half a row or
more: nothing can be left out or packed there, so that its training is not 1.5 times the peer's.
"""

import argparse
import dataclasses

import model_peers
import torch
from model_clock import flops, medians, peak_flops, peak_mb, verdict

from speechllm import config
from speechllm.data.chat import Builder
from speechllm.data.collate import collate
from speechllm.data.examples import Example
from speechllm.models import generation, tiny
from speechllm.models.system import System
from speechllm.objectives import language_modelling

TOKENS_PER_S = 4  # of speech, as text
TRAINING_TARGET, DECODING_TARGET = 1.5, 1.0


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("preset", help="a preset's name, or `memory`")
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
    if args.preset == "memory":
        return memory(args)
    case = Case(args.preset, args.size, args.device)
    name = torch.cuda.get_device_name() if args.device == "cuda" else "CPU"
    threads = f"{torch.get_num_threads()} threads, " if args.device == "cpu" else ""
    sizes = f"{sum(p.numel() for p in case.ours.parameters()):,} parameters"
    print(f"{args.preset} {args.size}, {sizes}, {name}, {threads}torch {torch.__version__}")
    decoding(case, args)  # first: training takes the two sets of weights apart
    training(case, args)


class Case:
    """A system, its model, and the peer with the same weights, where there is one."""

    def __init__(self, name: str, size: str, device: str):
        made = model_peers.make(name, size) if name in model_peers.FAMILIES else None
        preset = made[0] if made else config.load(name)
        preset = tiny.shrink(preset) if size == "tiny" and not made else tiny.bare(preset)
        self.system = System(preset, tiny.tokenizer(preset))
        self.device, self.name = device, name
        self.pad = self.system.tokenizer.pad_token_id
        dtype = torch.bfloat16 if device == "cuda" else torch.float32
        self.ours = self.system.build().to(device, dtype)
        self.theirs = None
        if made:
            self.theirs = model_peers.build(made[1], self.pad).to(device, dtype)
            model_peers.share(name, self.theirs, self.ours)
        for model in filter(None, (self.ours, self.theirs)):
            for part, parameter in model.named_parameters():
                parameter.requires_grad_("encoder." not in part and "audio_tower" not in part)

    def examples(self, seconds: list[float], answer: bool) -> list[Example]:
        """Make examples of noise and random letters."""
        builder, front = Builder.of(self.system), self.system.extractor
        made = []
        for i, s in enumerate(seconds):
            generator = torch.Generator().manual_seed(i)
            x, n = front(0.1 * torch.randn(int(s * front.sampling_rate), generator=generator))
            letters = torch.randint(97, 123, (int(s * TOKENS_PER_S),), generator=generator)
            content = [{"type": "audio"}, {"type": "text", "text": "Transcribe the speech."}]
            talk = [
                {"role": "user", "content": content},
                {"role": "assistant", "content": "".join(map(chr, letters))},
            ]
            encoded = builder.build(talk, [self.system.soft_tokens(n)], answer)
            made.append(Example({"id": str(i), "duration": s}, encoded, [x], [n]))
        return made

    def batch(self, examples: list[Example], pack: int = 0):
        """Collate, on the device, in the model's precision."""
        batch = collate(examples, self.pad, pack=pack).to(self.device)
        return dataclasses.replace(batch, media=batch.media.to(next(self.ours.parameters()).dtype))


def durations(n: int) -> list[float]:
    """Draw n durations from 2 to 30 s, the longest 30 s."""
    generator = torch.Generator().manual_seed(1)
    drawn = 2 + 28 * torch.rand(n, generator=generator)
    return [30.0, *drawn.tolist()][:n] if n > 1 else [12.0]


def step_of(model, loss_of):
    """Make an optimiser step of a model."""
    learning = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=1e-5)

    def step():
        loss_of().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def training(case: Case, args) -> None:
    """Time optimiser steps on one batch."""
    examples = case.examples(durations(args.rows), answer=True)
    lengths = [len(e.encoded.ids) for e in examples]
    plain, packed = case.batch(examples), case.batch(examples, pack=max(lengths))
    objective = language_modelling.Config().build(case.ours)

    def ours(batch):
        total, count = objective(case.ours(batch))
        return total / count

    steps = {
        "ours": step_of(case.ours, lambda: ours(plain)),
        "ours, packed": step_of(case.ours, lambda: ours(packed)),
    }
    useful = sum(flops(lambda e=e: ours(case.batch([e])).backward()) for e in examples)
    case.ours.zero_grad()
    if case.theirs:
        inputs = model_peers.inputs(case.name, plain, case.pad)
        labels = plain.labels
        with torch.no_grad():
            pair = ours(plain).item(), case.theirs(**inputs, labels=labels).loss.item()
        assert abs(pair[0] - pair[1]) < (1e-3 if args.device == "cpu" else 0.05), pair
        steps["transformers"] = step_of(
            case.theirs, lambda: case.theirs(**inputs, labels=labels, use_cache=False).loss
        )
    seconds = medians(list(steps.values()), args.runs, args.device)
    audio, top = sum(e.seconds for e in examples), peak_flops(args.device)
    cells = len(plain.ids) * plain.ids.shape[1], len(packed.ids) * packed.ids.shape[1]
    print(f"\ntraining: {args.rows} utterances, {audio:.0f} s, {sum(lengths)} positions, "
          f"{cells[0]} with padding, {cells[1]} packed")  # fmt: skip
    print(f"{'':<14}{'tokens/s':>10}{'audio h/h':>11}{'MFU %':>7}{'peak MB':>9}{'times':>7}")
    for (name, step), took in zip(steps.items(), seconds, strict=True):
        mb = peak_mb(step, args.device)
        times = f"{seconds[-1] / took:.2f}" if case.theirs else "-"
        print(f"{name:<14}{sum(lengths) / took:>10,.0f}{audio / took:>11.1f}"
              f"{100 * useful / took / top:>7.1f}{mb:>9.0f}{times:>7}")  # fmt: skip
    if case.theirs:
        verdict("training, packed", seconds[-1] / seconds[1], TRAINING_TARGET)


@torch.no_grad()
def decoding(case: Case, args) -> None:
    """Time greedy answers, each as long as its utterance's speech."""
    print(
        f"\ndecoding: RTFx\n{'batch':<8}{'audio s':>8}{'ours':>9}{'transformers':>14}{'times':>7}"
    )
    worst = []
    case.ours.eval()
    for rows in args.batches:
        examples = case.examples(durations(rows), answer=False)
        batch = case.batch(examples)
        bounds = [int(e.seconds * TOKENS_PER_S) for e in examples]
        found = {}

        def ours(batch=batch, bounds=bounds, found=found):
            answers = generation.generate(case.ours(batch), bounds, -1, case.pad, max_repeats=0)
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
        batch = case.batch(case.examples([30.0] * rows, answer=True))

        def labels(batch=batch):
            total, count = objective(case.ours(batch))
            (total / count).backward()

        def everywhere(batch=batch):
            result = case.ours(batch)
            case.ours.llm(
                inputs_embeds=result.embeddings, attention_mask=batch.segments,
                position_ids=batch.positions, labels=batch.labels, use_cache=False,
            ).loss.backward()  # fmt: skip

        plain, ours = peak_mb(everywhere, args.device), peak_mb(labels, args.device)
        print(
            f"{rows:<6}{batch.ids.numel():>10}{objective.count(batch):>8}{plain:>15.0f}{ours:>14.0f}"
        )


if __name__ == "__main__":
    main()
