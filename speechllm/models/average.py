"""Several checkpoints of one model as one: the mean of their weights.

    average.average([a, b, c], out)        # folders; out is a model folder like them
    average.last(Path("exp/mini"), 5)      # the newest five of an experiment's last phase

The mean of what one run passed through near its end is often better than each of them (Izmailov et
al. 2018, arXiv 1803.05407). Of a LoRA both halves are averaged, whose product is not the mean of
the products: near one another, as in one run, the two hardly differ.
"""

from collections.abc import Sequence
from pathlib import Path

import torch

from speechllm.models import filling, store, whole
from speechllm.models.shards import FOLDER, Tensors, stream

FILE = "model.safetensors"


def last(experiment: Path, n: int) -> list[Path]:
    """List the newest n checkpoints of the phase that an experiment ends with.

    Raises:
        ValueError: there are fewer (`--keep` of training says how many stay).
    """
    phase = store.find(experiment).parent
    kept = store.checkpoints(phase)
    if len(kept) < n:
        raise ValueError(
            f"{phase}: holds {len(kept)} checkpoints, wanted the last {n}; name others, or train "
            "with more of them kept"
        )
    return kept[-n:]


def average(folders: Sequence[Path], out: Path) -> int:
    """Write the mean of model folders as one; gives the number of its tensors.

    Of one whose weights several processes wrote in parts (FSDP2) comes the same in one file.

    Raises:
        ValueError: fewer than two otherwise, or not all of one model; names the first that differs.
    """
    folders = [store.find(folder) for folder in folders]
    if len(folders) < 2 and not (folders[0] / FOLDER).is_dir():
        raise ValueError(f"wanted two checkpoints or more to average, got {len(folders)}")
    if Path(out).exists():
        raise ValueError(f"{out} exists; choose another --out or remove it")
    system = store.system_of(folders[0])
    first = filling.shapes(folders[0] / FILE)
    for folder in folders[1:]:
        other = store.system_of(folder)
        same = filling.shapes(folder / FILE) == first
        if not same or other.tokenizer.get_vocab() != system.tokenizer.get_vocab():
            raise ValueError(
                f"{folder}: is not of the model of {folders[0]}: other tensors or another tokenizer"
            )
    opened = [Tensors(folder / FILE) for folder in folders]
    like = {name: opened[0].tensor(name).to("meta") for name in first}

    def mean(name: str) -> torch.Tensor:
        tensors = [one.tensor(name) for one in opened]
        if not tensors[0].is_floating_point():  # a count: of the newest
            return tensors[-1]
        return torch.stack([one.double() for one in tensors]).mean(0)

    facts = {"trained": whole.facts(folders[-1])["trained"], "heads": _heads(folders[-1])}
    facts["averaged"] = [str(folder) for folder in folders]
    store.write(Path(out), system, {"model": lambda file: stream(file, like, mean)}, facts)
    return len(like)


def _heads(folder: Path) -> dict:
    return whole.facts(folder).get("heads", {})
