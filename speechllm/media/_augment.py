"""What is changed at random in training, and only there: speed, rooms, noise, gain, SpecAugment.

The operations are `features.augment`; here stand their strengths, as a preset's `[augment]` table.
Noises and impulse responses are sound files: a folder (searched through), a manifest or one file.
Which of them, which part and how loud comes from the example's generator alone.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch

import features
from features import augment, sources
from speechllm.ranges import Count, NotNegative, Share

KEPT = 1024  # impulse responses in memory, those used last
LAWS, FILLS = ("mulaw", "alaw"), ("mean", "zero")


@dataclass(frozen=True)
class Config:
    """Strengths; everything is off by default.

    Attributes:
        speed: factors, one drawn an utterance (Ko et al. 2015: 0.9, 1.0, 1.1).
        rooms: impulse responses, a folder or manifest; of a file with several channels the first,
            if no row says which.
        room_share: share of utterances that are heard in one of them (Ko et al. 2017).
        noise: noises, a folder or manifest; "" is white noise.
        noise_snr_db: (low, high) signal-to-noise ratio of a random part of one of them.
        noise_share: share of utterances that get noise.
        gain_db: gain drawn from -gain_db .. gain_db.
        telephone_share: share of utterances that go through a telephone: 300 to 3400 Hz, G.711.
        telephone_law: its codes, one drawn an utterance: "mulaw", "alaw".
        freq_masks: number of SpecAugment's masks over mel bands, up to `freq_width` wide.
        time_masks: number of masks over time, up to `time_width` frames and `time_ratio` of all.
        mask_fill: what stands under a mask, the features' "mean" or "zero".
        time_warp: one frame is moved by up to so many frames, the rest stretched to fit.
        shift: frames are turned round by up to this share of the utterance, either way, what leaves
            at one end coming in at the other; for sounds, not for words.
        state_masks: stretches of encoder states that are masked by the utterance's mean state, each
            up to `state_width` long; also where the states are stored.
        vtln: log-mel of a vocal tract 1 / vtln to vtln times as long (Jaitly & Hinton 2013), on
            the front end's own mel axis.
    """

    speed: tuple[float, ...] = ()
    rooms: str = ""
    room_share: Share = 0.0
    noise: str = ""
    noise_snr_db: tuple[float, ...] = (10.0, 30.0)
    noise_share: Share = 0.0
    gain_db: NotNegative = 0.0
    telephone_share: Share = 0.0
    telephone_law: tuple[str, ...] = ("mulaw",)
    freq_masks: Count = 0
    freq_width: Count = 27
    time_masks: Count = 0
    time_width: Count = 100
    time_ratio: Share = 0.2
    mask_fill: str = "mean"
    time_warp: Count = 0
    shift: Share = 0.0
    vtln: NotNegative = 0.0
    state_masks: Count = 0
    state_width: Count = 25

    def __post_init__(self):
        for name in ("room_share", "noise_share", "telephone_share", "time_ratio"):
            _wanted(name, 0.0 <= getattr(self, name) <= 1.0, self, "a share from 0 to 1")
        _wanted("room_share", bool(self.rooms) == bool(self.room_share), self, "it beside rooms")
        _wanted("noise_share", self.noise_share or not self.noise, self, "it beside noise")
        snr_db = self.noise_snr_db
        _wanted("noise_snr_db", len(snr_db) == 2 and snr_db[0] <= snr_db[1], self, "[low, high]")
        _wanted("speed", all(0.25 <= f <= 4.0 for f in self.speed), self, "factors from 0.25 to 4")
        laws = set(self.telephone_law)
        _wanted("telephone_law", laws and laws <= set(LAWS), self, f"some of {LAWS}")
        _wanted("mask_fill", self.mask_fill in FILLS, self, f"one of {FILLS}")
        _wanted("vtln", not self.vtln or 1.0 <= self.vtln <= 2.0, self, "0 (off) or 1 to 2")

    @property
    def on_waves(self) -> bool:
        """Whether the waveform itself is changed."""
        shares = self.room_share or self.noise_share or self.telephone_share
        return bool(self.speed or self.gain_db or shares)

    def refuse_stored(self) -> None:
        """Refuse what cannot be done to stored states: changes of what they were made of.

        Raises:
            ValueError: names the first such setting.
        """
        changes = ("speed", "rooms", "noise_share", "gain_db", "telephone_share", "freq_masks")
        for name in (*changes, "time_masks", "time_warp", "shift", "vtln"):
            if getattr(self, name):
                raise ValueError(
                    f"[augment] {name} changes what the encoder hears, but its states are stored: "
                    "take it out (state_masks works on states), or the manifest without states"
                )

    def spans(self, n: int, rng: np.random.Generator) -> torch.Tensor | None:
        """Draw which of n states are masked, (n,); None where none ever is."""
        if not self.state_masks:
            return None
        masked = torch.zeros(n, dtype=torch.bool)
        for _ in range(self.state_masks):
            width = int(rng.integers(min(self.state_width, n) + 1))
            begin = int(rng.integers(n - width + 1))
            masked[begin : begin + width] = True
        return masked

    def check(self, extractor: features.Extractor) -> None:
        """Look for the noises and rooms and warp once, before training starts.

        Raises:
            ValueError: no such folder or manifest, no sound in it, the first cannot be read; a
                front end without mel bins, or too narrow for `vtln`.
        """
        for name in ("noise", "rooms"):
            if source := getattr(self, name):
                try:
                    features.info(_sounds(source)[0].path)
                except ValueError as error:
                    raise ValueError(f"[augment] {name} = {source!r}: {error}") from None
        try:
            for factor in (1 / self.vtln, self.vtln) if self.vtln else ():
                augment.warp_mel(np.zeros((1, extractor.dim)), factor, **extractor.mel_axis)
        except ValueError as error:
            raise ValueError(f"[augment] vtln = {self.vtln}: {error}") from None

    def wave(self, wave: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
        """Augment a waveform (N,) -> (N',), float32."""
        if self.speed:
            wave = augment.speed_perturb(wave, float(rng.choice(self.speed)))
        if _happens(self.room_share, rng):
            wave = augment.reverberate(wave, _room(_one_of(self.rooms, rng), rate))
        if _happens(self.noise_share, rng):
            noise = self._noise(len(wave), rate, rng)
            snr_db = float(rng.uniform(*self.noise_snr_db))
            if noise.any():  # a pause in a noise is no noise
                wave = augment.add_noise(wave, noise, snr_db, rng)
        if self.gain_db:
            wave = augment.gain(wave, float(rng.uniform(-self.gain_db, self.gain_db)))
        if _happens(self.telephone_share, rng):
            wave = augment.telephone(wave, rate, law=str(rng.choice(self.telephone_law)))
        return wave

    def frames(
        self, x: torch.Tensor, extractor: features.Extractor, rng: np.random.Generator
    ) -> torch.Tensor:
        """Augment features (T, F) of the extractor; waveforms (N,) stay as they are."""
        if x.ndim == 1:
            return x
        if self.shift:
            x = torch.roll(x, round(float(rng.uniform(-self.shift, self.shift)) * len(x)), 0)
        if self.vtln:
            factor = float(rng.uniform(1 / self.vtln, self.vtln))
            x = augment.warp_mel(x, factor, **extractor.mel_axis)
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
                fill=self.mask_fill,
            )
        return x

    def _noise(self, n: int, rate: int, rng: np.random.Generator) -> np.ndarray:
        """At most `n` samples of a noise; only that part of the file is decoded."""
        if not self.noise:
            return rng.standard_normal(n).astype(np.float32)
        item = _one_of(self.noise, rng)
        length_s = item.duration_s or features.info(item.path).duration_s - item.start_s
        start_s = float(rng.uniform(0.0, max(length_s - n / rate, 0.0)))
        wanted_s = min(math.ceil(n / rate * 1000) / 1000, length_s - start_s)
        began, channel = item.start_s + start_s, item.channel
        return features.load(item.path, rate, began, wanted_s, channel=channel)[0]


def _wanted(name: str, fine, config: Config, what: str) -> None:
    if not fine:
        raise ValueError(f"{name}: wanted {what}, got {getattr(config, name)!r}")


def _happens(share: float, rng: np.random.Generator) -> bool:
    return bool(share) and rng.random() < share


def _one_of(source: str, rng: np.random.Generator) -> sources.Item:
    sounds = _sounds(source)
    return sounds[int(rng.integers(len(sounds)))]


@functools.cache
def _sounds(source: str) -> list[sources.Item]:
    """What the folder or manifest holds, in order of the names."""
    return sources.find(source)


@functools.lru_cache(KEPT)
def _room(item: sources.Item, rate: int) -> np.ndarray:
    channel = item.channel or 0
    room, _ = features.load(item.path, rate, item.start_s, item.duration_s, channel=channel)
    if not room.any():
        raise ValueError(f"{item.path}: an impulse response of zeros; take it out of the rooms")
    return room
