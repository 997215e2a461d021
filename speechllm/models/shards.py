"""Safetensors one tensor at a time: reading a checkpoint's shards, writing files, filling models.

At no time is there more than one tensor in memory. The format: eight bytes with the header's
length, the header (JSON: name -> dtype, shape, offsets), the bytes of all tensors in that order.
"""

import contextlib
import json
import struct
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from speechllm import files
from speechllm.models import hub

FOLDER = "shards"  # of a checkpoint that several processes wrote
PLACES = "DCP_SHARDING_INFO"  # of a header: where a part begins, by name
DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


class Shards:
    """The safetensors of a checkpoint, opened one at a time; names before any weight is read."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.files = self._files()
        self._inner = {}
        self._open = (None, None)

    def _files(self) -> dict[str, str]:
        """Say in which file each tensor is.

        Raises:
            ValueError: no safetensors, a shard that is missing, cut short or not as the index says.
        """
        index = self.folder / "model.safetensors.index.json"
        if not index.is_file():
            return dict.fromkeys(self._names("model.safetensors"), "model.safetensors")
        try:
            places = files.entry(files.read_json(index), "weight_map", dict, str(index))
            for name, file in places.items():
                files.expect(file, str, f"{index}: file of {name!r}")
        except (OSError, ValueError) as error:
            raise ValueError(f"{index}: not an index of safetensors: {error}") from None
        for file in sorted(set(places.values())):
            absent = {name for name, f in places.items() if f == file} - set(self._names(file))
            if absent:
                raise ValueError(f"{self.folder / file} lacks {hub.some(sorted(absent))}")
        return places

    def _names(self, file: str) -> list[str]:
        path = self.folder / file
        if not path.is_file():
            raise ValueError(f"{path}: no such file; download all of it again ({hub.PICKLE})")
        try:
            with safe_open(path, "pt") as opened:
                return list(opened.keys())
        except (OSError, SafetensorError) as error:
            raise ValueError(f"{path}: cut short or no safetensors: {error}") from None

    def names(self) -> set[str]:
        """Names of all tensors."""
        return set(self.files)

    def add(self, file: str, prefix: str) -> None:
        """Add the tensors of another file, `prefix` before their names.

        Raises:
            ValueError: no such file, or no safetensors.
        """
        names = {prefix + name: name for name in self._names(file)}
        self._inner |= names
        self.files |= dict.fromkeys(names, file)

    def _in(self, name: str):
        """Open the file of a tensor, closing the one before."""
        file = self.files[name]
        if self._open[0] != file:
            self._open = file, safe_open(self.folder / file, "pt")
        return self._open[1]

    def inside(self, file: str) -> dict[str, str]:
        """Give {a tensor's name in a file: its name here} of one of the files."""
        return {self._inner.get(n, n): n for n, place in self.files.items() if place == file}

    def empty(self, name: str) -> torch.Tensor:
        """Give a tensor of its shape and dtype that holds nothing, unread."""
        kinds = {said: dtype for dtype, said in DTYPES.items()}
        return torch.empty(self.shape(name), dtype=kinds[self.dtype(name)], device="meta")

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, unread."""
        return tuple(self._in(name).get_slice(self._inner.get(name, name)).get_shape())

    def tensor(self, name: str) -> torch.Tensor:
        """Read one tensor."""
        return self._in(name).get_tensor(self._inner.get(name, name))

    def dtype(self, name: str) -> str:
        """Data type of a tensor as safetensors calls it, unread."""
        return self._in(name).get_slice(self._inner.get(name, name)).get_dtype()


class Tensors:
    """The tensors of a file `STEM.safetensors`, or of the parts that processes wrote in its place.

    Those lie in the folder `shards` beside it, as torch.distributed.checkpoint writes them: what is
    called `STEM/NAME` there is, in each of them, a part of NAME, and the header says from where on.

    Raises:
        ValueError: a file that is cut short or no safetensors, or cannot be read.
    """

    def __init__(self, file: Path):
        self.file = file
        folder = file.parent / FOLDER
        whole = file.is_file() or not folder.is_dir()
        self.prefix = "" if whole else f"{file.stem}/"
        # name -> its parts: (file, where each dimension begins, shape)
        self.parts: dict[str, list[tuple[Path, list[int], list[int]]]] = {}
        self._opened: dict[Path, safe_open] = {}  # once each: there may be thousands of tensors
        for piece in [file] if whole else sorted(folder.glob("*.safetensors")):
            with naming(piece):
                self._opened[piece] = safe_open(piece, "pt")
                self._note(piece, self._opened[piece])

    def _note(self, piece: Path, opened) -> None:
        places = json.loads((opened.metadata() or {}).get(PLACES, "{}"))
        for key in opened.keys():
            if key.startswith(self.prefix):
                shape = opened.get_slice(key).get_shape()
                begins = places.get(key, {}).get("saved_offsets", [0] * len(shape))
                name = key.removeprefix(self.prefix)
                self.parts.setdefault(name, []).append((piece, begins, shape))

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a whole tensor, unread."""
        ends = [[b + n for b, n in zip(*part[1:], strict=True)] for part in self.parts[name]]
        return tuple(map(max, *ends)) if len(ends) > 1 else tuple(ends[0])

    def tensor(self, name: str) -> torch.Tensor:
        """Read one tensor whole."""
        found = [(begins, self._read(piece, name)) for piece, begins, _ in self.parts[name]]
        if len(found) == 1:
            return found[0][1]
        tensor = torch.empty(self.shape(name), dtype=found[0][1].dtype)
        for begins, part in found:
            place = (slice(b, b + n) for b, n in zip(begins, part.shape, strict=True))
            tensor[tuple(place)] = part
        return tensor

    def _read(self, piece: Path, name: str) -> torch.Tensor:
        with naming(piece):
            return self._opened[piece].get_tensor(self.prefix + name)

    @torch.no_grad()
    def read_into(self, places: dict[str, torch.Tensor]) -> None:
        """Read tensors by name into tensors of their shape, which may be of another dtype."""
        if not self.prefix:
            read_into(self.file, places)
            return
        for name, tensor in places.items():
            tensor.copy_(self.tensor(name))


@contextlib.contextmanager
def naming(file: Path):
    """Name a file of safetensors in what is said of it.

    Raises:
        ValueError: it is none, or cannot be read.
    """
    try:
        yield
    except SafetensorError as error:
        raise ValueError(f"{file}: cut short or no safetensors: {error}") from None
    except OSError as error:
        raise ValueError(f"{file}: cannot be read: {error}") from None


@torch.no_grad()
def read_into(file: Path, places: dict[str, torch.Tensor]) -> None:
    """Read tensors of a file by name into tensors of their shape, which may be of another dtype.

    What lies there as it lies here goes straight from the disk to its place: a memory map of the
    file, as safetensors reads, would hold all of it a second time.
    """
    with open(file, "rb") as source, safe_open(file, "pt") as mapped:
        (size,) = struct.unpack("<Q", source.read(8))
        header = json.loads(source.read(size))
        for name, tensor in places.items():
            same = header[name]["dtype"] == DTYPES.get(tensor.dtype) and tensor.device.type == "cpu"
            if same and tensor.is_contiguous() and tensor.numel():
                source.seek(8 + size + header[name]["data_offsets"][0])
                source.readinto(memoryview(tensor.detach().view(-1).view(torch.uint8).numpy()))
            else:
                tensor.copy_(mapped.get_tensor(name))


def stream(file: Path, wanted: dict[str, torch.Tensor], read: Callable, progress=None) -> None:
    """Write a file of safetensors.

    Args:
        file: written anew.
        wanted: name -> a tensor of the shape and dtype to be written, as on the meta device.
        read: gives the tensor of a name, of that shape and any float dtype.
        progress: called with (bytes written, bytes in all) after each tensor.
    """
    header, end = {}, 0
    for name, tensor in wanted.items():
        begin, end = end, end + tensor.numel() * tensor.element_size()
        facts = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape)}
        header[name] = {**facts, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of eight
    with open(file, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for name, like in wanted.items():
            tensor = read(name).to(like.dtype).reshape(-1).contiguous()
            out.write(memoryview(tensor.view(torch.uint8).numpy()))
            if progress:
                progress(header[name]["data_offsets"][1], end)
