"""A sound in memory, which libsndfile reads without asking Python for each piece of it."""

from __future__ import annotations

import ctypes
import functools

import soundfile

from features import kernel

NAMES = ("get_filelen", "seek", "read", "write", "tell")


class Memory(soundfile.SoundFile):
    """soundfile's SoundFile of `bytes`, opened for reading.

    soundfile has no call for that: its method that opens is replaced, and where it has changed, or
    there is no C library, a file object is read as ever.
    """

    def __init__(self, file, data: bytes):
        self._data = data
        super().__init__(file)

    def _open(self, file, mode_int, closefd):
        functions = _functions()
        if functions is None:
            return super()._open(file, mode_int, closefd)
        library, ffi = soundfile._snd, soundfile._ffi
        begin = int(ffi.cast("intptr_t", ffi.from_buffer(self._data)))
        self._place = ffi.new("int64_t[3]", [begin, len(self._data), 0])  # `Place` of memory.c
        place = ffi.cast("void*", self._place)
        opened = library.sf_open_virtual(functions, mode_int, self._info, place)
        # what cannot be opened is said by soundfile
        return opened if opened != ffi.NULL else super()._open(file, mode_int, closefd)


@functools.cache
def _functions():
    """The functions of native/memory.c for libsndfile; None where they cannot be had."""
    library = kernel.opened()[0]
    try:
        ffi, found = soundfile._ffi, {}
        for name in NAMES:
            address = ctypes.cast(library[f"features_memory_{name}"], ctypes.c_void_p).value
            found[name] = ffi.cast(f"sf_vio_{name}", address)
        return ffi.new("SF_VIRTUAL_IO*", found)
    except Exception:  # another soundfile, a library of before, none
        return None
