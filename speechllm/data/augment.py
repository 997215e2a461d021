"""What is changed at random in training, and only there: speed, gain, noise, SpecAugment.

The operations are `features.augment`; here stand their strengths, as a preset's `[augment]` table.
"""

from dataclasses import dataclass

import numpy as np
import torch

from features import augment


@dataclass(frozen=True)
class Config:
    """Strengths; everything is off by default.

    Attributes:
        speed: factors, one drawn an utterance (Ko et al. 2015: 0.9, 1.0, 1.1).
        gain_db: gain drawn from -gain_db .. gain_db.
        noise_snr_db: (low, high) signal-to-noise ratio of added white noise.
        noise_share: share of utterances that get noise.
        freq_masks: number of SpecAugment's masks over mel bands, up to `freq_width` wide.
        time_masks: number of masks over time, up to `time_width` frames and `time_ratio` of all.
        time_warp: one frame is moved by up to so many frames, the rest stretched to fit.
        shift: frames are turned round by up to this share of the utterance, either way, what leaves
            at one end coming in at the other; for sounds, not for words.
        vtln: log-mel of a vocal tract 1 / vtln to vtln times as long (Jaitly & Hinton 2013).
    """

    speed: tuple[float, ...] = ()
    gain_db: float = 0.0
    noise_snr_db: tuple[float, ...] = (10.0, 30.0)
    noise_share: float = 0.0
    freq_masks: int = 0
    freq_width: int = 27
    time_masks: int = 0
    time_width: int = 100
    time_ratio: float = 0.2
    time_warp: int = 0
    shift: float = 0.0
    vtln: float = 0.0

    @property
    def on_waves(self) -> bool:
        """Whether the waveform itself is changed."""
        return bool(self.speed or self.noise_share or self.gain_db)

    def wave(self, wave: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
        """Augment a waveform (N,) -> (N',), float32."""
        if self.speed:
            wave = augment.speed_perturb(wave, float(rng.choice(self.speed)))
        if self.noise_share and rng.random() < self.noise_share:
            noise = rng.standard_normal(len(wave)).astype(np.float32)
            wave = augment.add_noise(wave, noise, float(rng.uniform(*self.noise_snr_db)), rng)
        if self.gain_db:
            wave = augment.gain(wave, float(rng.uniform(-self.gain_db, self.gain_db)))
        return wave

    def frames(self, x: torch.Tensor, n: int, rng: np.random.Generator) -> torch.Tensor:
        """Augment features (T, F); waveforms (N,) stay as they are."""
        if x.ndim == 1:
            return x
        if self.shift:
            x = torch.roll(x, round(float(rng.uniform(-self.shift, self.shift)) * len(x)), 0)
        if self.vtln:
            x = augment.warp_mel(x, float(rng.uniform(1 / self.vtln, self.vtln)))
        if self.time_warp:
            x = augment.time_warp(x, rng, self.time_warp)
        if self.freq_masks or self.time_masks:
            x = augment.spec_augment(
                x,
                rng,
                freq_masks=self.freq_masks,
                freq_width=self.freq_width,
                time_masks=self.time_masks,
                time_width=self.time_width,
                time_ratio=self.time_ratio,
            )
        return x
