"""Whole files from and to addresses that fsspec knows: s3://, http(s)://, gs://, sftp://, memory://.

Each kind takes its keys from where its other tools do: S3 from AWS_ACCESS_KEY_ID and
AWS_SECRET_ACCESS_KEY or a profile, its server, where that is not Amazon's, from AWS_ENDPOINT_URL.
"""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

TRIES = 3  # of a transfer that has begun and breaks; who never answers is told at once
WAIT_S = 1.0  # before the second, twice as long before the third
# by the name of an error: its type is in a package that need not be there
ADVICE = {
    "FileNotFoundError": "no such file or bucket; check the address",
    "NoCredentialsError": "no keys; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile",
    "PermissionError": "access is refused; check the keys and what they are allowed",
    "EndpointConnectionError": "no server answers; check the network, and AWS_ENDPOINT_URL if set",
}


def fetch(url: str, place: Path) -> None:
    """Copy the file at an address to `place`, which is whole afterwards or not there.

    Raises:
        ValueError: it cannot be fetched.
    """
    import fsspec

    unfinished = place.with_suffix(".part")
    try:
        for tried in range(1, TRIES + 1):
            try:
                fs, path = fsspec.url_to_fs(url)
                fs.get_file(path, str(unfinished))
                break
            except Exception as error:
                begun = unfinished.exists() and unfinished.stat().st_size
                if tried == TRIES or not begun or getattr(error, "errno", 0) == errno.ENOSPC:
                    raise
            time.sleep(WAIT_S * tried)
        os.replace(unfinished, place)
    except Exception as error:  # each kind of address has its own
        raise _told(url, "fetched", error) from None
    finally:
        unfinished.unlink(missing_ok=True)


def put(place: Path, url: str) -> None:
    """Copy the file `place` to an address, where folders are made and buckets are not.

    Raises:
        ValueError: it cannot be written.
    """
    import fsspec

    try:
        fs, path = fsspec.url_to_fs(url)
        if path.startswith("/"):  # else its first word is a bucket
            fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        fs.put_file(str(place), path)
    except Exception as error:
        raise _told(url, "written", error) from None


def size(url: str) -> int | None:
    """Number of bytes of the file at an address; None where nobody says."""
    import fsspec

    try:
        fs, path = fsspec.url_to_fs(url)
        fs.invalidate_cache(path)
        return fs.size(path)
    except Exception:
        return None


def _told(url: str, what: str, error: Exception) -> ValueError:
    said = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, ImportError):
        return ValueError(f"{url}: {said} (for s3 and http: pip install 'speechllm[remote]')")
    # what has a file name is of this disk
    advice = None if getattr(error, "filename", None) else ADVICE.get(type(error).__name__)
    return ValueError(f"{url}: cannot be {what}: {advice or said}")
