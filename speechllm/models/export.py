"""A model of ours leaves: as the family it was imported from, as a LoRA of peft, or in its parts.

    export.to_transformers(folder, out, like)   # an import, perhaps trained on: its published form
    export.to_peft(folder, out, like)           # the LoRA of its LLM alone
    export.to_parts(folder, out)                # any other: encoder and LLM, each for itself

An imported model goes back by its family's own table of names (`families/`), read from the other
side: each tensor of the published checkpoint `like` is written anew with our values, under its
name, in its file and as its dtype; what the import has no use for is copied. So are configuration,
tokenizer and processor, whose settings we never change.

A LoRA is either merged, its product added to the weights, or stands beside, for peft.
"""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file

from speechllm import files
from speechllm.models import hub, lora, peft_files, quantised
from speechllm.models.leaving import Leaving
from speechllm.models.shards import stream

BESIDE = "lora"  # folder of the LoRA, in that of the model that it is for
NOT_COPIED = (".safetensors", ".bin", ".pt", ".pth", ".md", ".index.json", ".gguf")


@dataclasses.dataclass(frozen=True)
class Exported:
    """What was written: the family (or ""), the base, tensors, LoRAs merged and beside.

    sizes: bytes of the LLM's weights before and after it was quantised; () where it was not.
    """

    family: str
    like: str
    n_tensors: int
    merged: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    sizes: tuple[int, int] | tuple[()] = ()


def to_transformers(
    folder: Path,
    out: Path,
    like: str = "",
    merge: bool = True,
    progress: Callable | None = None,
    quantize: str = "",
) -> Exported:
    """Write an imported model as its family's own classes read it.

    Args:
        folder: as of `Leaving`.
        out: must not exist yet.
        like: as of `Leaving`.
        merge: a LoRA that was added becomes part of the weights; else it stands in `out/lora`.
        progress: called with (bytes written, bytes in all) of each file.
        quantize: of its LLM, one of `quantised.LIBRARIES`; "" leaves it as it is.

    Raises:
        ValueError: as of `Leaving`, of `quantised.write`; a LoRA that takes part only beside some
            media cannot be merged.
    """
    leaving = _imported(folder, like)
    merged = leaving.added if merge else ()
    if gated := [n for n in merged if _is_gated(leaving.model, n)]:
        raise ValueError(
            f"{folder}: LoRA {gated[0]!r} takes part only beside its media, merged it would "
            "change texts without any; export without --merge"
        )
    kind = leaving.kind() if quantize else None
    weights = leaving.weights(merged)
    leaving.fit(weights)
    with files.new_folder(Path(out)) as unfinished:
        _copy_small(leaving.base, unfinished)
        for file in sorted(set(leaving.shards.apart.files.values())):
            _write(leaving, weights, file, unfinished / file, progress)
        beside = () if merge else _write_loras(leaving, unfinished / BESIDE, "..")
        sizes = ()
        if quantize:
            llm = set(places(leaving).values())
            sizes = quantised.write(unfinished, quantize, kind, lambda n: f"{n}.weight" in llm)
    n = len(leaving.shards.apart.names())
    return Exported(leaving.family, leaving.like, n, merged, tuple(beside), sizes)


def to_peft(folder: Path, out: Path, like: str = "") -> Exported:
    """Write the LoRA of a model's LLM as peft, transformers and vLLM read it.

    The base is the published model where it was imported, else the LLM alone.

    Raises:
        ValueError: as of `Leaving`; there is no LoRA.
    """
    leaving = Leaving(folder, like)
    with files.new_folder(Path(out)) as unfinished:
        base = leaving.like or leaving.system.llm.pretrained
        written = _write_loras(leaving, unfinished, base)
        if not written:
            raise ValueError(f"{folder}: its LLM has no LoRA; take --to transformers")
    family = leaving.family if leaving.like else ""
    return Exported(family, base, len(written), beside=tuple(written))


def to_parts(folder: Path, out: Path, merge: bool = True, quantize: str = "") -> Exported:
    """Write encoder and LLM of a model of ours, each as transformers' Auto classes read it.

    Of an encoder that is none of transformers' there are only the weights, as of the adapter.

    Args:
        folder: as of `Leaving`.
        out: must not exist yet.
        merge: as of `to_transformers`.
        quantize: of the LLM, one of `quantised.LIBRARIES`; "" leaves it as it is.

    Raises:
        ValueError: as of `Leaving`, of `quantised.write`; a LLM that is quantised already.
    """
    leaving = Leaving(folder, whole_again=False)
    model, system = leaving.model, leaving.system
    if getattr(system.llm, "quantize", ""):
        raise ValueError(f"{folder}: its LLM is quantised; export what it was made from")
    weights = leaving.weights(leaving.added if merge else ())
    with files.new_folder(Path(out)) as unfinished, hub.quiet():
        model.llm.save_pretrained(unfinished / "llm", state_dict=_part(weights, "llm."))
        system.tokenizer.save_pretrained(unfinished / "llm")
        rest = {n: t for n, t in weights.items() if not n.startswith("llm.")}
        for place, branch in model.named_modules():
            hf = getattr(getattr(branch, "encoder", None), "model", None)
            if hasattr(hf, "save_pretrained"):
                name = f"{place}.encoder.model.".lstrip(".")
                hf.save_pretrained(unfinished / name.removesuffix(".model."),
                                   state_dict=_part(weights, name))  # fmt: skip
                rest = {n: t for n, t in rest.items() if not n.startswith(name)}
        save_file({n: t.contiguous() for n, t in rest.items()}, unfinished / "rest.safetensors")
        (unfinished / "preset.toml").write_text(system.preset.dump(), "utf-8")
        beside = () if merge else _write_loras(leaving, unfinished / BESIDE, "../llm")
        sizes = quantised.write(unfinished / "llm", quantize) if quantize else ()
    return Exported("", "", len(weights), leaving.added if merge else (), tuple(beside), sizes)


def _imported(folder: Path, like: str) -> Leaving:
    leaving = Leaving(folder, like)
    if not leaving.like:
        raise ValueError(
            f"{folder}: does not say what it was imported from; name that checkpoint by --like (a "
            "model that was never one of transformers' goes out by --to parts)"
        )
    return leaving


def _part(weights: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {n.removeprefix(prefix): t for n, t in weights.items() if n.startswith(prefix)}


def _is_gated(model, name: str) -> bool:
    """Say whether a LoRA takes part only beside some media."""
    return any(
        isinstance(module.lora_B[name], lora.Gated)
        for module in lora.layers(model)
        if name in module.lora_B
    )


def _copy_small(base: Path, out: Path) -> None:
    """Copy configuration, tokenizer and processor."""
    for path in sorted(base.rglob("*")):
        place = path.relative_to(base)
        hidden = any(word.startswith(".") for word in place.parts)
        if path.is_file() and not hidden and not path.name.endswith(NOT_COPIED):
            (out / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, out / place)
    if (index := base / "model.safetensors.index.json").is_file():
        shutil.copyfile(index, out / index.name)


def _write(leaving: Leaving, weights: dict, file: str, out: Path, progress) -> None:
    """Write one file of tensors as the published one, with our values."""
    shards = leaving.shards.apart
    inside = shards.inside(file)

    def value(name: str) -> torch.Tensor:
        ours = leaving.ours(inside[name])
        if ours not in weights:
            return shards.tensor(inside[name])
        return leaving.shards.part(inside[name], weights[ours])

    like = {name: shards.empty(full) for name, full in inside.items()}
    out.parent.mkdir(parents=True, exist_ok=True)
    stream(out, like, value, progress)


def _write_loras(leaving: Leaving, out: Path, base: str) -> list[str]:
    """Write each LoRA of the LLM, one into `out`, several into folders in it; gives their names."""
    loras = {n: one for n, one in leaving.system.llm.loras.items() if n in leaving.added}
    for name, one in loras.items():
        _write_lora(leaving, name, one, out / name if len(loras) > 1 else out, base)
    return list(loras)


def _write_lora(leaving: Leaving, name: str, one: lora.Lora, out: Path, base: str) -> None:
    with hub.without_bitsandbytes():
        from peft import LoraConfig

    theirs, tensors, targets = places(leaving), {}, []
    for place, module in leaving.model.llm.named_modules():
        if name not in getattr(module, "lora_A", {}):
            continue
        path = theirs[f"llm.{place}.weight"].removesuffix(".weight")
        targets.append(path)
        for half in ("lora_A", "lora_B"):
            weight = getattr(module, half)[name].weight
            tensors[f"base_model.model.{path}.{half}.weight"] = weight.detach().contiguous()
    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out / peft_files.FILE, {"format": "pt"})
    LoraConfig(
        r=one.r,
        lora_alpha=one.alpha,
        lora_dropout=one.dropout,
        target_modules=targets,  # whole names: an end of one may be another part's, too
        base_model_name_or_path=base,
        task_type="CAUSAL_LM",
        inference_mode=True,
    ).save_pretrained(out)


def places(leaving: Leaving) -> dict[str, str]:
    """Give {our name: its name in the model that others open} of the LLM's weights.

    Raises:
        ValueError: the class that the published model names is none of transformers'.
    """
    plain = [n.replace(".base_layer.", ".") for n in leaving.model.state_dict()]
    if not leaving.like:
        return {n: n.removeprefix("llm.") for n in plain if n.startswith("llm.")}
    with torch.device("meta"):
        model = leaving.kind()(leaving.published)
    named = ((leaving.ours(n), n) for n in model.state_dict())
    return {ours: theirs for ours, theirs in named if (ours or "").startswith("llm.")}
