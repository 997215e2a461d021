"""The embedded default: a small corpus spoken by espeak-ng, made in half a minute, without network.

Sentences of a small grammar (some 200 words) by many voices in eight accents of English at many
rates and pitches, in small rooms and mild noise; 16 kHz FLAC. What is in test and dev (voices,
that is espeak variants, and sentences) is never in train: `prepare` asserts it. Written are
`train.jsonl`, `dev.jsonl`, `test.jsonl` and `text.jsonl`: sentences alone, for the LLM's text
stage, none of them in dev or test. The same options give the same bytes.

    speechllm data prepare mini --out data/mini --hours 1.6
"""

import json
import multiprocessing
import os
import zlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from tqdm import tqdm

from speechllm.data import manifest
from speechllm.data.atomic import atomic
from speechllm.data.corpora import _grammar, _room
from speechllm.data.corpora._cast import Utterance, cast, plan
from speechllm.data.corpora._espeak import Espeak

SPLITS = ("train", "dev", "test", "text")
SAMPLING_RATE = 16000
VERSION = 2  # of what is made; raise it with any change of sentences, voices or sound
SHARDS = {"train": 6, "dev": 1, "test": 1}  # a fresh process each; more would give other bytes


@dataclass(frozen=True)
class Config:
    """Options of the corpus; `hours` of train are met within a few percent, workers 0: all cores.

    Shares are of the utterances; noise is white, pink or of other voices, at snr_min to snr_max dB.
    """

    out: str = "data/mini"
    hours: float = 1.6
    n_dev: int = 100
    n_test: int = 200
    n_text: int = 20000
    noise_share: float = 0.5
    snr_min: float = 15.0
    snr_max: float = 30.0
    reverb_share: float = 0.2
    seed: int = 0
    workers: int = 0

    def prepare(self) -> dict[str, Path]:
        """Make the corpus under `out`, or return at once where it is; manifests by name.

        Raises ValueError for options that make no sense and where espeak-ng is missing.
        """
        _check(self)
        out = Path(self.out).absolute()
        manifests = {name: out / f"{name}.jsonl" for name in SPLITS}
        done = out / "done.json"
        if _is_done(done, self) and all(path.exists() for path in manifests.values()):
            return manifests
        done.unlink(missing_ok=True)
        rng = np.random.default_rng(self.seed)
        splits, text = plan(self.hours, self.n_dev, self.n_test, self.n_text, rng)
        for split, rows in _speak_all(self, splits, out).items():
            manifest.write(manifests[split], rows)
        text_rows = ({"id": f"text-{i:06d}", "text": line} for i, line in enumerate(text))
        manifest.write(manifests["text"], text_rows)
        with atomic(done) as file:
            json.dump(_options(self), file, indent=1)
        return manifests


def prepare(out: str, **options: Any) -> dict[str, Path]:
    """Make the corpus under `out`; see Config. Returns the manifests train, dev, test and text."""
    return Config(out=out, **options).prepare()


def _check(config: Config) -> None:
    if config.hours <= 0 or min(config.n_dev, config.n_test) < 1 or config.n_text < 0:
        raise ValueError(f"wanted hours, n_dev and n_test above 0, got {config}")
    if not (0 <= config.noise_share <= 1 and 0 <= config.reverb_share <= 1):
        raise ValueError(f"wanted noise_share and reverb_share of 0 to 1, got {config}")
    if config.snr_min > config.snr_max:
        raise ValueError(f"wanted snr_min up to snr_max, got {config}")


def _options(config: Config) -> dict[str, Any]:
    """All that decides what is made: neither place nor number of workers."""
    options = {k: v for k, v in asdict(config).items() if k not in ("out", "workers")}
    return {"version": VERSION} | options


def _is_done(done: Path, config: Config) -> bool:
    try:
        return json.loads(done.read_text()) == _options(config)
    except (OSError, ValueError):
        return False


def _speak_all(
    config: Config, splits: dict[str, list[Utterance]], out: Path
) -> dict[str, list[dict[str, Any]]]:
    """Speak all shards in processes of their own; rows per split, in order."""
    shards = [
        (split, number, part)
        for split, utterances in splits.items()
        for number, part in enumerate(_split(utterances, SHARDS[split]))
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
        futures = [pool.submit(_speak, config, *shard, out) for shard in shards]
        for (split, _, utterances), future in zip(shards, futures, strict=True):
            rows[split] += future.result()
            bar.update(len(utterances))
    return rows


def _split(items: list[Utterance], n: int) -> list[list[Utterance]]:
    """Cut into n runs of nearly the same length."""
    edges = [len(items) * i // n for i in range(n + 1)]
    return [items[a:b] for a, b in zip(edges, edges[1:], strict=False)]


def _speak(
    config: Config, split: str, number: int, utterances: list[Utterance], out: Path
) -> list[dict[str, Any]]:
    """Speak one shard to FLAC files; its rows. Runs in a fresh process, see `_espeak`."""
    seed = zlib.crc32(f"{config.seed} {split} {number}".encode())
    espeak, rng = Espeak(seed % 2**31), np.random.default_rng(seed)
    chatter = cast(split, _grammar.sentences(12, rng, taken=set()), rng)
    crowd = [_say(espeak, utterance) for utterance in chatter]
    folder = out / "audio" / split
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for utterance in utterances:
        wave = _disturb(_say(espeak, utterance), config, rng, crowd)
        path = folder / f"{utterance.id}.flac"
        # The lowest compression is half again as fast, and 1 % larger.
        soundfile.write(path, wave, SAMPLING_RATE, subtype="PCM_16", compression_level=0.0)
        accent, variant = utterance.voice.split("+")
        row = {"id": utterance.id, "audio": str(path), "duration": len(wave) / SAMPLING_RATE}
        row |= {"text": utterance.text, "speaker": variant, "lang": "en", "accent": accent}
        rows.append(row)
    return rows


def _say(espeak: Espeak, utterance: Utterance) -> np.ndarray:
    wave = espeak.say(
        utterance.text, utterance.voice, utterance.wpm, utterance.pitch, utterance.pitch_range
    )
    return _room.trim(soxr.resample(wave, espeak.sampling_rate, SAMPLING_RATE))


def _disturb(
    wave: np.ndarray, config: Config, rng: np.random.Generator, crowd: list[np.ndarray]
) -> np.ndarray:
    """Silence around, a room, noise and a level, as the options say; float32 (N,)."""
    before, after = (rng.uniform(0.05, 0.3, size=2) * SAMPLING_RATE).astype(int)
    wave = np.pad(wave, (before, after))
    if rng.random() < config.reverb_share:
        wave = _room.reverberate(wave, rng, SAMPLING_RATE)
    if rng.random() < config.noise_share:
        kinds = (_room.white, _room.pink, lambda n, rng: _room.babble(n, rng, crowd))
        noise = kinds[rng.integers(len(kinds))](len(wave), rng)
        wave = _room.add(wave, noise, rng.uniform(config.snr_min, config.snr_max))
    return _room.level(wave, rms_db=rng.uniform(-32, -18))
