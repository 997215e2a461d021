"""What `frontend.py` measures: other people's front ends with their versions, and sound.

A peer is a row (name with version, function of a wave (N,) float32 in [-1, 1] -> (T, dim)), or None
where it is not installed.
"""

import contextlib
import functools
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

RATE = 16000
CHUNK = 1600  # samples of a stream at a time


def _peer(package: str):
    """Decorator: a row named after the package and its version, None where it is absent."""

    def wrap(make):
        def row(*args):
            try:
                name = f"{package} {version(package)} {' '.join(map(str, args)).lower()}"
                return name, make(*args)
            except (PackageNotFoundError, ImportError) as error:
                print(f"{package}: not here ({error})")
                return None

        return row

    return wrap


@_peer("torchaudio")
def compliance(kind: str):
    """torchaudio.compliance.kaldi: fbank or mfcc."""
    import torch
    from torchaudio.compliance import kaldi

    bins = {"num_mel_bins": 80} if kind == "fbank" else {}
    compute = getattr(kaldi, kind)
    return lambda wave: compute(torch.from_numpy(wave)[None] * 32768, **bins).numpy()


@_peer("kaldi-native-fbank")
def native(kind: str):
    """kaldi-native-fbank: Fbank or Mfcc. It takes lists faster than arrays, while they fit."""
    import kaldi_native_fbank as knf

    options = getattr(knf, f"{kind}Options")()
    options.frame_opts.dither = 0.0
    if kind == "Fbank":
        options.mel_opts.num_bins = 80
    else:
        options.use_energy = False

    def compute(wave):
        computer = getattr(knf, f"Online{kind}")(options)
        scaled = wave * 32768
        computer.accept_waveform(RATE, scaled.tolist() if len(wave) < 2**20 else scaled)
        computer.input_finished()
        return np.stack([computer.get_frame(i) for i in range(computer.num_frames_ready)])

    return compute


@_peer("kaldi-native-fbank")
def online():
    """Its fbank80 of a wave in chunks, the frames taken as soon as they are there."""
    import kaldi_native_fbank as knf

    options = knf.FbankOptions()
    options.frame_opts.dither = 0.0
    options.mel_opts.num_bins = 80

    def compute(wave):
        computer, rows = knf.OnlineFbank(options), []
        for start in range(0, len(wave), CHUNK):
            computer.accept_waveform(RATE, (wave[start : start + CHUNK] * 32768).tolist())
            rows += [computer.get_frame(i) for i in range(len(rows), computer.num_frames_ready)]
        return np.stack(rows)

    return compute


@_peer("transformers")
def whisper(kind: str):
    """WhisperFeatureExtractor: its torch core on the bare wave, or the public call (30 s)."""
    from transformers import WhisperFeatureExtractor

    extractor = WhisperFeatureExtractor(feature_size=80)
    if kind == "torch core":
        return lambda wave: extractor._torch_extract_fbank_features(wave).T
    return lambda wave: extractor(wave, sampling_rate=RATE, return_tensors="np").input_features[0].T


@_peer("librosa")
def rosa(kind: str):
    """librosa's melspectrogram or mfcc in dB, with the frames of speech: 25 ms every 10 ms."""
    import librosa

    mel = functools.partial(
        librosa.feature.melspectrogram, sr=RATE, n_fft=512, win_length=400, hop_length=160,
        pad_mode="reflect", n_mels=80 if kind == "melspectrogram" else 40,
    )  # fmt: skip
    if kind == "melspectrogram":
        return lambda wave: librosa.power_to_db(mel(y=wave)).T
    in_db = functools.partial(librosa.power_to_db, top_db=None)
    return lambda wave: librosa.feature.mfcc(S=in_db(mel(y=wave)), n_mfcc=13).T


@_peer("asrfront")
def asrfront(kind: str):
    """asrfront's Kaldi fbank of SenseVoice, or its Whisper log-mel, bare or in its 30 s window."""
    from asrfront import qwen3_asr, sensevoice, whisper

    return {
        "fbank": sensevoice.fbank_raw,
        "log-mel": lambda wave: whisper.log_mel(wave, pad_or_trim=False).T,
        "log-mel 30 s": lambda wave: whisper.log_mel(wave).T,
        "log-mel 128": lambda wave: qwen3_asr.log_mel(wave).T,
    }[kind]


def waves(data: str, wanted: int) -> list:
    """Utterances (N,) of 2 to 15 s, real ones where there are."""
    import features

    files = [p for p in sorted(Path(data).rglob("*")) if p.suffix in (".flac", ".opus")]
    found = []
    for path in files[:: max(1, len(files) // (2 * wanted))] if data else []:
        with contextlib.suppress(ValueError):
            wave, _ = features.load(path, RATE)
            if 2 <= len(wave) / RATE <= 15 and len(found) < wanted:
                found.append(wave)
    rng = np.random.default_rng(0)
    while len(found) < wanted:
        found.append(_voice(rng, rng.uniform(2, 15)))
    return found


def _voice(rng, duration_s: float):
    """A buzz with moving formants, pauses and noise, float32 on the 16-bit grid."""
    t = np.arange(int(duration_s * RATE)) / RATE
    buzz = np.sign(np.sin(2 * np.pi * (120 * t + 6 * np.sin(3 * t)))) * (np.sin(9 * t) > -0.3)
    body = sum(np.sin(2 * np.pi * f * t + 3 * np.sin(5 * t)) for f in (500, 1500, 2500))
    wave = 0.07 * buzz * body + 0.002 * rng.standard_normal(len(t))
    return (np.round(wave * 32768) / 32768).astype(np.float32)


def long(waves, duration_s: float):
    """One wave of that length: the utterances one after another, again and again."""
    return np.resize(np.concatenate(waves), int(duration_s * RATE))


def flac_files(data: str, folder: Path, wanted: int) -> list[Path]:
    """FLAC files of the data folder, else made-up ones."""
    import soundfile

    files = sorted(Path(data).rglob("*.flac"))[:wanted] if data else []
    rng = np.random.default_rng(1)
    for i in range(0 if files else wanted):
        files.append(folder / f"{i}.flac")
        soundfile.write(files[-1], _voice(rng, rng.uniform(2, 15)), RATE)
    return files
