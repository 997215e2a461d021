"""The folder that drawn pictures are written to, and what is measured of them.

    again/*.png, again.jsonl      each picture, through its tokens and drawn again
    new/*.png, new.jsonl          a new picture of what each row's answer says
    pictures.png                  the first of each, one above the other: as it was, again, new
    score_error/, score_codes/    how far those drawn again are off, and how the codebook is used

Both manifests have the rows that they were drawn from with the other pictures, so that a model that
names pictures may read them. Pictures are (N, height, width, C), C of 1 or 3, from 0 to 1.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from speechllm import files
from speechllm.data import manifest, rows

SHOWN = 20  # columns of pictures.png
AGAIN, NEW = "again", "new"


@dataclass(frozen=True)
class Drawn:
    """Pictures of some rows as they were, drawn again, and new (or None); their codes (N, K)."""

    was: np.ndarray
    again: np.ndarray
    new: np.ndarray | None
    codes: np.ndarray


class Gallery:
    """Takes pictures batch by batch, and keeps of them what is small."""

    def __init__(self, folder: Path, codes: int):
        self.folder = folder.absolute()
        self.rows: dict[str, list[dict]] = {}
        self.used = np.zeros(codes, np.int64)
        self.errors: list[float] = []  # squared, a mean over the pixels of each picture
        self.moments = np.zeros(3)  # of the pixels as they were: how many, sum, sum of squares
        self.first: Drawn | None = None

    def hang(self, read: list[dict], drawn: Drawn) -> None:
        """Write the pictures of some rows."""
        self.first = self.first or drawn
        self.used += np.bincount(drawn.codes.ravel(), minlength=len(self.used))
        self.errors += ((drawn.again - drawn.was) ** 2).mean((1, 2, 3)).tolist()
        was = drawn.was.astype(np.float64)
        self.moments += was.size, was.sum(), (was**2).sum()
        for name, pictures in ((AGAIN, drawn.again), (NEW, drawn.new)):
            if pictures is not None:
                self._save(name, read, pictures)

    def _save(self, name: str, read: list[dict], pictures: np.ndarray) -> None:
        (self.folder / name).mkdir(parents=True, exist_ok=True)
        made = self.rows.setdefault(name, [])
        for row, picture in zip(read, pictures, strict=True):
            path = str(self.folder / name / f"{len(made):06d}.png")
            _image(picture).save(path)
            part = {"image": path}
            made.append(rows.map_parts(row, lambda old, new=part: old | new, "image"))

    def close(self, facts: dict) -> list[str]:
        """Write manifests, some pictures side by side and the scores; give their lines."""
        for name, made in self.rows.items():
            manifest.write(self.folder / f"{name}.jsonl", made)
        self._side_by_side().save(self.folder / "pictures.png")
        signature = "|".join(f"{key}={value}" for key, value in facts.items())
        return [self._error(signature), self._codes(signature)]

    def _side_by_side(self) -> Image.Image:
        all_ = (self.first.was, self.first.again, self.first.new)
        lines = [np.concatenate([*one[:SHOWN]], 1) for one in all_ if one is not None]
        return _image(np.concatenate(lines, 0))

    def _error(self, signature: str) -> str:
        """What of the pixels' variance is lost, in %; its interval from picture to picture."""
        n, total, squares = self.moments
        variance, errors = squares / n - (total / n) ** 2, np.array(self.errors)
        off = 1.96 * errors.std(ddof=1) / math.sqrt(len(errors)) if len(errors) > 1 else math.nan
        mean = errors.mean()
        low, value, high = (100 * x / variance for x in (mean - off, mean, mean + off))
        told = f"mean squared error {mean:.5f}, of 0 to 1, of {len(errors)} pictures"
        return self._score("error", value, (low, high), told, signature)

    def _codes(self, signature: str) -> str:
        """How many of the codebook's codes are used, in %."""
        used, shares = int((self.used > 0).sum()), self.used / self.used.sum()
        entropy = -sum(share * math.log(share) for share in shares[shares > 0])
        told = f"{used} of {len(self.used)}, perplexity {math.exp(entropy):.1f}"
        span = (math.nan, math.nan)
        return self._score("codes", 100 * used / len(self.used), span, told, signature)

    def _score(self, name: str, value: float, span: tuple, told: str, signature: str) -> str:
        low, high = (None if math.isnan(x) else float(x) for x in span)
        between = "" if low is None else f" ci95=[{low:.2f}, {high:.2f}]"
        line = f"%{name.upper()} {value:.2f} [ {told} ]{between} {signature}"
        n = len(self.errors)
        values = {
            "line": line, "metric": name, "value": float(value), "ci95": [low, high],
            "counts": {"rows": n, "decoded": n}, "signature": signature,
        }  # fmt: skip
        (self.folder / f"score_{name}").mkdir(parents=True, exist_ok=True)
        files.write_json(self.folder / f"score_{name}" / "score.json", values)
        return line


def _image(picture: np.ndarray) -> Image.Image:
    """A picture (height, width, C) of 0 to 1."""
    values = (picture * 255).round().astype(np.uint8)
    return Image.fromarray(values[..., 0] if values.shape[2] == 1 else values)
