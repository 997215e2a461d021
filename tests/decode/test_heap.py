"""Memory of a process that computes for days, in batches of ever other sizes."""

import subprocess
import sys

import pytest

SIZES = """
import ctypes, sys
import torch
from speechllm.decode.heap import flat_memory

class Info(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info
if sys.argv[1] == "flat":
    flat_memory()
convolution, x = torch.nn.Conv1d(64, 64, 5), torch.zeros(2, 64, 1000)

def used(first, last):
    with torch.no_grad():
        for n in range(first, last):
            convolution(x[:, :, :n])
    return libc.mallinfo2().uordblks

before = used(100, 140)
print(used(140, 260) - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks glibc")
def test_what_convolutions_of_ever_other_sizes_leave():
    """Nothing; without it megabytes, which is what this is for."""
    left = {}
    for how in ("flat", "as it is"):
        done = subprocess.run(
            [sys.executable, "-c", SIZES, how], capture_output=True, text=True, check=False
        )
        if "mallinfo2" in done.stderr:
            pytest.skip("no glibc that tells")
        left[how] = int(done.stdout)
    assert left["flat"] < 300_000 < 1_500_000 < left["as it is"], left
