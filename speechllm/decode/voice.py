"""Is somebody speaking? The probability of speech for every 32 ms of a wave that comes in chunks.

    detector = voice.detector("auto", 16000)
    for chunk in wave:
        shares = detector(chunk)           # (frames,) in 0..1, of the frames that these complete
    shares = detector.flush()              # of what is left, filled up with zeros

"silero" is the network of the package `silero-vad` (MIT), whose weights are read from its
safetensors; the package itself is not imported, since that would set torch's number of threads.
Its whole recurrent part is one LSTM over many frames, so that an hour takes seconds. "energy" needs
nothing installed: it hears what is louder than what was quietest in the ten seconds around, and
takes music for speech. "none" hears speech everywhere.
"""

import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from features.resampling import Resampler

RATE = 16000
FRAME = 512  # samples
FRAME_S = FRAME / RATE
KINDS = ("auto", "silero", "energy", "none")

CONTEXT = 64  # samples of the frame before that the network sees, too
BATCH = 938  # frames computed at once: 30 s

REACH = 156  # frames on either side in which the floor is looked for: 5 s
FLOOR = 0.05  # share of frames that are quieter than the floor
ABOVE_DB, SILENT_DB = 9.0, -55.0  # speech is so far above the floor, and louder than this
SLOPE_DB = 3.0


def detector(kind: str, rate: int):
    """Make a detector for a wave of this sampling rate.

    Raises:
        ValueError: no such kind; "silero" where its package is not installed.
    """
    if kind not in KINDS:
        raise ValueError(f"vad: wanted one of {', '.join(KINDS)}, got {kind!r}")
    kind = chosen(kind)
    if kind == "silero":
        return _Framed(Silero(*_network(weights())), rate)
    return _Framed(Energy() if kind == "energy" else Everything(), rate)


def chosen(kind: str) -> str:
    """Say which detector "auto" is here.

    Raises:
        ValueError: "silero" is wanted where its package is not installed.
    """
    if kind in ("auto", "silero") and weights() is None:
        if kind == "silero":
            raise ValueError(
                "vad silero: the package silero-vad is not installed; pip install silero-vad "
                "(or speechllm[vad]), or take energy"
            )
        return "energy"
    return "silero" if kind == "auto" else kind


def weights() -> Path | None:
    """Find the weights of silero-vad, None where they are not installed."""
    package = importlib.util.find_spec("silero_vad")
    for home in (package.submodule_search_locations or []) if package else []:
        path = Path(home) / "data" / "silero_vad_16k.safetensors"
        if path.exists():
            return path
    return None


@cache
def _network(path: Path) -> tuple[dict[str, torch.Tensor], nn.LSTM]:
    """Read the network once for all who listen: a server has hundreds of files a minute.

    Returns:
        Its tensors by their names in the package's safetensors, and its LSTM.
    """
    from safetensors.torch import load_file

    tensors = load_file(path)
    return tensors, recurrent(tensors)


def recurrent(tensors: dict[str, torch.Tensor]) -> nn.LSTM:
    """Make the recurrent part of the network from its tensors."""
    lstm = nn.LSTM(128, 128).eval()
    parts = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    lstm.load_state_dict({f"{part}_l0": tensors[f"lstm_cell.{part}"] for part in parts})
    return lstm


class _Framed:
    """Brings chunks (N,) of any length and rate to whole frames (n, FRAME) at 16 kHz."""

    def __init__(self, heard, rate: int):
        self._heard = heard
        self._resampler = Resampler(rate, RATE) if rate != RATE else None
        self._left = np.zeros(0, np.float32)

    def __call__(self, chunk: np.ndarray) -> np.ndarray:
        if self._resampler:
            chunk = self._resampler(chunk[None])[0]
        return self._frames(chunk)

    def flush(self) -> np.ndarray:
        rest = self._resampler.flush()[0] if self._resampler else self._left[:0]
        shares = self._frames(rest)
        filled = -len(self._left) % FRAME
        return np.concatenate([shares, self._frames(self._left[:0], filled), self._heard.flush()])

    def _frames(self, chunk: np.ndarray, zeros: int = 0) -> np.ndarray:
        wave = np.concatenate([self._left, chunk, np.zeros(zeros, np.float32)])
        n = len(wave) // FRAME
        self._left = wave[n * FRAME :]
        return self._heard(wave[: n * FRAME].reshape(n, FRAME)) if n else np.zeros(0, np.float32)


class Everything:
    """All is speech."""

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        return np.ones(len(frames), np.float32)

    def flush(self) -> np.ndarray:
        return np.zeros(0, np.float32)


class Energy:
    """Loudness above a floor that moves: what one frame in twenty around is quieter than."""

    def __init__(self):
        self._db = np.zeros(0, np.float32)  # of frames around those that are still to be judged
        self._judged = 0  # of them

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        centred = frames - frames.mean(1, keepdims=True)
        db = 10 * np.log10(np.square(centred).mean(1) + 1e-12)
        self._db = np.concatenate([self._db, db.astype(np.float32)])
        return self._judge(len(self._db) - REACH)

    def flush(self) -> np.ndarray:
        return self._judge(len(self._db))

    def _judge(self, stop: int) -> np.ndarray:
        """Judge the frames up to `stop`, and forget what no later frame looks at."""
        first, db = self._judged, self._db
        if stop <= first:
            return np.zeros(0, np.float32)
        around = [db[max(i - REACH, 0) : i + REACH + 1] for i in range(first, stop)]
        floor = np.array(
            [np.partition(x, int(FLOOR * len(x)))[int(FLOOR * len(x))] for x in around]
        )
        loud = np.maximum(floor + ABOVE_DB, SILENT_DB)
        drop = max(stop - REACH, 0)
        self._db, self._judged = db[drop:], stop - drop
        return (1 / (1 + np.exp(-(db[first:stop] - loud) / SLOPE_DB))).astype(np.float32)


class Silero:
    """Spectrum, four convolutions, LSTM: (n, FRAME) -> (n,), its state kept between calls.

    Args:
        tensors: by their names in the package's safetensors; nothing in them changes.
        lstm: of `recurrent`.
    """

    def __init__(self, tensors: dict[str, torch.Tensor], lstm: nn.LSTM):
        self._tensors, self._lstm = tensors, lstm
        self._context = torch.zeros(1, CONTEXT)
        self._state = None

    @torch.no_grad()
    def __call__(self, frames: np.ndarray) -> np.ndarray:
        with torch.autocast("cpu", enabled=False):
            pieces = torch.from_numpy(frames).split(BATCH)
            return np.concatenate([self._some(piece).numpy() for piece in pieces])

    def flush(self) -> np.ndarray:
        return np.zeros(0, np.float32)

    def _some(self, frames: torch.Tensor) -> torch.Tensor:
        tensors = self._tensors
        before = torch.cat([self._context, frames[:-1, -CONTEXT:]])
        self._context = frames[-1:, -CONTEXT:].clone()
        x = functional.pad(torch.cat([before, frames], 1), (0, CONTEXT), mode="reflect")
        x = functional.conv1d(x[:, None], tensors["stft_conv.weight"], stride=128)
        real, imaginary = x.chunk(2, 1)
        x = (real.square() + imaginary.square()).sqrt()  # (n, 129, 4)
        for layer, stride in (("conv1", 1), ("conv2", 2), ("conv3", 2), ("conv4", 1)):
            weight, bias = tensors[f"{layer}.weight"], tensors[f"{layer}.bias"]
            x = functional.conv1d(x, weight, bias, stride, padding=1).relu()
        states, self._state = self._lstm(x[:, :, 0], self._state)  # (n, 128): one sequence
        weight, bias = tensors["final_conv.weight"], tensors["final_conv.bias"]
        return functional.linear(states.relu(), weight[:, :, 0], bias).sigmoid()[:, 0]
