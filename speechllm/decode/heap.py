"""What batches took of the memory is given back: an hour takes no more than its largest batch."""

import ctypes
import sys

# of malloc.h: M_ARENA_MAX, M_MMAP_THRESHOLD
ARENA_MAX, ARENAS = -8, 2
MMAP_THRESHOLD = -3


def flat_memory(large_mb: int = 8) -> None:
    """Let glibc give back what batches took, before any thread is started; elsewhere do nothing.

    By itself it keeps an arena for each thread, and puts tensors of up to 32 MB among small things
    that stay, where batches of ever other sizes leave holes.

    Args:
        large_mb: a tensor beyond it has pages of its own. With 1 what is kept is least, and a
            Whisper takes a fifth more time for fresh pages.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mallopt(ARENA_MAX, ARENAS)
        mallopt(MMAP_THRESHOLD, large_mb << 20)
