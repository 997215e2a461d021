"""An LLM that leaves in 8 bits: its Linear layers by torchao, as transformers reads them.

    before, after = quantised.write(folder, "int8")     # bytes of its weights

Each row of a weight becomes integers and one scale; embeddings stay as they are. The folder then
says so in its config.json, and AutoModelForCausalLM opens it like any other, where torchao is
installed.
"""

import logging
import tempfile
from pathlib import Path

from speechllm.models import hub

KINDS = ("int8", "int4")


def check(kind: str) -> None:
    """Refuse what cannot be done here.

    Raises:
        ValueError: four bits, whose kernels there are for GPUs alone; torchao is not installed.
    """
    if kind == "int4":
        raise ValueError(
            "--quantize int4: torchao packs four bits for kernels of GPUs alone (its package "
            "mslk), so they could be neither tried nor scored on a CPU; take int8"
        )
    log = logging.getLogger("torchao")
    level = log.level
    log.setLevel(logging.ERROR)  # kernels of GPUs that it does not find here
    try:
        import torchao.quantization  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f"--quantize: torchao does not load ({hub.one_line(error)}): "
            "pip install 'speechllm[export]'"
        ) from None
    finally:
        log.setLevel(level)


def write(folder: Path, kind: str) -> tuple[int, int]:
    """Quantise the LLM in a folder in its place; gives the bytes of its weights before and after.

    Raises:
        ValueError: as of `check`.
    """
    check(kind)
    from torchao.quantization import Int8WeightOnlyConfig
    from transformers import AutoModelForCausalLM, TorchAoConfig

    before = _size(folder)
    how = TorchAoConfig(Int8WeightOnlyConfig())
    with hub.quiet():
        llm = AutoModelForCausalLM.from_pretrained(folder, quantization_config=how, dtype="auto")
        with tempfile.TemporaryDirectory(dir=folder.parent) as small:
            llm.save_pretrained(small)
            for path in folder.glob("*.safetensors*"):
                path.unlink()
            for path in Path(small).iterdir():
                path.replace(folder / path.name)
    return before, _size(folder)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))
