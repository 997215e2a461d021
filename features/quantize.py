"""Quantisation: 8- and 16-bit linear, mu-law and A-law by their formulas, G.711 as telephones do.

    codes = linear_encode(wave, bits=8)         # int8; 16: int16
    codes = mulaw_encode(wave)                  # uint8, 256 levels: compress, then quantise evenly
    codes = g711_encode(wave, "alaw")           # uint8, as it goes over the line, bit for bit

    wave = through(wave, "mulaw")               # there and back; `features plot --quantize mulaw`

Each `_decode` gives float32 in [-1, 1] back. What lies outside [-1, 1] is clipped. Signal-to-noise
ratio that theory predicts, which the tests measure: uniform steps of D have the noise power D^2/12
(6.02 bits + 1.76 dB for a full-scale sine); behind a compressor F it is D^2/12 E[1 / F'(x)^2],
which for mu-law is near 38 dB for loud and quiet speech alike (Bennett 1948; Smith 1957).
"""

from functools import cache

import numpy as np

KINDS = ("linear8", "linear16", "mulaw", "alaw", "g711-mulaw", "g711-alaw")
MU = 255.0
A = 87.6
# G.711: full scale, and the bits that the line inverts
_LINE = {"mulaw": (32768.0, 0xFF), "alaw": (32768.0, 0x55)}


def through(wave: np.ndarray, kind: str) -> np.ndarray:
    """A wave (N,) as it comes back from one of KINDS, float32. Raises ValueError for another."""
    if kind not in KINDS:
        raise ValueError(f"quantize={kind!r}: wanted one of {', '.join(KINDS)}")
    if kind.startswith("linear"):
        bits = int(kind.removeprefix("linear"))
        return linear_decode(linear_encode(wave, bits), bits)
    if kind.startswith("g711-"):
        law = kind.removeprefix("g711-")
        return g711_decode(g711_encode(wave, law), law)
    if kind == "mulaw":
        return mulaw_decode(mulaw_encode(wave))
    return alaw_decode(alaw_encode(wave))


def snr_db(wave: np.ndarray, coded: np.ndarray) -> float:
    """Power of a wave over that of the error of `coded`, in dB; inf where there is no error."""
    signal, error = (np.square(x, dtype=np.float64).sum() for x in (wave, coded - wave))
    return float("inf") if not error else float(10 * np.log10(max(signal, 1e-30) / error))


def linear_encode(wave: np.ndarray, bits: int = 16) -> np.ndarray:
    """Samples in [-1, 1] to signed integers of 8 (int8) or 16 (int16) bits, rounded.

    Raises ValueError for another number of bits.
    """
    full = 2.0 ** (_width(bits) - 1)
    kind = np.int8 if bits == 8 else np.int16
    return np.clip(np.rint(np.asarray(wave) * full), -full, full - 1).astype(kind)


def linear_decode(codes: np.ndarray, bits: int = 16) -> np.ndarray:
    """Signed integers of 8 or 16 bits to float32 samples in [-1, 1)."""
    return codes.astype(np.float32) / np.float32(2.0 ** (_width(bits) - 1))


def mulaw_encode(wave: np.ndarray) -> np.ndarray:
    """Samples in [-1, 1] to codes 0..255, uint8, as torchaudio's mu_law_encoding."""
    return _to_levels(np.log1p(MU * _magnitude(wave)) / np.log1p(MU), wave)


def mulaw_decode(codes: np.ndarray) -> np.ndarray:
    """Codes 0..255 to float32 samples in [-1, 1]."""
    companded = _from_levels(codes)
    expanded = np.expm1(np.abs(companded) * np.log1p(np.float32(MU))) / np.float32(MU)
    return (np.sign(companded) * expanded).astype(np.float32)


def alaw_encode(wave: np.ndarray) -> np.ndarray:
    """Samples in [-1, 1] to codes 0..255, uint8: linear below 1/87.6, logarithmic above."""
    x = A * _magnitude(wave)
    return _to_levels(
        np.where(x < 1.0, x, 1.0 + np.log(np.maximum(x, 1.0))) / (1 + np.log(A)), wave
    )


def alaw_decode(codes: np.ndarray) -> np.ndarray:
    """Codes 0..255 to float32 samples in [-1, 1]."""
    companded = _from_levels(codes)
    y = np.abs(companded) * (1 + np.log(A))
    expanded = np.where(y < 1.0, y, np.exp(np.maximum(y, 1.0) - 1.0)) / A
    return (np.sign(companded) * expanded).astype(np.float32)


def g711_encode(wave: np.ndarray, law: str = "mulaw") -> np.ndarray:
    """Samples in [-1, 1] to the octets of ITU-T G.711, "mulaw" or "alaw", uint8.

    The nearest of the law's 256 values is taken. Raises ValueError for another law.
    """
    levels, codes = _sorted_levels(law)
    middles = (levels[1:] + levels[:-1]) / 2
    return codes[np.searchsorted(middles, np.asarray(wave, dtype=np.float64), side="right")]


def g711_decode(codes: np.ndarray, law: str = "mulaw") -> np.ndarray:
    """Octets of G.711 to float32 samples in [-1, 1]. Raises ValueError for another law."""
    return _levels(law).astype(np.float32)[codes]


@cache
def _levels(law: str) -> np.ndarray:
    """Value of each octet, (256,): sign, three bits of segment, four of place in it."""
    if law not in _LINE:
        raise ValueError(f"law={law!r}: wanted 'mulaw' or 'alaw'")
    full, inverted = _LINE[law]
    octets = np.arange(256) ^ inverted
    segment, place = octets >> 4 & 7, octets & 15
    if law == "mulaw":  # steps of 8 in 16 bits, doubled a segment; 132 is taken off
        magnitude = ((2 * place + 33 << segment) - 33) * 4
        negative = octets & 0x80 != 0
    else:
        magnitude = (
            np.where(segment == 0, 2 * place + 1, 2 * place + 33 << np.maximum(segment, 1) - 1) * 8
        )
        negative = octets & 0x80 == 0
    return np.where(negative, -magnitude, magnitude) / full


@cache
def _sorted_levels(law: str) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(_levels(law), kind="stable")
    return _levels(law)[order], order.astype(np.uint8)


def _width(bits: int) -> int:
    if bits not in (8, 16):
        raise ValueError(f"bits={bits!r}: wanted 8 or 16")
    return bits


def _magnitude(wave: np.ndarray) -> np.ndarray:
    return np.minimum(np.abs(wave), 1.0)


def _to_levels(magnitude: np.ndarray, wave: np.ndarray) -> np.ndarray:
    """Companded magnitudes with the wave's signs to 256 even levels."""
    return ((np.copysign(magnitude, wave) + 1.0) / 2.0 * 255.0 + 0.5).astype(np.uint8)


def _from_levels(codes: np.ndarray) -> np.ndarray:
    return codes.astype(np.float32) / np.float32(255.0) * 2.0 - 1.0
