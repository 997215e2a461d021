"""The C library beside this file: found, checked, and one of its variants chosen.

setup.py builds it when the package is installed (native/frontend.c, once for each instruction set).
Here the widest variant that this processor runs is taken, or the one that FEATURES_KERNEL names:
avx512, avx2, neon or plain; torch, or FEATURES_FAST=0, for none. ctypes calls it, without the GIL.
Nothing here raises where there is no library: `load` says why, and torch computes the features.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

VARIANTS = {"avx512": 3, "avx2": 2, "neon": 1, "plain": 0}  # numbers of native/dispatch.c
REBUILD = "reinstall the package, or run `python setup.py build_ext --inplace` in its source"


class Plan(ctypes.Structure):
    """`Plan` of native/frontend.h."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in (
            "length shift columns first edge half stages live gap bins rows ceps dim center "
            "magnitude log energy order"
        ).split()),
        ("span", ctypes.c_double),
        *((name, ctypes.c_float) for name in (
            "preemphasis guard floor energy_scale energy_floor root offset divisor factor"
        ).split()),
        *((name, ctypes.c_void_p) for name in (
            "places window radix twiddle split slot row_start bin weight dct lifter"
        ).split()),
    ]  # fmt: skip


@dataclass(frozen=True)
class Kernel:
    """One variant: how many frames it computes at a time, and its functions."""

    name: str
    width: int
    scratch: Callable
    run: Callable
    wave: Callable
    place: str


@functools.cache
def load() -> tuple[Kernel | None, str]:
    """The variant to use, or None and the reason; asked once.

    Raises ValueError when FEATURES_KERNEL names one that is not, or does not run here.
    """
    wanted = os.environ.get("FEATURES_KERNEL", "")
    if wanted not in ("", "torch", *VARIANTS):
        raise ValueError(
            f"FEATURES_KERNEL={wanted!r}: wanted one of {', '.join(VARIANTS)}, torch; correct it"
        )
    if wanted == "torch" or os.environ.get("FEATURES_FAST") == "0":
        by = "FEATURES_KERNEL=torch" if wanted else "FEATURES_FAST=0"
        return None, f"{by} turns it off; unset it"
    library, why = opened()
    if library is None:
        return None, why
    names = [name for name, number in VARIANTS.items() if library.features_runs(number)]
    if wanted and wanted not in names:
        raise ValueError(
            f"FEATURES_KERNEL={wanted}: this processor and this build run {', '.join(names)}; "
            "take one of them, or unset it"
        )
    return variant(library, wanted or names[0]), ""


def status() -> str:
    """One line for `speechllm doctor`: active, or why not and what to do."""
    kernel, why = load()
    if kernel:
        return f"C kernel active, {kernel.width} frames at a time ({kernel.name}, {kernel.place})"
    return f"C kernel absent, torch computes features some 4 times slower: {why}"


def variant(library: ctypes.CDLL, name: str) -> Kernel:
    """The functions of one variant, with their types."""
    number, address = ctypes.c_int64, ctypes.c_void_p
    width, scratch, run, wave = (
        getattr(library, f"features_{word}_{name}") for word in ("width", "scratch", "run", "wave")
    )
    width.restype = scratch.restype = wave.restype = number
    run.restype = None
    run.argtypes = [address, address, number, number, number, address, number, address]
    wave.argtypes = [address, address, *[number] * 4, address, address, address]
    return Kernel(name, width(), scratch, run, wave, library._name)


def opened() -> tuple[ctypes.CDLL | None, str]:
    """The library, or None and what is wrong with it."""
    places = sorted(Path(__file__).parent.glob("_kernel.*"))
    if not places:
        return None, f"it was not built (no C compiler then?); {REBUILD}"
    try:
        library = ctypes.CDLL(str(places[0]))
        library.features_plan_size.restype = library.features_runs.restype = ctypes.c_int64
        library.features_runs.argtypes = [ctypes.c_int64]
        if library.features_plan_size() != ctypes.sizeof(Plan):
            return None, f"{places[0]} was built from another version; {REBUILD}"
    except (OSError, AttributeError) as error:
        return None, f"{' '.join(str(error).split())}; {REBUILD}"
    return library, ""
