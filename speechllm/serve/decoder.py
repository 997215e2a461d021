"""The process in which a client's file is decoded: one a file, small, and soon gone.

    python -m speechllm.serve.decoder SOCKET       # started by `sounds.Decoders`, holds no model

waits on a socket for {"folder": ..., "rate": ..., ...} with the end of a pipe, and forks. The child
takes limits on itself before it reads the first byte, and writes to the pipe

    i{"duration_s": ...}       once: what is in the file
    w<float32 samples>         (N,), mono, at the wanted rate; many
    .                          the end; or e<message>

of a sound, and of a picture (where "max_pixels" is asked for instead of a rate) i{"shape": ...} and
its bytes, (height, width, 3) uint8.

The pipe holds little, so that the reader's pace is the decoder's, and a reader that goes away ends
it. The file is `sound` in the folder; messages call it so. Nothing here imports torch.
"""

import json
import os
import resource
import signal
import socket
import sys
from multiprocessing.connection import Connection

import features
from features import audio, image  # noqa: F401  (loaded once, before the forks)

SOUND, PICTURE = "sound", "picture"  # files in a request's folder
CPU_S = 20.0, 0.2  # seconds of computing that a file may take: a start, and a share of its length
WRITTEN = 1 << 20  # bytes of files: what ffmpeg says stands in one
CHUNK = 1 << 16  # samples
REQUEST = 1 << 16  # bytes


def main(control: socket.socket) -> None:
    """Fork for each request, until the server is gone."""
    for one in (signal.SIGINT, signal.SIGTERM):  # the server ends by them when it has drained
        signal.signal(one, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    while True:
        request, ends, *_ = socket.recv_fds(control, REQUEST, 1)
        if not request:
            return
        if os.fork() == 0:
            control.close()
            _child(Connection(ends[0], readable=False), json.loads(request))
        os.close(ends[0])


def _child(pipe: Connection, request: dict) -> None:
    """Decode, whatever comes, and end the process."""
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.chdir(request["folder"])
        limit(request["memory_mb"], request["max_duration_s"])
        if "max_pixels" in request:
            _see(pipe, request["max_pixels"])
        else:
            _decode(pipe, request["rate"], request["max_duration_s"])
        pipe.send_bytes(b".")
    except MemoryError:
        pipe.send_bytes(b"efile: wants more memory than a file may take")
    except ValueError as error:
        told = str(error).replace(f"file:{os.getcwd()}/", "").replace(f"{os.getcwd()}/", "")
        pipe.send_bytes(b"e" + told.encode("utf-8", "replace"))
    finally:  # also where the reader has gone away
        os._exit(0)


def limit(memory_mb: int, max_duration_s: float) -> None:
    """Bound memory, time and what is written, of this process and its children."""
    if sys.platform.startswith("linux"):  # elsewhere the system keeps no such bound
        with open("/proc/self/statm", encoding="ascii") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
        most = now + memory_mb * 1_000_000
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    seconds = round(CPU_S[0] + CPU_S[1] * max_duration_s)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (WRITTEN, WRITTEN))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _decode(pipe: Connection, rate: int, max_duration_s: float) -> None:
    duration_s = features.info(SOUND).duration_s
    if duration_s > max_duration_s:
        raise ValueError(
            f"{SOUND}: lasts {duration_s:.0f} s, at most {max_duration_s:g} s are taken"
        )
    pipe.send_bytes(b"i" + json.dumps({"duration_s": duration_s}).encode())
    with features.blocks(SOUND, rate) as wave:
        for block in wave:
            for at in range(0, len(block), CHUNK):
                pipe.send_bytes(b"w" + block[at : at + CHUNK].tobytes())


def _see(pipe: Connection, max_pixels: int) -> None:
    said = image.info(PICTURE)
    if said.width * said.height > max_pixels:
        raise ValueError(
            f"{PICTURE}: {said.width} x {said.height} pixels, at most {max_pixels:,} are taken"
        )
    pixels = image.load(PICTURE)
    pipe.send_bytes(b"i" + json.dumps({"shape": pixels.shape}).encode())
    data = pixels.tobytes()
    for at in range(0, len(data), CHUNK):
        pipe.send_bytes(b"w" + data[at : at + CHUNK])


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
