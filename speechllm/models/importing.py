"""A published checkpoint becomes one of ours: config to preset, names to ours, weights streamed.

The folder `families/` is the registry: a file's name is transformers' `model_type` ("-" is "_"). It
holds

    tables(config)  the preset's tables: five nouns, chat, task, phases; plain TOML values. `config`
                    is the family's configuration of transformers, its defaults filled in.
    RENAME          {regular expression: replacement}, tried in this order at the start of each
                    published name; the first that matches makes our name.
    IGNORE          regular expressions of published names that are no weights of ours.
    JOINED          groups of published names whose rows, one after another, are one of our tensors.
    chat(tokenizer) more of the preset's [chat], where the tokenizer says which it is.
    loras(config)   its LoRAs, where it has some; see peft_files.py.
    LOUD            pattern of fields that it reads, though other families need not (vision).
    read(fields, source)  transformers' configuration of its config.json, where that is not one.

What the family's processor does is thus said in our words: front end, text around turns and media,
pad token (the placeholder itself). Nothing may be missing or left over, of the weights and of what
config.json asks for (`families/_unread.py`).
"""

import dataclasses
import importlib
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch

from speechllm import config, places
from speechllm.models import filling, hub, peft_files, store, tokens
from speechllm.models.families._unread import unread
from speechllm.models.joined import Joined
from speechllm.models.shards import Shards, stream
from speechllm.models.system import System

ROOM = "models.families"
FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")


@dataclasses.dataclass(frozen=True)
class Brought:
    """What an import did: the system, and of each part (tensors, parameters, dtypes)."""

    family: str
    system: System
    parts: dict[str, tuple[int, int, str]]
    ignored: list[str]


def bring(source: str, out: Path, dtype: str = "", progress: Callable | None = None) -> Brought:
    """Turn the checkpoint at `source`, a folder or Hub id, into the model folder `out`.

    Args:
        source: safetensors, config.json and tokenizer.
        out: must not exist yet.
        dtype: of the LLM's weights; the checkpoint's own if empty.
        progress: called with (bytes written, bytes in all).

    Raises:
        ValueError: a family that is not known, shards missing or cut short, tensors missing, left
            over or of another shape; `out` exists.
    """
    out = Path(out)
    if out.exists():
        raise ValueError(f"{out} exists; choose another --out or remove it")
    if (Path(source) / "checkpoint.json").is_file():
        raise ValueError(f"{source} is a model folder of ours already: decode or train it as it is")
    fields = hub.read_fields(str(source))
    family = fields["model_type"]
    module = find(family, source)
    folder = fetch(str(source))
    known = opened(folder, module)
    published = getattr(module, "read", read)(fields, source)
    tables = module.tables(published)
    if lost := unread(published, module.tables, getattr(module, "LOUD", "")):
        raise ValueError(
            f"{source}: its config.json asks for what the import of {family} does not do: "
            f"{hub.some(lost)}"
        )
    if loras := getattr(module, "loras", lambda _: {})(published):
        tables["llm"]["lora"] = peft_files.table(folder, known.apart, loras)
    tables["llm"]["dtype"] = dtype or llm_dtype(known, module.RENAME)
    tokenizer = tokens.padded(folder, tables["llm"], hasattr(module, "read"))
    preset = config.Preset(tables, f"{out.name}.toml")
    tables["chat"] |= getattr(module, "chat", lambda _: {})(tokenizer)
    tables["chat"]["stops"] = tokens.stops(folder, fields, tokenizer)
    system = System(preset, tokenizer)
    wanted, tied = empty(system)
    places = match(known, module, wanted, tied)

    def fill(file: Path) -> None:
        stream(file, wanted, lambda name: known.tensor(places[name]), progress)

    facts = {"trained": [["*"]], "imported": {"from": str(source), "family": family}}
    store.write(out, system, {"model": fill}, facts)
    ignored = sorted(known.names() - set(places.values()))
    return Brought(family, system, _parts(wanted), ignored)


def reopen(folder: Path) -> System:
    """Open what an import wrote: preset, tokenizer, and each weight's name and shape, none read.

    Raises:
        ValueError: it is not what its own preset makes.
    """
    system = store.system_of(folder)
    file = Path(folder) / "model.safetensors"
    filling.compare(empty(system)[0], filling.shapes(file), file)
    return system


def find(family: str, source):
    """Return the file of a family.

    Raises:
        ValueError: there is none; names those that there are.
    """
    name = family.replace("-", "_")
    if name not in config.names(ROOM):
        hint = config.suggest(family, config.names(ROOM))
        raise ValueError(f"{source}: its model_type {family!r} is no family we can import; {hint}")
    return importlib.import_module(f"speechllm.{ROOM}.{name}")


def opened(folder: Path, family) -> Joined:
    """Open the tensors of a family's checkpoint."""
    return Joined(Shards(folder), getattr(family, "JOINED", ()))


def fetch(source: str) -> Path:
    """Return the folder of a checkpoint, downloaded first where it is a Hub id."""
    if place := places.find(source, "checkpoint"):
        return place
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source, allow_patterns=FILES))
    except (OSError, ValueError) as error:
        raise ValueError(f"{source}: cannot be downloaded: {hub.one_line(error)}") from None


def read(fields: dict, source):
    """Make transformers' configuration of a config.json.

    Raises:
        ValueError: a value that does not fit, a family that this transformers does not know.
    """
    from transformers import AutoConfig

    try:
        kind = type(AutoConfig.for_model(fields["model_type"]))
    except ValueError:
        raise hub.outdated(f"has no family {fields['model_type']!r} ({source})") from None
    try:
        return kind.from_dict(fields)
    except Exception as error:  # huggingface_hub's strict dataclasses raise types of their own
        raise ValueError(f"{source}: config.json: {hub.one_line(error)}") from None


def renamed(name: str, rename: dict) -> str:
    """Our name of a published one; itself where no rule matches."""
    for pattern, replacement in rename.items():
        new, n = re.subn(f"^(?:{pattern})", replacement, name, count=1)
        if n:
            return new
    return name


def llm_dtype(shards: Joined, rename: dict) -> str:
    """Most common data type of the LLM's tensors, as [llm] dtype wants it."""
    ours = (name for name in shards.names() if renamed(name, rename).startswith("llm."))
    common = Counter(shards.dtype(name) for name in ours).most_common(1)
    return {"BF16": "bfloat16", "F16": "float16"}.get(common[0][0] if common else "", "float32")


def empty(system: System) -> tuple[dict[str, torch.Tensor], set[str]]:
    """Build the model without memory: what it holds by name, and the names of tied copies."""
    with torch.device("meta"):
        model = system.build()
    wanted, tied, seen = {}, set(), set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) in seen:
            tied.add(name)
        else:
            seen.add(id(tensor))
            wanted[name] = tensor.detach()
    return wanted, tied


def match(shards: Joined, family, wanted: dict, tied: set[str]) -> dict[str, str]:
    """Give {our name: published name}.

    Raises:
        ValueError: lists what is missing, left over, named twice, or of another shape.
    """
    ignore = re.compile("|".join(f"(?:{p})" for p in family.IGNORE) or r"(?!)")
    places, double = {}, []
    beside = {name.replace(".base_layer.", "."): name for name in wanted}  # a LoRA moves a weight
    for name in sorted(shards.names()):
        part, rest = peft_files.split(name)
        ours = renamed(part, family.RENAME) + rest
        ours = beside.get(ours, ours)
        if ignore.match(name) or ours in tied:
            continue
        double += [name] if ours in places else []
        places[ours] = name
    shapes = [
        f"{name} {shards.shape(places[name])} for {tuple(wanted[name].shape)}"
        for name in wanted.keys() & places.keys()
        if shards.shape(places[name]) != tuple(wanted[name].shape)
    ]
    parts = {
        "missing": sorted(wanted.keys() - places.keys()),
        "left over": sorted(places[ours] for ours in places.keys() - wanted.keys()),
        "twice": double,
        "other shape": sorted(shapes),
    }
    wrong = "; ".join(f"{what}: {hub.some(names)}" for what, names in parts.items() if names)
    if wrong:
        raise ValueError(f"{shards.folder} does not fit its own config.json ({wrong})")
    return places


def _parts(wanted: dict) -> dict[str, tuple[int, int, str]]:
    """Count tensors and parameters of each part, and name its dtypes."""
    parts: dict = {}
    for name, tensor in wanted.items():
        place = name.split(".")
        part = ".".join(place[:3]) if place[0] == "branch" else place[0]
        parts.setdefault(part, []).append(tensor)
    return {
        part: (
            len(tensors),
            sum(t.numel() for t in tensors),
            ", ".join(sorted({str(t.dtype).removeprefix("torch.") for t in tensors})),
        )
        for part, tensors in parts.items()
    }
