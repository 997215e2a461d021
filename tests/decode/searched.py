"""Models and batches to search in, small and random: of several LLMs; with CTC heads."""

from dataclasses import replace

import torch

from speechllm import config
from speechllm.data.batch import Media
from speechllm.data.collate import collate
from speechllm.data.examples import Examples
from speechllm.data.manifest import Manifest
from speechllm.decode import search
from speechllm.decode.heard import head_of
from speechllm.models.heads.ctc import Config as Head
from speechllm.models.system import System
from speechllm.models.tiny import wake

LIVELY = "llm.config.initializer_range=0.5"  # so that answers are not one token over and over
CROSS = "fusion={name='cross_attention',every=1}"
GEMMA = (
    'llm.config={model_type="gemma2",hidden_size=32,intermediate_size=64,head_dim=16,'
    "num_hidden_layers=2,num_attention_heads=2,num_key_value_heads=1,sliding_window=12}"
)
UNGUARDED = search.Config(max_repeats=0)
CASES = {
    "interleave": [LIVELY],
    "cross_attention": [LIVELY, CROSS],
    "LoRA of a medium": [LIVELY, "llm.lora.media=['audio']"],
    "sliding window": [GEMMA, "llm.attention='eager'"],
}
LETTERS = " lowmidhgsayrte"
HEADS = {
    "letters": (f"adapter={{name='ctc_posterior',letters='{LETTERS}',convs=1}}", "posterior"),
    "pieces": ("adapter={name='ctc_posterior'}", "posterior"),
    "of its own": (LIVELY, "encoder"),
}


def made(tiny, head: str):
    """A system whose CTC head is random and sure of itself, and its model."""
    changes, on = HEADS[head]
    preset = config.changed(config.load(tiny / "tiny.toml"), [LIVELY, changes])
    system = System.open(preset, str(tiny / "bpe"))
    model = system.build().eval()
    torch.manual_seed(3)
    wake(model, std=0.3)
    model.take_head("ctc", Head(on).build(model).eval())
    own = model.heads["ctc"].head or model.adapter.head
    last = own.linear if hasattr(own, "linear") else own
    torch.nn.init.normal_(last.weight, std=1.5)
    last.bias.data[-1] -= 4.0  # fewer blanks
    if not model.heads["ctc"].letters:
        last.bias.data[system.tokenizer.all_special_ids] -= 30.0  # as none was ever a target
    return system, model


def batch_of(system, tiny, rows=range(4)):
    examples = Examples.of(system, Manifest(tiny / "train.jsonl"), answer=False)
    return collate([examples.make(0, i) for i in rows], system.tokenizer.pad_token_id)


def hearing(monkeypatch, system, model, text: str):
    """Let a model's head hear a text, two frames a unit and a blank between."""
    head = head_of(model)
    letters = head.letters
    ids = system.tokenizer(text, add_special_tokens=False)["input_ids"]
    units = [letters.index(c) for c in text] if letters else ids
    path = [u for unit in units for u in (unit, unit, head.blank)]
    logits = 6.0 * torch.nn.functional.one_hot(torch.tensor(path), head.blank + 1).float()

    def forward(self, result, dropout=None):
        n = len(result.batch.names)
        return logits.expand(n, -1, -1), torch.full((n,), len(path))

    monkeypatch.setattr(type(head), "forward", forward)


def only(batch, row: int):
    """One row of a batch of one medium a row, alone, as it stands there."""
    slots = batch.slots[row : row + 1].clone()
    slots[:, 0] = 0
    parts = ("ids", "labels", "positions", "segments", "kinds")
    taken = {name: getattr(batch, name)[row : row + 1] for name in parts}
    taken["media"] = {"audio": Media(*(t[row : row + 1] for t in batch.media["audio"]))}
    names, kinds = batch.names[row : row + 1], batch.modalities[row : row + 1]
    return replace(batch, slots=slots, names=names, modalities=kinds, **taken)
