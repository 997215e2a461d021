"""What batches took of the memory is given back: an hour takes no more than its largest batch."""

import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Iterator

# of malloc.h: M_ARENA_MAX, M_MMAP_THRESHOLD
ARENA_MAX, ARENAS = -8, 2
MMAP_THRESHOLD = -3
TRIM_S = 5.0
# shapes for which convolutions are kept, by oneDNN and by torch: else 1024 each, 20 kB and more the
# piece, of which batches of ever other sizes use few again
SHAPES = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "16", "LRU_CACHE_CAPACITY": "16"}


def flat_memory(large_mb: int = 8) -> None:
    """Let what batches took be given back, before any thread is started and anything computed.

    By itself glibc keeps an arena for each thread, and puts tensors of up to 32 MB among small
    things that stay, where batches of ever other sizes leave holes; and a convolution is kept for
    each of their sizes. What the environment says of that already is left so.

    Args:
        large_mb: a tensor beyond it has pages of its own. With 1 what is kept is least, and a
            Whisper takes a fifth more time for fresh pages.
    """
    for name, value in SHAPES.items():
        os.environ.setdefault(name, value)
    if mallopt := _glibc("mallopt"):
        mallopt(ARENA_MAX, ARENAS)
        mallopt(MMAP_THRESHOLD, large_mb << 20)


@contextlib.contextmanager
def trimmed() -> Iterator[None]:
    """Give back the holes in the heap every few seconds, where there is glibc.

    For what answers for days, in batches of ever other sizes.
    """
    trim, over = _glibc("malloc_trim"), threading.Event()

    def go_on() -> None:
        while trim and not over.wait(TRIM_S):
            trim(0)

    thread = threading.Thread(target=go_on, name="trim", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _glibc(name: str):
    """Give a function of glibc, None where there is none of that name."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
