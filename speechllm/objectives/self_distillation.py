"""Self-distillation without labels (DINO): views of one picture are to say the same.

The student is the encoder (`vit`, of a family with a class token) with a head; the teacher is their
moving average, and sees the two large views alone. Each says how much its class token is like each
of many prototypes; the student's is to be the teacher's of another view, which is sharpened and
centred so that neither all pictures nor all prototypes become one. Nothing but the encoder is used
afterwards.

A view is a square of a tile's patches at its own place, of which the encoder sees nothing else;
DINO resizes and recolours its crops besides. Paper: Caron et al., arXiv 2104.14294.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import linear, normalize

from speechllm.data.batch import Batch
from speechllm.models.encoders import _vision
from speechllm.models.model import Pass, SpeechLLM
from speechllm.objectives._branch import branch, sees_patches
from speechllm.ranges import AboveZero, BelowOne, NotNegative, Size, Width


@dataclass(frozen=True)
class Config:
    """Weight in the phase's sum, and the head.

    prototypes, hidden, bottleneck: of the head. momentum: of the teacher, a batch. temperature,
    teacher_temperature: of what they say. centring: momentum of the teacher's centre. large, small:
    shares of a tile's side that the two large and the `views` small views have. medium: which.
    """

    weight: NotNegative = 1.0
    prototypes: Width = 4096
    hidden: Width = 2048
    bottleneck: Width = 256
    momentum: BelowOne = 0.996
    temperature: AboveZero = 0.1
    teacher_temperature: AboveZero = 0.04
    centring: BelowOne = 0.9
    large: AboveZero = 0.8
    small: AboveZero = 0.5
    views: Size = 4
    medium: str = "image"

    def __post_init__(self):
        """Refuse views larger than a picture."""
        for name in ("large", "small"):
            if getattr(self, name) > 1:
                raise ValueError(f"{name}: wanted a share up to 1, got {getattr(self, name)}")

    def build(self, model: SpeechLLM) -> nn.Module:
        """Make the objective with its heads, and the teacher as the encoder is now.

        Raises:
            ValueError: no such medium, or an encoder that cannot see patches alone.
        """
        encoder = branch(model, self.medium).encoder
        if not sees_patches(encoder):
            raise ValueError("self_distillation wants the encoder vit of a family with class token")
        return SelfDistillation(self, encoder)


class Head(nn.Module):
    """A perceptron, brought to length 1, against prototypes of length 1: (N, D) -> (N, P)."""

    def __init__(self, config: Config, dim: int):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(dim, config.hidden),
            nn.GELU(),
            nn.Linear(config.hidden, config.hidden),
            nn.GELU(),
            nn.Linear(config.hidden, config.bottleneck),
        )
        self.prototypes = nn.Parameter(torch.randn(config.prototypes, config.bottleneck))

    def forward(self, x):
        """See the class."""
        return linear(normalize(self.mlp(x), dim=-1), normalize(self.prototypes, dim=-1))


class Student(nn.Module):
    """Encoder and head as one, so that the teacher can be it with other weights."""

    def __init__(self, encoder: nn.Module, head: nn.Module):
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, tiles, kept):
        """Say what tiles (N, P, F) are like, of which `kept` (N, K) are seen: (N, prototypes)."""
        return self.head(self.encoder.seen(tiles, kept)[:, 0])


class SelfDistillation(nn.Module):
    """Sum over pictures of the cross entropy, a mean over pairs of views, and their number."""

    def __init__(self, config: Config, encoder: nn.Module):
        super().__init__()
        self.config, self.per_tile = config, encoder.config.per_tile
        self.head = Head(config, encoder.config.dim)
        self.register_buffer("centre", torch.zeros(config.prototypes))
        self.teacher = nn.Module()  # buffers: they follow, and are saved, but no step changes them
        for name, parameter in Student(encoder, self.head).named_parameters():
            self.teacher.register_buffer(name.replace(".", "/"), parameter.detach().clone())

    def forward(self, result: Pass) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (sum, count); without a picture, two zeros. In training the teacher follows."""
        if not (count := self.count(result.batch)):
            return torch.zeros((), device=result.batch.ids.device), torch.tensor(0)
        student = Student(result.model.branches[self.config.medium].encoder, self.head)
        if self.training:
            self.follow(student)
        tiles, inside, _ = _vision.tiled(*result.batch.media[self.config.medium], self.per_tile)
        tiles = tiles[inside == self.per_tile]
        loss = self.loss(student, tiles, self.drawn(len(tiles), tiles.device))
        return loss, torch.tensor(count, device=loss.device)

    @torch.no_grad()
    def follow(self, student: Student) -> None:
        """Move the teacher towards the student."""
        for name, parameter in student.named_parameters():
            getattr(self.teacher, name.replace(".", "/")).lerp_(parameter, 1 - self.config.momentum)

    def loss(self, student: Student, tiles, views: list) -> torch.Tensor:
        """Sum over tiles (N, P, F); `views`: (N, K) of each, the two large ones first."""
        weights = {name.replace("/", "."): b for name, b in self.teacher.named_buffers()}
        with torch.no_grad():
            raw = [functional_call(student, weights, (tiles, view)).float() for view in views[:2]]
            wanted = [
                ((one - self.centre) / self.config.teacher_temperature).softmax(-1) for one in raw
            ]
        said = [
            (student(tiles, v).float() / self.config.temperature).log_softmax(-1) for v in views
        ]
        pairs = [
            -(target * one).sum() for i, target in enumerate(wanted)
            for j, one in enumerate(said) if i != j
        ]  # fmt: skip
        if self.training:
            mean = torch.cat(raw).mean(0)
            self.centre.lerp_(mean, 1 - self.config.centring)
        return sum(pairs) / len(pairs)

    def drawn(self, n: int, device) -> list:
        """Draw views of n tiles, (n, K) numbers of patches each; in evaluation always the same."""
        fixed = None if self.training else torch.Generator(device).manual_seed(0)
        side = int(self.per_tile**0.5)
        sizes = [self.config.large] * 2 + [self.config.small] * self.config.views
        views = []
        for share in sizes:
            wide = max(round(side * share), 1)
            corner = torch.randint(side - wide + 1, (n, 2), generator=fixed, device=device)
            step = torch.arange(wide, device=device)
            rows, columns = (corner[:, i, None] + step for i in (0, 1))
            views.append((rows[:, :, None] * side + columns[:, None]).flatten(1))
        return views

    def count(self, batch: Batch) -> int:
        """Number of whole tiles in a batch, known before any pass."""
        if self.config.medium not in batch.media:
            return 0
        return int((batch.media[self.config.medium].lengths // self.per_tile).sum())

    def metrics(self, result: Pass) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Nothing besides the loss."""
        return {}
