"""Pickled weights become safetensors, once, in a process of their own.

`speechllm import SOURCE --convert --out DIR`: SOURCE is a folder or Hub id that has its weights as
a pickle alone (pytorch_model.bin, *.pt, *.ckpt), such a file, or an archive of NeMo (*.nemo). The
child process reads it with torch's `weights_only`, which builds tensors and nothing else; whatever
the pickle would run besides is refused there. DIR is what SOURCE was, with model.safetensors, and
can be used wherever a preset says `pretrained`.
"""

import json
import subprocess
import sys
import tarfile
from pathlib import Path

from speechllm import files, places
from speechllm.models import hub

WEIGHTS = ("pytorch_model*.bin", "*.bin", "*.pt", "*.pth", "*.ckpt")
BESIDE = ("*.json", "*.txt", "*.model", "*.jinja", "*.yaml")
INSIDE = ("state_dict", "model", "model_state_dict", "module")  # where trainers keep the weights


def convert(source: str, out: Path) -> int:
    """Write the folder `out`; returns the number of tensors.

    Raises:
        ValueError: `out` exists; no pickled weights there, or more than tensors in them.
    """
    out = Path(out)
    if out.exists():
        raise ValueError(f"{out} exists; choose another --out or remove it")
    place = places.find(source, "checkpoint") or _download(source)
    with files.new_folder(out) as folder:
        if place.suffix == ".nemo":
            pickles = [_unpack(place, folder)]
        else:
            pickles = _pickles(place)
            _copy_beside(place, folder)
        count = _in_own_process(pickles, folder / "model.safetensors")
        for path in folder.glob("*.ckpt"):
            path.unlink()
    return count


def _pickles(place: Path) -> list[Path]:
    """List the pickled weights of a folder (all shards), or the one file.

    Raises:
        ValueError: there are none.
    """
    if place.is_file():
        return [place]
    if any(place.glob("*.safetensors")):
        raise ValueError(f"{place} has safetensors already: import or use it without --convert")
    for pattern in WEIGHTS:
        if paths := sorted(place.glob(pattern)):
            return [path for path in paths if path.name != "training_args.bin"]
    raise ValueError(f"{place}: no pickled weights there; wanted one of {', '.join(WEIGHTS)}")


def _copy_beside(place: Path, folder: Path) -> None:
    """Copy configuration and tokenizer, but no index of the pickles' shards."""
    for pattern in BESIDE if place.is_dir() else ():
        for path in place.glob(pattern):
            if not path.name.endswith(".index.json"):
                (folder / path.name).write_bytes(path.read_bytes())


def _unpack(archive: Path, folder: Path) -> Path:
    """Take weights and configuration out of an archive of NeMo; config.json is its YAML.

    Raises:
        ValueError: no such archive.
    """
    import yaml

    try:
        with tarfile.open(archive) as tar:
            members = {Path(m.name).name: m for m in tar.getmembers() if m.isfile()}
            table = yaml.safe_load(tar.extractfile(members["model_config.yaml"]))
            weights = folder / "model_weights.ckpt"
            weights.write_bytes(tar.extractfile(members["model_weights.ckpt"]).read())
    except (KeyError, tarfile.TarError, yaml.YAMLError) as error:
        raise ValueError(f"{archive}: not an archive of NeMo: {hub.one_line(error)}") from None
    (folder / "config.json").write_text(json.dumps(table, indent=1, default=str), encoding="utf-8")
    return weights


def _download(source: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        wanted = [*BESIDE, *WEIGHTS, "*.nemo"]
        place = Path(snapshot_download(source, allow_patterns=wanted))
    except (OSError, ValueError) as error:
        raise ValueError(f"{source}: cannot be downloaded: {hub.one_line(error)}") from None
    return next(iter(sorted(place.glob("*.nemo"))), place)


def _in_own_process(pickles: list[Path], out: Path) -> int:
    """Convert in a child process, so that this one never touches a pickle.

    Raises:
        ValueError: what the child says is wrong.
    """
    command = [sys.executable, "-m", "speechllm.models.convert", str(out), *map(str, pickles)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
        raise ValueError(said[-1])
    return int(done.stdout.split()[-1])


def tensors(path: Path) -> dict:
    """Read the tensors of a pickle, and nothing but tensors.

    Raises:
        ValueError: not such a file, or one that wants to run something.
    """
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # older files cannot be mapped; whatever else is wrong is said by the second
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise ValueError(
                f"{path}: not a pickle of tensors alone: {hub.one_line(error, 160)}"
            ) from None
    for name in INSIDE:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
            break
    named = content.items() if isinstance(content, dict) else ()
    kept = {name: value for name, value in named if isinstance(value, torch.Tensor)}
    if not kept:
        raise ValueError(f"{path}: no tensors by name in it")
    return kept


def main(out: str, *pickles: str) -> None:
    """Write the tensors of `pickles` to the safetensors file `out`; print their number."""
    from safetensors.torch import save_file

    state = {}
    for path in pickles:
        state |= {name: t.contiguous().clone() for name, t in tensors(Path(path)).items()}
    save_file(state, out, {"format": "pt"})
    print(len(state))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except ValueError as failure:
        sys.exit(str(failure))
