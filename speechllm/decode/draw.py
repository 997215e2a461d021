"""Pictures of a model with discrete tokens: those of a manifest as its tokens keep them, and new.

The encoder `titok` makes tokens of a picture and the head `titok` draws it again; the head
`maskgit`, where there is one, writes tokens of what a row's answer says, and they are drawn, too.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from speechllm.data.batch import Batch, Kind
from speechllm.data.collate import collate
from speechllm.data.examples import Example, Examples
from speechllm.data.manifest import Manifest
from speechllm.decode import maskgit
from speechllm.decode.gallery import Drawn, Gallery
from speechllm.models.encoders import _vision
from speechllm.models.heads.maskgit import named
from speechllm.models.heads.titok import encoder_of
from speechllm.ranges import Count, Positive


@dataclass(frozen=True)
class Options:
    """How new pictures are written; rows: of a batch; seed: of what is drawn by chance."""

    writing: maskgit.Config
    rows: Positive = 64
    seed: Count = 0
    medium: str = "image"


def draw(system, model, manifest: Manifest, out: Path, options: Options, facts: dict) -> list[str]:
    """Draw what the rows of a manifest show and name, into a folder; give the lines to quote.

    facts: what their signature says, as preset and seed.

    Raises:
        ValueError: a model that has not learned to draw; a row that does not show one tile and say
            what it is; no row.
    """
    examples, artist = Examples.of(system, manifest), Artist(system, model.eval(), options)
    gallery = Gallery(out, artist.codes)
    for begin in range(0, len(manifest), options.rows):
        here = range(begin, min(begin + options.rows, len(manifest)))
        chosen = [examples.make(0, i) for i in here]
        for i, one in zip(here, chosen, strict=True):
            if fault := artist.fault(one):
                raise examples.wrong(ValueError(fault), manifest.line(i), one.row)
        gallery.hang([one.row for one in chosen], artist.drawn(chosen, begin))
    if not len(manifest):
        raise ValueError(f"{manifest.path}: no row in it")
    return gallery.close(facts)


class Artist:
    """Draws batches of examples.

    Raises:
        ValueError: the model has no encoder and head `titok`.
    """

    def __init__(self, system, model, options: Options):
        if "titok" not in model.heads:
            raise ValueError("the model cannot draw: no phase of it has the objective titok")
        self.model, self.options, self.tokenizer = model, options, system.tokenizer
        self.front = system.branches[options.medium].front
        self.encoder = encoder_of(model, options.medium)
        self.device = next(model.parameters()).device

    @property
    def codes(self) -> int:
        """How many there are in the codebook."""
        return self.encoder.config.codes

    def fault(self, one: Example) -> str:
        """Say why an example cannot be drawn; "" where it can."""
        if one.lengths != [self.encoder.config.per_tile]:
            return f"wanted one picture of {self.encoder.config.per_tile} patches: {one.lengths}"
        return "" if Kind.ANSWER in one.encoded.kinds else "wanted an answer that names the picture"

    @torch.no_grad()
    def drawn(self, examples: list[Example], number: int) -> Drawn:
        """Draw a batch, whose first row has this number."""
        batch = collate(examples, self.tokenizer.pad_token_id).to(self.device)
        x, lengths = batch.media[self.options.medium]
        states, codes, _ = self.encoder.quantised(x, lengths)
        was, again = self._pixels(_vision.split(x)[0]), self._shown(states)
        new = self._new(batch, number) if "maskgit" in self.model.heads else None
        return Drawn(was.numpy(), again.numpy(), new, codes.cpu().numpy())

    def _new(self, batch: Batch, number: int):
        """New pictures of what is answered."""
        wanted = named(self.model, batch.ids, batch.kinds == Kind.ANSWER)
        # one number of 32 bits: all that a generator takes of its seed
        seed = np.random.default_rng((self.options.seed, number)).integers(2**31)
        chance = torch.Generator(self.device).manual_seed(int(seed))
        network = self.model.heads["maskgit"]
        codes = maskgit.write(network, wanted, self.options.writing, chance)
        return self._shown(self.encoder.states_of(codes)).numpy()

    def _shown(self, states):
        return self._pixels(self.model.heads["titok"](states))

    def _pixels(self, x):
        """Patches (N, P, C p p), normalised, as pictures (N, H, W, C) of 0 to 1."""
        front, n = self.front, self.front.channels
        x = _vision.pictures(x.float().cpu(), n, front.side).permute(0, 2, 3, 1)
        mean, std = (torch.tensor(values[:n]) for values in (front.mean, front.std))
        return (x * std + mean).clamp(0, 1)
