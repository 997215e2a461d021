"""What benchmarks/model.py times: our system, its peer, what is said to both, and batches of it."""

import dataclasses

import model_peers
import torch

from speechllm import config
from speechllm.data.chat import Builder
from speechllm.data.collate import collate
from speechllm.data.examples import Example
from speechllm.models import tiny
from speechllm.models.system import System

TOKENS_PER_S = 4  # of speech, as text


class Case:
    """A system, its model, and the peer with the same weights, where there is one."""

    def __init__(self, name: str, size: str, device: str):
        made = model_peers.make(name, size) if name in model_peers.FAMILIES else None
        preset = made[0] if made else config.load(name)
        preset = tiny.shrink(preset) if size == "tiny" and not made else tiny.bare(preset)
        self.system = System(preset, tiny.tokenizer(preset))
        self.device, self.name = device, name
        self.pad = self.system.tokenizer.pad_token_id
        dtype = torch.bfloat16 if device == "cuda" else torch.float32
        self.ours = self.system.build().to(device, dtype)
        self.theirs = None
        if made:
            self.theirs = model_peers.build(made[1], self.pad).to(device, dtype)
            model_peers.share(name, self.theirs, self.ours)
        for model in filter(None, (self.ours, self.theirs)):
            for part, parameter in model.named_parameters():
                parameter.requires_grad_("encoder." not in part and "audio_tower" not in part)

    def said(self, seconds: list[float]) -> list[tuple[torch.Tensor, list[dict]]]:
        """Make utterances of noise, and talks whose answers are random letters."""
        rate, made = self.system.extractor.sampling_rate, []
        for i, s in enumerate(seconds):
            generator = torch.Generator().manual_seed(i)
            wave = 0.1 * torch.randn(int(s * rate), generator=generator)
            letters = torch.randint(97, 123, (int(s * TOKENS_PER_S),), generator=generator)
            content = [{"type": "audio"}, {"type": "text", "text": "Transcribe the speech."}]
            talk = [
                {"role": "user", "content": content},
                {"role": "assistant", "content": "".join(map(chr, letters))},
            ]
            made.append((wave, talk))
        return made

    def examples(self, said: list, answer: bool = True) -> list[Example]:
        """Make examples of utterances and talks."""
        builder, front = Builder.of(self.system), self.system.extractor
        made = []
        for i, (wave, talk) in enumerate(said):
            x, n = front(wave)
            encoded = builder.build(talk, [self.system.soft_tokens(n)], answer)
            row = {"id": str(i), "duration": len(wave) / front.sampling_rate}
            made.append(Example(row, encoded, [x], [n]))
        return made

    def encoder(self, model) -> torch.nn.Module:
        """Find the encoder in ours or the peer."""
        ends = "encoder", "audio_tower"
        return next(m for name, m in model.named_modules() if name.endswith(ends))

    def moved(self, inputs: dict) -> dict:
        """Put inputs of the peer on the device, in the model's precision."""
        dtype = next(self.ours.parameters()).dtype
        return {
            key: value.to(self.device, dtype if value.is_floating_point() else None)
            for key, value in inputs.items()
        }

    def batch(self, examples: list[Example], pack: int = 0):
        """Collate, on the device, in the model's precision."""
        batch = collate(examples, self.pad, pack=pack).to(self.device)
        sound, dtype = batch.media["audio"], next(self.ours.parameters()).dtype
        return dataclasses.replace(batch, media={"audio": sound._replace(x=sound.x.to(dtype))})


def durations(n: int) -> list[float]:
    """Draw n durations from 2 to 30 s, the longest 30 s."""
    generator = torch.Generator().manual_seed(1)
    drawn = 2 + 28 * torch.rand(n, generator=generator)
    return [30.0, *drawn.tolist()][:n] if n > 1 else [12.0]
