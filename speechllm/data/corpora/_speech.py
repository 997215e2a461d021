"""Speech that is made here: utterances by espeak-ng, in rooms and noise, as FLAC.

Each shard is spoken by a fresh process (see `_espeak.py`), so that the same options give the same
bytes for any number of workers.
"""

import json
import multiprocessing
import os
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from tqdm import tqdm

from speechllm import files
from speechllm.data.corpora import _room
from speechllm.data.corpora._cast import Utterance
from speechllm.data.corpora._espeak import Espeak

SAMPLING_RATE = 16000


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How utterances sound, from which seed, by how many processes (0: all cores).

    Shares are of the utterances; noise is white, pink or of other voices, at snr_min to snr_max dB.
    """

    noise_share: float = 0.5
    snr_min: float = 15.0
    snr_max: float = 30.0
    reverb_share: float = 0.2
    seed: int = 0
    workers: int = 0


class Mark:
    """The file done.json, which says with which options a corpus is complete."""

    def __init__(self, out: Path, version: int, config: Settings):
        self.path = out / "done.json"
        # All that decides what is made: neither place nor number of workers.
        options = {k: v for k, v in asdict(config).items() if k not in ("out", "workers")}
        self.options = json.loads(json.dumps({"version": version} | options))

    def is_there(self) -> bool:
        """Say whether the corpus was completed with these options."""
        try:
            return files.read_json(self.path) == self.options
        except (OSError, ValueError):
            return False

    def remove(self) -> None:
        """Say that it is being made anew."""
        self.path.unlink(missing_ok=True)

    def write(self) -> None:
        """Say that it is complete."""
        files.write_json(self.path, self.options)


def check(config: Settings) -> None:
    """Refuse shares and ratios that make no sense. Raises ValueError."""
    if not (0 <= config.noise_share <= 1 and 0 <= config.reverb_share <= 1):
        raise ValueError(f"wanted noise_share and reverb_share of 0 to 1, got {config}")
    if config.snr_min > config.snr_max:
        raise ValueError(f"wanted snr_min up to snr_max, got {config}")


def speak(
    config: Settings,
    splits: dict[str, list[Utterance]],
    n_shards: dict[str, int],
    out: Path,
    crowd: Callable,
) -> dict[str, list[dict[str, Any]]]:
    """Speak all shards in processes of their own; rows per split, in order.

    crowd(split, utterances, rng) gives the utterances that babble is made of.
    """
    shards = [
        (split, number, part)
        for split, utterances in splits.items()
        for number, part in enumerate(_split(utterances, n_shards[split]))
        if part
    ]
    rows: dict[str, list[dict[str, Any]]] = {split: [] for split in splits}
    total = sum(map(len, splits.values()))
    spawn = multiprocessing.get_context("spawn")
    workers = config.workers or os.cpu_count() or 1
    with (
        tqdm(total=total, desc="speaking", unit="utt", disable=None) as bar,
        ProcessPoolExecutor(workers, mp_context=spawn, max_tasks_per_child=1) as pool,
    ):
        futures = [pool.submit(_speak, config, *shard, out, crowd) for shard in shards]
        for (split, _, utterances), future in zip(shards, futures, strict=True):
            rows[split] += future.result()
            bar.update(len(utterances))
    return rows


def _split(items: list[Utterance], n: int) -> list[list[Utterance]]:
    """Cut into n runs of nearly the same length."""
    edges = [len(items) * i // n for i in range(n + 1)]
    return [items[a:b] for a, b in zip(edges, edges[1:], strict=False)]


def _speak(
    config: Settings,
    split: str,
    number: int,
    utterances: list[Utterance],
    out: Path,
    crowd: Callable,
) -> list[dict[str, Any]]:
    """Speak one shard to FLAC files; its rows. Runs in a fresh process, see `_espeak`."""
    seed = zlib.crc32(f"{config.seed} {split} {number}".encode())
    espeak, rng = Espeak(seed % 2**31), np.random.default_rng(seed)
    voices = [_say(espeak, utterance) for utterance in crowd(split, utterances, rng)]
    folder = out / "audio" / split
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for utterance in utterances:
        wave = _disturb(_say(espeak, utterance), config, rng, voices)
        path = folder / f"{utterance.id}.flac"
        # The lowest compression is half again as fast, and 1 % larger.
        soundfile.write(path, wave, SAMPLING_RATE, subtype="PCM_16", compression_level=0.0)
        accent, variant = utterance.voice.split("+")
        row = {"id": utterance.id, "audio": str(path), "duration": len(wave) / SAMPLING_RATE}
        row |= {
            "text": utterance.text,
            "speaker": variant,
            "lang": accent.split("-")[0],
            "accent": accent,
        }
        rows.append(row)
    return rows


def _say(espeak: Espeak, utterance: Utterance) -> np.ndarray:
    wave = espeak.say(
        utterance.text, utterance.voice, utterance.wpm, utterance.pitch, utterance.pitch_range
    )
    return _room.trim(soxr.resample(wave, espeak.sampling_rate, SAMPLING_RATE))


def _disturb(
    wave: np.ndarray, config: Settings, rng: np.random.Generator, voices: list[np.ndarray]
) -> np.ndarray:
    """Silence around, a room, noise and a level, as the options say; float32 (N,)."""
    before, after = (rng.uniform(0.05, 0.3, size=2) * SAMPLING_RATE).astype(int)
    wave = np.pad(wave, (before, after))
    if rng.random() < config.reverb_share:
        wave = _room.reverberate(wave, rng, SAMPLING_RATE)
    if rng.random() < config.noise_share:
        kinds = (_room.white, _room.pink, lambda n, rng: _room.babble(n, rng, voices))
        noise = kinds[rng.integers(len(kinds))](len(wave), rng)
        wave = _room.add(wave, noise, rng.uniform(config.snr_min, config.snr_max))
    return _room.level(wave, rms_db=rng.uniform(-32, -18))
