"""The GPU's part of `frontend.py`: a batch of 64 x 15 s, ours against torchaudio on the same GPU.

torchaudio.transforms.MelSpectrogram takes the batch at once; torchaudio.compliance.kaldi.fbank
takes one utterance, so it is called for each. Both get their samples where ours do, on the GPU.
"""

import numpy as np

RATE, ROWS, DURATION_S = 16000, 64, 15
TOLERANCE = 1e-3  # in the logarithm


def race(compare, rounds: int) -> None:
    """Print the tables of `compare(ways, seconds of sound, rounds, clock)`."""
    import time

    import torch

    if not torch.cuda.is_available():
        print(f"\nno GPU: the batch of {ROWS} x {DURATION_S} s was not measured")
        return
    print(f"\nGPU: {torch.cuda.get_device_name()}")
    noise = np.random.default_rng(0).standard_normal((ROWS, DURATION_S * RATE)) * 0.1
    waves = torch.from_numpy(noise.astype(np.float32)).cuda()
    for ways in (_mel(waves), _fbank(waves)):
        _agree(ways)
        for way in ways.values():  # plans of the FFT, first allocations
            way()
        compare(_waiting(ways), ROWS * DURATION_S, rounds * 5, time.perf_counter)


def _mel(waves) -> dict:
    from torchaudio.transforms import MelSpectrogram

    import features

    ours, lengths = features.get("torchaudio_mel"), [waves.shape[1]] * len(waves)
    theirs = MelSpectrogram(RATE, n_fft=400, hop_length=160, n_mels=80).cuda()
    return {
        "ours, torchaudio_mel": lambda: ours(waves, lengths)[0].clamp(min=1e-10).log(),
        "torchaudio MelSpectrogram": lambda: theirs(waves).mT.clamp(min=1e-10).log(),
    }


def _fbank(waves) -> dict:
    import torch
    from torchaudio.compliance import kaldi

    import features

    ours, lengths = features.get("kaldi_fbank80"), [waves.shape[1]] * len(waves)
    scaled = waves * 32768
    return {
        "ours, kaldi_fbank80": lambda: ours(waves, lengths)[0],
        "torchaudio kaldi.fbank": lambda: torch.stack(
            [kaldi.fbank(wave[None], num_mel_bins=80) for wave in scaled]
        ),
    }


def _agree(ways: dict) -> None:
    first, *others = (way() for way in ways.values())
    for other in others:
        apart = float((first - other).abs().mean())
        assert apart < TOLERANCE, f"GPU: {list(ways)} compute something else ({apart:.1e})"


def _waiting(ways: dict) -> dict:
    """The same, each until the GPU is done."""
    import torch

    return {name: lambda way=way: (way(), torch.cuda.synchronize()) for name, way in ways.items()}
