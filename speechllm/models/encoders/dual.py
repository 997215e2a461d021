"""Two or more encoders side by side: each with its norm, at one rate, concatenated.

A branch is an encoder's table with two settings more: `frontend`, the front end that it wants, and
`repeat`, how often each of its states stands, which brings a slower encoder to the rate of the
others. Branches with a `frontend` compute their features here, from the wave: the system's own
front end is then wave16k. Branches without one get what the system's front end gives.

    [frontend]
    name = "wave16k"
    [encoder]
    name = "dual"
    [[encoder.branch]]
    name = "whisper"
    pretrained = "openai/whisper-large-v2"
    frontend = { name = "whisper80", pad_to_s = 30.0 }
    [[encoder.branch]]
    name = "beats"
    pretrained = "beats"
    [encoder.branch.frontend]
    name = "kaldi_fbank80"
    num_mel_bins = 128
    empty_filters = true
    offset = -15.41663
    divisor = 13.11164

Where a branch ends before the longest, zeros stand. Masks of SpecAugment, which the data loader
draws on features, do not reach features that are computed here.

Shapes: x (B, N) or (B, T, F) -> (B, L, D), L the longest branch's, D the sum of the branches'.
Paper: SALMONN, arXiv 2310.13289.
"""

import dataclasses
import functools

import torch
from torch import nn

import features
from speechllm import config as settings
from speechllm.media import audio
from speechllm.models.encoders import _waveform, beats, conformer, data2vec_audio, whisper
from speechllm.models.masks import zero_beyond

# Small enough for tests: (width of the front end, settings) of each case, and samples in a unit of
# length where the branches have front ends of their own. Each branch is 16 wide, so that both side
# by side are as wide as the other tiny encoders.
WHISPER = {"name": "whisper", "config": {**whisper.CONFIG, "d_model": 16}}
BEATS = {"name": "beats", "config": {**beats.CONFIG, "encoder_embed_dim": 16}}
CONFORMER = {"name": "conformer", **conformer.SMALL, "dim": 16, "repeat": 2}
HUBERT = {"name": "hubert", "config": {**_waveform.GROUP, "hidden_size": 16}}
DATA2VEC = {"name": "data2vec_audio", "config": {**data2vec_audio.CONFIG, "hidden_size": 16}}
MEL20 = {"name": "whisper80", "num_mel_bins": 20, "pad_to_s": 0.8}
MEL16 = {"name": "kaldi_fbank80", "num_mel_bins": 16, "offset": -10.0, "divisor": 8.0}
TINY = (
    (1, {"branch": [HUBERT, DATA2VEC]}),
    (20, {"branch": [{**WHISPER, "window": "variable"}, CONFORMER]}),
    (20, {"branch": [WHISPER, CONFORMER]}),
    (
        1,
        {
            "branch": [
                {**WHISPER, "repeat": 2, "frontend": MEL20},
                {**BEATS, "frontend": MEL16},
            ]
        },
        160,
    ),
)
APART = 1.05  # lengths of branches may differ by the edges of their windows, not by their rates


@dataclasses.dataclass(frozen=True)
class Side:
    """One encoder of several on one medium's way to the LLM (`models.branch.Branch`).

    It has the front end that it wants (None: the system's), which computes inside the model, and
    its `repeat`.
    """

    name: str
    encoder: object
    extractor: features.Extractor | None
    repeat: int

    @classmethod
    def read(cls, table: dict, where: str) -> "Side":
        """Make a branch from its table.

        Raises:
            ValueError: no such encoder or front end, a wrong setting.
        """
        table = dict(table)
        front, repeat = table.pop("frontend", None), table.pop("repeat", 1)
        if type(repeat) is not int or repeat < 1:
            raise ValueError(f"{where} repeat: wanted a whole number from 1, got {repeat!r}")
        encoder = settings.part("models.encoders", table, where)
        return cls(
            table["name"], encoder, front and audio.front(front, f"{where} frontend"), repeat
        )

    def count(self, n):
        """Give the number of states for n samples or frames; n may be a tensor of lengths."""
        if self.extractor is not None:
            frames = self.extractor.count
            n = (
                torch.tensor([frames(each) for each in n.tolist()], device=n.device)
                if isinstance(n, torch.Tensor)
                else frames(n)
            )
        return self.encoder.count(n) * self.repeat

    def check(self, extractor) -> None:
        """Refuse a front end, this branch's own or the system's, that does not fit its encoder."""
        if hasattr(self.encoder, "check"):
            self.encoder.check(self.extractor or extractor)

    def width(self, in_dim: int) -> int:
        """Give the dimension of this encoder's front end.

        Raises:
            ValueError: it wants to compute features, and gets no wave.
        """
        if self.extractor is None:
            return in_dim
        if in_dim != 1:
            raise ValueError(
                f"the branch {self.name!r} computes its features from the wave (front end "
                f"wave16k), got a front end of dimension {in_dim}"
            )
        return self.extractor.dim

    def prepare(self, x, lengths):
        """Compute this branch's features of waves x (B, N), in fp32 and without a gradient."""
        if self.extractor is None:
            return x, lengths
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            return self.extractor(x.float(), lengths.tolist())


@dataclasses.dataclass(frozen=True)
class Config:
    """The branches: tables, each with the settings of its encoder, `frontend` and `repeat`."""

    branch: tuple[dict, ...] = ()

    def __post_init__(self):
        """Refuse what is no set of branches."""
        if len(self.branch) < 2:
            raise ValueError(
                f"wanted two or more tables [[encoder.branch]], got {len(self.branch)}"
            )
        _ = self.branches

    @functools.cached_property
    def branches(self) -> list[Side]:
        """The branches, checked."""
        return [Side.read(t, f"branch {i}") for i, t in enumerate(self.branch, 1)]

    @property
    def pretrained(self) -> str:
        """Where all weights come from; empty if those of any branch come from nowhere."""
        names = [getattr(branch.encoder, "pretrained", "") for branch in self.branches]
        return " + ".join(names) if all(names) else ""

    @property
    def dim(self) -> int:
        """Width D of the states."""
        return sum(branch.encoder.dim for branch in self.branches)

    def count(self, n):
        """Give the number of states L for n samples or frames; n may be a tensor of lengths."""
        return functools.reduce(_larger, [branch.count(n) for branch in self.branches])

    def check(self, extractor) -> None:
        """Refuse front ends that do not fit their encoders.

        Raises:
            ValueError: as the encoders' own.
        """
        for branch in self.branches:
            branch.check(extractor)

    def build(self, in_dim: int) -> nn.Module:
        """Make the encoders for a front end of width `in_dim`.

        Raises:
            ValueError: an encoder does not fit its front end; the rates differ.
        """
        widths = [branch.width(in_dim) for branch in self.branches]
        n = 160000 if in_dim == 1 else 1000  # ten seconds, as nearly all front ends have it
        counts = [branch.count(n) for branch in self.branches]
        if max(counts) > APART * min(counts):
            each = ", ".join(
                f"{branch.name} {count}"
                for branch, count in zip(self.branches, counts, strict=True)
            )
            raise ValueError(
                f"the branches' rates differ: {each} states for {n} steps of the front end; set "
                "repeat for the slower ones"
            )
        return Dual(self, widths)


class Dual(nn.Module):
    """See the module docstring."""

    def __init__(self, config: Config, widths: list[int]):
        super().__init__()
        self.config = config
        parts = list(zip(config.branches, widths, strict=True))
        self.branches = nn.ModuleList(branch.encoder.build(width) for branch, width in parts)
        self.norms = nn.ModuleList(nn.LayerNorm(branch.encoder.dim) for branch, _ in parts)
        shared = [e for e, (b, _) in zip(self.branches, parts, strict=True) if b.extractor is None]
        self.windowed = any(getattr(encoder, "windowed", False) for encoder in shared)

    def forward(self, x, lengths):
        """Map x (B, N) or (B, T, F), lengths (B,) to states (B, L, D), lengths (B,)."""
        sides = []
        for branch, encoder, norm in zip(
            self.config.branches, self.branches, self.norms, strict=True
        ):
            states, n = encoder(*branch.prepare(x, lengths))
            states, n = states.repeat_interleave(branch.repeat, 1), n * branch.repeat
            sides.append((zero_beyond(norm(states), n), n))
        steps = functools.reduce(torch.maximum, [n for _, n in sides])
        size = max(int(steps.max()), 1)
        return torch.cat([_fit(states, size) for states, _ in sides], -1), steps


def _larger(a, b):
    """Give the larger of two integers, or of two tensors element by element."""
    return a + (b - a) * (b > a)


def _fit(states, size: int):
    """Cut or fill up with zeros: (B, any, D) -> (B, size, D)."""
    return nn.functional.pad(states[:, :size], (0, 0, 0, max(0, size - states.shape[1])))
