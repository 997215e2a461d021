"""LLMs that leave in 8 or 4 bits, in forms that transformers' own from_pretrained opens.

    before, after = quantised.write(folder, "int8")     # bytes of its weights

int8: torchao's `Int8WeightOnlyConfig`, one scale a row.

int4: compressed-tensors' `pack-quantized`, eight values in an int32 and a scale for each 32 of a
row, as vLLM reads it. torchao has four bits for kernels of GPUs alone; its one form that a CPU
computes (`IntxWeightOnlyConfig`) keeps each value in a byte, no smaller than int8.

Only Linear layers of the LLM are taken, never its head. The folder says so in its config.json, and
opens like any other where that library is installed (extra `export`).
"""

import contextlib
import importlib
import logging
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from speechllm.models import hub

LIBRARIES = {"int8": "torchao", "int4": "compressed_tensors"}
GROUP = 32  # values of a row with one scale: the finest that kernels know (32, 64, 128)


def check(kind: str) -> None:
    """Refuse a kind whose library is not installed.

    Raises:
        ValueError: says what to install.
    """
    with _still():
        try:
            importlib.import_module(f"{LIBRARIES[kind]}.quantization")
        except ImportError as error:
            raise ValueError(
                f"--quantize {kind}: {LIBRARIES[kind]} does not load ({hub.one_line(error)}): "
                "pip install 'speechllm[export]'"
            ) from None


def write(
    folder: Path, kind: str, model_class=None, inside: Callable[[str], bool] = lambda _: True
) -> tuple[int, int]:
    """Quantise the model in a folder in its place; gives the bytes of its weights before and after.

    Args:
        folder: as transformers reads it.
        kind: one of `LIBRARIES`.
        model_class: of transformers; by default AutoModelForCausalLM.
        inside: whether a module of that class, by its name, is the LLM's.

    Raises:
        ValueError: as of `check`; weights missing; a model that the library cannot do.
    """
    check(kind)
    before = _size(folder)
    save = {"int8": _int8, "int4": _int4}[kind]
    with hub.quiet(), _still(), _alone(folder) as source:
        save(source, model_class or _causal(), inside, source / "saved")
        for path in _weights(folder):
            path.unlink()
        for path in (source / "saved").iterdir():
            path.replace(folder / path.name)
    return before, _size(folder)


def reopen(folder: Path, model_class=None):
    """Open what `write` has written, by from_pretrained, its layers as they compute, no LoRA."""
    from transformers import AutoConfig, CompressedTensorsConfig

    options = {}
    with hub.quiet(), _still(), _alone(folder) as source:
        how = AutoConfig.from_pretrained(source).quantization_config
        if how["quant_method"] == "compressed-tensors":  # else on the first forward of the whole
            options = {"quantization_config": CompressedTensorsConfig(dequantize=True)}
        return _load(source, model_class or _causal(), **options)


def dense(weight: torch.Tensor) -> torch.Tensor:
    """Give a weight of a reopened model as numbers."""
    return weight.dequantize() if LIBRARIES["int8"] in type(weight).__module__ else weight


def _int8(folder: Path, model_class, inside: Callable, out: Path) -> None:
    from torchao.quantization import Int8WeightOnlyConfig
    from transformers import TorchAoConfig

    plain = _load(folder, model_class)
    names = _others(plain, _linears(plain, inside))
    if bare := [name for name in plain.state_dict() if "." not in name]:
        raise ValueError(
            f"--quantize int8: torchao does not read back weights of no layer, as {bare[0]!r} of "
            f"{type(plain).__name__}; take int4"
        )
    del plain
    how = TorchAoConfig(Int8WeightOnlyConfig(), modules_to_not_convert=names)
    _load(folder, model_class, quantization_config=how).save_pretrained(out)


def _int4(folder: Path, model_class, inside: Callable, out: Path) -> None:
    from compressed_tensors.compressors import ModelCompressor, compress_module
    from compressed_tensors.quantization import (
        QuantizationArgs,
        QuantizationConfig,
        QuantizationScheme,
        QuantizationStatus,
        apply_quantization_config,
    )
    from compressed_tensors.quantization.utils import calculate_qparams

    model = _load(folder, model_class)
    taken = {n: m for n, m in _linears(model, inside).items() if m.in_features % GROUP == 0}
    if not taken:
        raise ValueError(
            f"--quantize int4 wants layers as wide as a multiple of {GROUP}; the LLM has none; "
            "take int8"
        )
    args = QuantizationArgs(num_bits=4, strategy="group", group_size=GROUP)
    config = QuantizationConfig(
        config_groups={"group_0": QuantizationScheme(targets=["Linear"], weights=args)},
        format="pack-quantized",
        ignore=[_pattern(model, name) for name in _others(model, taken)],
    )
    apply_quantization_config(model, config, show_progress=False)
    for module in taken.values():
        low, high = module.weight.data.unflatten(-1, (-1, GROUP)).aminmax(dim=-1)
        scale, zero_point = calculate_qparams(low, high, args)
        module.weight_scale.data.copy_(scale)
        module.weight_zero_point.data.copy_(zero_point)
        compress_module(module)
    model.save_pretrained(out)
    config.quantization_status = QuantizationStatus.COMPRESSED
    ModelCompressor(quantization_config=config).update_config(str(out))


def _load(folder: Path, model_class, **options):
    """Open a model, loud about what is missing."""
    model, told = model_class.from_pretrained(
        folder, dtype="auto", output_loading_info=True, **options
    )
    if told["missing_keys"]:
        raise ValueError(f"{folder}: weights missing: {hub.some(sorted(told['missing_keys']))}")
    return model.eval()


def _linears(model, inside: Callable) -> dict[str, torch.nn.Linear]:
    """Give the layers of the LLM by name, without its head."""
    head = model.get_output_embeddings()
    left = set(head.modules()) if head is not None else set()
    modules = model.named_modules()
    return {n: m for n, m in modules if _is_linear(m) and m not in left and inside(n)}


def _others(model, taken: dict) -> list[str]:
    """Name the Linear layers that are not taken, those of a whole part by its name alone.

    Of layers "tower.0.up", "tower.0.down", "llm.0.up" and "llm.head", the first two not taken and
    the last, that is ["llm.head", "tower"].
    """
    names = set()
    for name in (n for n, m in model.named_modules() if _is_linear(m) and n not in taken):
        words = name.split(".")
        parts = (".".join(words[:i]) for i in range(1, len(words) + 1))
        names.add(next(p for p in parts if not any(n.startswith(f"{p}.") for n in taken)))
    return sorted(names)


def _pattern(model, name: str) -> str:
    """Write a name as compressed-tensors matches it; of a part, whatever programs put before it."""
    if _is_linear(model.get_submodule(name)):
        return name
    return rf"re:(.*\.)?{re.escape(name.removeprefix('model.'))}\..*"


def _is_linear(module) -> bool:
    return isinstance(module, torch.nn.Linear)


def _causal():
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM


@contextlib.contextmanager
def _still() -> Iterator[None]:
    """Keep the libraries from telling which kernels of GPUs they miss, and what we pass on."""
    log = logging.getLogger("torchao")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="You passed `quantization_config`")
            yield
    finally:
        log.setLevel(level)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[Path]:
    """Give a folder that has the files of another without its LoRA, which would be opened, too."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as other:
        for path in folder.iterdir():
            if not path.name.startswith("adapter_"):
                (Path(other) / path.name).symlink_to(path.absolute())
        yield Path(other)


def _weights(folder: Path) -> list[Path]:
    """List the files of weights, of which a LoRA's are none, and their index."""
    paths = folder.glob("*.safetensors*")
    return [path for path in paths if not path.name.startswith("adapter_")]


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in _weights(folder))
