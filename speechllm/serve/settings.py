"""What a server is told: where it listens, who may come in, and how much it takes.

Everything that a client could make large has its limit here.
"""

import ipaddress
from dataclasses import dataclass
from pathlib import Path

TOKEN_LEAST = 16  # characters: fewer can be guessed
LOCAL = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True)
class Settings:
    """How to serve.

    Attributes:
        host, port: where it listens; port 0 takes a free one.
        token: what every request must bring, "" for none; without one only this machine may ask.
        name: of the model, as clients call it.
        hosts: further names by which clients may call the server (a proxy's), besides its own.
        max_bytes: of one request's body.
        max_duration_s: of one file.
        max_chat_s: of all sounds of one conversation.
        max_pixels: of all pictures of one conversation.
        max_requests: that are worked on or wait, together; one more is answered 429.
        max_batch_s: how much is computed at once, windows times the longest, in seconds.
        max_tokens: of one chat answer.
        memory_mb: that the process which decodes a file may take besides what it begins with.
        head_s: seconds in which a request's line and headers must be there.
        body_s: seconds in which its body must be there.
        drain_s: seconds that running requests have after SIGTERM.
        vad: who finds speech (`decode/voice.py`).
        page: whether there is a page for browsers.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str = ""
    name: str = "speechllm"
    hosts: tuple[str, ...] = ()
    max_bytes: int = 25_000_000
    max_duration_s: float = 3600.0
    max_chat_s: float = 300.0
    max_pixels: int = 50_000_000
    max_requests: int = 64
    max_batch_s: float = 200.0
    max_tokens: int = 1000
    memory_mb: int = 512
    head_s: float = 20.0
    body_s: float = 60.0
    drain_s: float = 30.0
    vad: str = "auto"
    page: bool = False

    def __post_init__(self):
        """Refuse what would let anybody in."""
        if not self.token and not is_loopback(self.host):
            raise ValueError(
                f"--host {self.host}: others than this machine may ask there; give --token-file "
                "FILE (or listen on 127.0.0.1)"
            )

    @property
    def names(self) -> frozenset[str]:
        """Hosts by which requests may call the server, as they stand before the port."""
        own = f"[{self.host}]" if ":" in self.host else self.host
        return frozenset(name.lower() for name in (*LOCAL, own, *self.hosts))


def is_loopback(host: str) -> bool:
    """Say whether a host is this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_token(path: Path) -> str:
    """Read the token: the one line of a file.

    Raises:
        ValueError: no line, several, one that is too short, or that a header cannot hold.
        OSError: the file cannot be read.
    """
    try:
        lines = Path(path).read_text("ascii").split("\n")
    except UnicodeDecodeError:
        raise ValueError(f"{path}: a token is of ASCII letters and digits") from None
    words = [line.strip() for line in lines if line.strip()]
    if len(words) != 1 or len(words[0]) < TOKEN_LEAST or not words[0].isprintable():
        raise ValueError(
            f"{path}: wanted one line of at least {TOKEN_LEAST} characters, such as "
            "`python -c 'import secrets; print(secrets.token_urlsafe(32))'` writes"
        )
    return words[0]
