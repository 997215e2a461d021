"""How much of its text an LLM keeps: perplexity of held-out text after each phase of experiments.

    python benchmarks/text_kept.py exp/whisper_llm --text eng-deu.tsv.gz --every 100

The LLM as it came stands first, then what each phase made of it; last the newest phase again with
its LoRA gated (`llm.lora.media`), so that it takes part only where there is sound. A LoRA that was
trained on sound alone has then learned the same, as every position of its training was open.
`--text` has a sentence a line, or a table whose first column they are (.tsv, .tsv.gz); each is read
by itself, after the <bos> that the preset's chat begins with, as in a prompt. One thread, bfloat16
weights computed as they are.
"""

import argparse
import gzip
import math
from pathlib import Path

import torch

from speechllm import config, files
from speechllm.models import filling, heads, lora, store, whole
from speechllm.models.model import SpeechLLM
from speechllm.models.system import System


def sentences(path: Path, every: int) -> list[str]:
    """Each `every`th line's first column."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        lines = [line.rstrip("\n").split("\t")[0] for line in file]
    return [text for text in lines[::every] if text]


@torch.no_grad()
def perplexity(system: System, model: SpeechLLM, texts: list[str], rows: int = 32) -> float:
    """Exponential of the mean negative log-likelihood (nats) of a token of the texts."""
    tokenizer, llm = system.tokenizer, model.llm
    first = [tokenizer.bos_token_id] if system.preset.table("chat").get("bos", True) else []
    lines = [first + tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    lines = sorted((line for line in lines if len(line) > 1), key=len)
    total, count = 0.0, 0
    for begin in range(0, len(lines), rows):
        part = [torch.tensor(line) for line in lines[begin : begin + rows]]
        ids = torch.nn.utils.rnn.pad_sequence(part, batch_first=True)
        there = torch.nn.utils.rnn.pad_sequence([torch.ones_like(x) for x in part], True).bool()
        logits = llm(input_ids=ids, attention_mask=there.long(), use_cache=False).logits
        targets = ids[:, 1:].masked_fill(~there[:, 1:], -100)
        loss = torch.nn.functional.cross_entropy(
            logits[:, :-1].float().flatten(0, 1), targets.flatten(), reduction="sum"
        )
        total, count = total + loss.item(), count + int((targets >= 0).sum())
    return math.exp(total / count)


def gated(folder: Path) -> tuple[System, SpeechLLM]:
    """Load a checkpoint with its LoRA open where there is sound, and nowhere else.

    Raises:
        ValueError: it has none, or several.
    """
    system = store.system_of(folder)
    if list(lora.read(system.preset.table("llm").get("lora", {}))) != [lora.DEFAULT]:
        raise ValueError(f"{folder}: wanted one LoRA in its LLM, without a name")
    preset = config.changed(system.preset, ["llm.lora.media=['audio']"])
    system = System(preset, system.tokenizer)
    with filling.Blank():
        model = system.build()
        facts = whole.facts(folder)
        heads.attach(model, facts, str(folder / whole.FACTS))
    tensors = store.state(system, model, facts["trained"])
    filling.fill(model, tensors, folder / "model.safetensors")
    return system, model.eval()


def measure(experiment: Path, texts: list[str]) -> None:
    """Print the perplexities of one experiment."""
    names = [phase["name"] for phase in files.read_json(experiment / "phases.json", list)]
    phases = [name for name in names if store.checkpoints(experiment / name)]
    for number, phase in enumerate(phases):
        folder = store.find(experiment / phase)
        system, model = store.load(folder)
        if not number:
            with model.untouched():
                print(f"{experiment}  as it came  {perplexity(system, model, texts):.2f}")
        print(f"{experiment}  after {phase}  {perplexity(system, model, texts):.2f}", flush=True)
    print(f"{experiment}  {phases[-1]}, gated  {perplexity(*gated(folder), texts):.2f}")


def main() -> None:
    """Measure each experiment."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("experiments", type=Path, nargs="+")
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--every", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    texts = sentences(args.text, args.every)
    print(f"{args.text}: {len(texts)} texts")
    for experiment in args.experiments:
        measure(experiment, texts)


if __name__ == "__main__":
    main()
