"""Small published checkpoints, made with transformers' own classes, and their comparison with ours.

Each family is imported from what transformers saves; then the same conversations go through the
family's own processor and through our front end and builder, and both models answer.
"""

import dataclasses
import json
import sys
from pathlib import Path

import accelerate
import numpy as np
import pytest
import soundfile
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from speechllm import cli
from speechllm.data.batch import IGNORE
from speechllm.data.chat import Builder
from speechllm.data.collate import collate
from speechllm.data.examples import Examples
from speechllm.data.manifest import Manifest, write
from speechllm.decode import search
from speechllm.models import export, lora, store
from speechllm.models.importing import bring
from speechllm.models.system import System
from speechllm.train import loop, start
from speechllm.train.context import Run

RATE = 16000
CHATML = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEXT = {  # of an LLM of any family, small
    "vocab_size": 320,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "initializer_range": 0.3,  # so that 30 tokens are not 30 times the same one
}
WHISPER = {
    "num_mel_bins": 128,
    "encoder_layers": 2,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "d_model": 32,
    "initializer_range": 0.1,
}


def tokenizer_of(specials: list[str], **named) -> PreTrainedTokenizerFast:
    """Make a tokenizer of bytes, with special tokens; `named` are eos_token, pad_token, ..."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(["What is that sound?", "Transcribe the speech."] * 3, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=made, additional_special_tokens=specials, **named
    )


def waves(*samples: int) -> list[np.ndarray]:
    """Make noisy glides of so many samples."""
    made = []
    for i, n in enumerate(samples):
        time, rng = np.arange(n) / RATE, np.random.default_rng(i)
        glide = np.sin(2 * np.pi * (200 + 150 * i + 60 * time) * time) * np.sin(3 * time + i)
        made.append((0.3 * glide + 0.02 * rng.standard_normal(n)).astype(np.float32))
    return made


def published(model, folder: Path, tokenizer) -> Path:
    """Save a checkpoint with its tokenizer as the Hub has it."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:  # norms and biases that say something
                parameter.add_(0.1 * torch.randn_like(parameter))
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@dataclasses.dataclass
class Pair:
    """An imported model, and what it was made from."""

    theirs: torch.nn.Module
    folder: Path  # ours
    room: Path  # for files of audio

    def __post_init__(self):
        self.system, self.ours = store.load(self.folder)
        self.builder = Builder.of(self.system)

    def batch(self, conversations: list[list[dict]]):
        """Make our batch of conversations whose audio parts hold waves."""
        rows = [
            {"id": str(i), "duration": 1.0, "messages": self._filed(conversation, i)}
            for i, conversation in enumerate(conversations)
        ]
        write(self.room / "rows.jsonl", rows)
        examples = Examples.of(self.system, Manifest(self.room / "rows.jsonl"), answer=False)
        made = [examples.make(0, i) for i in range(len(rows))]
        return collate(made, self.system.tokenizer.pad_token_id)

    def _filed(self, conversation: list[dict], row: int) -> list[dict]:
        """Write the waves of a conversation into files."""
        filed = []
        for turn, message in enumerate(conversation):
            content = message["content"]
            for i, part in enumerate([] if isinstance(content, str) else content):
                if part["type"] == "audio":
                    path = self.room / f"{row}-{turn}-{i}.wav"
                    soundfile.write(path, part["audio"], RATE, subtype="FLOAT")
                    part = {"type": "audio", "audio": str(path)}
                    content = [*content[:i], part, *content[i + 1 :]]
            filed.append({**message, "content": content})
        return filed

    @torch.no_grad()
    def logits(self, batch, inputs: dict, positions=True) -> tuple[torch.Tensor, torch.Tensor]:
        """Give logits (positions, V) of ours and theirs, at all positions that are no padding.

        positions: theirs are those of the text; not so where they count rows and columns.
        """
        labels = batch.ids.masked_fill(batch.segments == 0, IGNORE)
        result = self.ours(dataclasses.replace(batch, labels=labels))
        # as their own generate counts them, from the first token on
        more = {"position_ids": batch.positions} if positions else {}
        theirs = self.theirs(**inputs, **more).logits[:, -batch.ids.shape[1] :]
        return result.logits, theirs[result.places]

    @torch.no_grad()
    def tokens(self, batch, inputs: dict, n: int = 30) -> tuple[list, list]:
        """Give n greedy tokens of ours and theirs, row by row; neither may say the placeholder."""
        pad = self.system.tokenizer.pad_token_id
        bounds = [n] * len(batch.ids)
        answers = search.answers(self.ours(batch), bounds, (), pad, search.Config(max_repeats=0))
        out = self.theirs.generate(
            **inputs, max_new_tokens=n, do_sample=False, eos_token_id=-1, pad_token_id=pad,
            suppress_tokens=[pad],
        )  # fmt: skip
        return [answer.ids for answer in answers], out[:, -n:].tolist()


@torch.no_grad()
def alone(pair: Pair, batch, inputs: list[dict], n: int = 30) -> tuple[list, list]:
    """Give logits and n greedy tokens of each row: ours of the whole batch, theirs row by row.

    For families whose padded rows depend on the padding; their LoRA is on where a row has audio.
    """
    pad = pair.system.tokenizer.pad_token_id
    result = pair.ours(dataclasses.replace(batch, labels=batch.ids.clone()))
    logits = [result.logits[result.places[0] == i] for i in range(len(batch.ids))]
    bounds = [n] * len(logits)
    answers = search.answers(pair.ours(batch), bounds, (), pad, search.Config(max_repeats=0))
    ours = [(row, answer.ids) for row, answer in zip(logits, answers, strict=True)]
    theirs = []
    for row in inputs:
        switch_loras(pair.theirs, row)
        out = pair.theirs.generate(
            **row, max_new_tokens=n, do_sample=False, eos_token_id=-1, pad_token_id=pad,
            suppress_tokens=[pad],
        )  # fmt: skip
        theirs.append((pair.theirs(**row).logits[0, :-1], out[0, -n:].tolist()))
    return ours, theirs


def switch_loras(model, row: dict) -> None:
    """Switch a model's LoRAs on where a row has media; of several the one that is for them."""
    if len(row) <= 2:
        model.disable_adapters()
        return
    model.enable_adapters()
    if len(model.peft_config) > 1:
        model.set_adapter("vision" if "image_pixel_values" in row else "speech")


def turn(*parts) -> dict:
    """Make a user's turn of texts, waves and pictures, whose paths they are."""
    kinds = {str: ("text", "text"), np.ndarray: ("audio", "audio")}
    named = [(*kinds.get(type(part), ("image", "image")), part) for part in parts]
    content = [
        {"type": kind, key: str(part) if kind == "image" else part} for kind, key, part in named
    ]
    return {"role": "user", "content": content}


def conversations(a, b, c) -> dict[str, list]:
    """Give batches of conversations about three waves: one medium, several, padding."""
    answer = {"role": "assistant", "content": "this"}
    return {
        "one": [[turn(a, "What is that sound?")]],
        "long": [[turn(c, "Transcribe the speech.")]],
        "several": [[turn(a, "and", b, "which?"), answer, turn(b)]],
        "padding": [[turn(b, "What is that sound?")], [turn("Or", a, "?", c)], [turn("no audio")]],
    }


def audio_of(talks: list[list[dict]]) -> list[np.ndarray]:
    """List the waves of conversations in order."""
    turns = [m["content"] for talk in talks for m in talk if not isinstance(m["content"], str)]
    return [part["audio"] for parts in turns for part in parts if part["type"] == "audio"]


def check(pair: Pair, batch, inputs: dict, atol: float = 1e-4, positions: bool = True) -> None:
    """Hold logits, and 30 greedy tokens, against theirs."""
    ours, wanted = pair.logits(batch, inputs, positions)
    print(f"largest difference of logits {(ours - wanted).abs().max():.1e}")  # seen with -rP
    assert wanted.std() > 0.5
    torch.testing.assert_close(ours, wanted, atol=atol, rtol=0)
    ours, wanted = pair.tokens(batch, inputs)
    assert ours == wanted


def rows_apart(a, b, c, first: tuple[dict, ...] = ()) -> dict[str, list]:
    """As `conversations`, each audio alone or beside text; `first` begins the first of them."""
    answer = {"role": "assistant", "content": "this"}
    return {
        "one": [[*first, turn(a, "What is that sound?")]],
        "long": [[turn(c, "Transcribe the speech.")]],
        "several": [[turn(a, "and", b, "which?"), answer, turn("Or", a)]],
        "padding": [[turn(b, "What?")], [turn("Or", c)], [turn("no audio")]],
    }


def check_alone(
    pair: Pair, talks, inputs: list[dict], heard, stack=1, atol=1e-4, scaling=1.0, also=()
):
    """Hold ids, features, logits and 30 tokens of a batch against theirs, row by row.

    heard: one row's features of theirs, (T, F) an audio; stack: frames they take at once, an
    odd rest is left out; atol: of features; scaling: of ours, which their logits lack; also: other
    placeholders of theirs, where ours has but one.
    """
    batch = pair.batch(talks)
    with torch.no_grad():
        read = pair.ours(batch).layout  # where a slot reserves more than its medium takes
    x, lengths = batch.media.get("audio", ((), torch.tensor([])))
    media = iter(zip(x, lengths.tolist(), strict=True))
    for row, each in enumerate(inputs):
        wanted = each["input_ids"][0]
        wanted = torch.where(
            torch.isin(wanted, torch.tensor(also, dtype=wanted.dtype)),
            pair.system.tokenizer.pad_token_id,
            wanted,
        )
        assert torch.equal(read.ids[row][read.segments[row] > 0], wanted)
        for x in heard(each):
            ours, n = next(media)
            torch.testing.assert_close(ours[: n // stack * stack], x, atol=atol, rtol=0)
            ours[: len(x)] = x  # and then the very inputs of theirs
    assert next(media, None) is None, "we hear more than they do"
    ours, theirs = alone(pair, batch, inputs)
    for (logits, ids), (wanted, wanted_ids) in zip(ours, theirs, strict=True):
        assert wanted.std() > 0.5 and len(set(wanted_ids)) > 5
        torch.testing.assert_close(logits, wanted / scaling, atol=1e-4, rtol=0)
        assert ids == wanted_ids


@torch.no_grad()
def check_padding(pair: Pair, talks, inputs_of, scaling=1.0) -> None:
    """Of a batch in transformers, the row that is padded is not what it is alone; ours is."""
    pair.theirs.enable_adapters()
    alone = pair.theirs(**inputs_of(talks[:1])).logits[0]
    inputs = inputs_of(talks)
    positions = (inputs["attention_mask"].cumsum(1) - 1).clamp(min=0)
    padded = pair.theirs(**inputs, position_ids=positions).logits[0, -len(alone) :]
    assert (padded - alone).abs().max() > 0.01
    batch = pair.batch(talks)
    whole = pair.ours(dataclasses.replace(batch, labels=batch.ids.clone()))
    ours = whole.logits[whole.places[0] == 0]
    torch.testing.assert_close(ours, alone[:-1] / scaling, atol=1e-4, rtol=0)


def check_lora(pair: Pair, out: Path) -> None:
    """LoRA on an import: the loss before is the import's to the bit, and LoRA alone learns."""
    rows = []
    for i, wave in enumerate(waves(27200, 20077)):
        path = pair.room / f"lora{i}.wav"
        soundfile.write(path, wave, RATE)
        rows.append({"id": str(i), "audio": str(path), "duration": len(wave) / RATE, "text": "a b"})
    write(pair.room / "lora.jsonl", rows)
    check_start(pair, Manifest(pair.room / "lora.jsonl"), out)
    shown = ("presets", "show", str(pair.folder), "--set", "llm.lora.r=8", "--seconds", "2")
    assert cli.main(shown) == 0, "what train takes is shown, with its own vocabulary"


def check_start(pair: Pair, manifest: Manifest, out: Path, place: str = "") -> None:
    """As `check_lora`, of a medium's branch: `place` stands before encoder and adapter."""
    phase = {"steps": 2, "warmup_steps": 0, "valid_first": "true", "lr": 1e-2}
    few = [f"phase.tune.{key}={value}" for key, value in phase.items()]
    losses = {}
    for name, more in {
        "plain": [f"phase.tune.train=['{place}adapter.*']"],
        "llm": ["llm.lora.r=8"],
        "all": ["llm.lora.r=2", f"{place}encoder.lora.r=2", f"{place}adapter.lora.r=2"],
    }.items():
        preset, folder = start.read(pair.folder, [*few, *more])
        run = Run(
            system=System(preset, pair.system.tokenizer),
            manifests={"train": manifest, "valid": manifest},
            out=out / name,
            accelerator=accelerate.Accelerator(cpu=True),
            workers=0,
            start=folder,
        )
        loop.train(run)
        lines = map(json.loads, (out / name / "log.jsonl").read_text().splitlines())
        losses[name] = next(v["valid"]["loss"] for v in lines if v["step"] == 0 and "valid" in v)
        _, tuned = store.load(store.find(out / name))
        if name != "plain":
            _learned(tuned, pair.ours, name, place)
    assert losses["plain"] == losses["llm"] == losses["all"] > 0.1


def _learned(tuned, imported, name: str, place: str) -> None:
    """Every LoRA that was added has learned, in its part; the part's own weights are as before."""
    before, encoder = imported.state_dict(), f"{place}encoder."
    for key, tensor in tuned.state_dict().items():
        if ".lora_B.default." in key:
            seen = key.startswith((encoder, "adapter.second."))  # by few sounds, by pictures
            assert tensor.any() or seen, key
        elif key.startswith(("llm.", encoder) if name == "all" else "llm."):
            bare = key if key in before else key.replace(".base_layer.", ".")
            if "lora_" not in key:
                assert torch.equal(tensor, before[bare]), key
    parts = {
        lora.owner(k)[0]
        for k, v in tuned.state_dict().items()
        if ".lora_B.default." in k and v.any()
    }
    every = {"llm", f"{place}encoder", f"{place}adapter"}
    assert parts == (every if name == "all" else {"llm"})


@pytest.fixture(scope="session")
def kit():
    """This module."""
    return sys.modules[__name__]


@pytest.fixture(scope="module")
def room(tmp_path_factory) -> Path:
    """Folder for a module's checkpoints and audio."""
    return tmp_path_factory.mktemp("families")


def imported(theirs, room: Path, tokenizer, **named) -> Pair:
    """Save a checkpoint, import it, and give both."""
    folder = published(theirs, room / "published", tokenizer)
    bring(str(folder), room / "ours", **named)
    return Pair(theirs, room / "ours", room)


def check_export(pair: Pair, out: Path, inputs: dict | None = None) -> None:
    """Out again: transformers' own class reads it with every weight, and says the same.

    inputs: of a class that wants more than ids.
    """
    like = str(pair.room / "published")
    done = export.to_transformers(pair.folder, out / "back", like)
    assert done.family and not done.merged and not done.beside
    kind = type(pair.theirs)
    model, told = kind.from_pretrained(out / "back", output_loading_info=True, dtype="float32")
    assert not any(told[what] for what in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    for folder in sorted((out / "back").glob("*-lora")):
        model.load_adapter(str(folder), adapter_name=folder.name.removesuffix("-lora"))
    wanted = pair.theirs.state_dict()
    found = model.state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())
    for path in Path(like).iterdir():
        if path.suffix in (".json", ".jinja"):
            assert (out / "back" / path.name).read_bytes() == path.read_bytes()
    inputs = inputs or {"input_ids": torch.arange(20, 40)[None]}
    for each in (model, pair.theirs) if len(getattr(model, "peft_config", ())) > 1 else ():
        each.enable_adapters()
        each.set_adapter("speech")
    with torch.no_grad():
        assert torch.equal(model.eval()(**inputs).logits, pair.theirs(**inputs).logits)
