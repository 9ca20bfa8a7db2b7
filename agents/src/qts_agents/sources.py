"""A document from a file or over HTTP, whole, bounded in size and time. Does IO."""

from __future__ import annotations

import time
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from qts_core.errors import RemoteError

LIMIT = 16 * 2**20  # bytes
PATIENCE_S = 5.0
CHUNK = 2**16


def named(source: str) -> str:
    """Return what messages call a source: a URL without its query, which may hold a key."""
    return source.partition("?")[0] if source.startswith(("http://", "https://")) else source


def read(source: str) -> bytes:
    """Return the document at a path or URL; RemoteError names the source, what is wrong and the remedy."""
    url, source = source, named(source)
    try:
        if source.startswith(("http://", "https://")):
            with urlopen(url, timeout=PATIENCE_S) as answer:  # noqa: S310 - the scheme has just been looked at
                return _whole(source, answer)
        with Path(source).open("rb") as file:
            return _whole(source, file)
    except FileNotFoundError:
        raise RemoteError(f"{source}: no such file; write it, or correct the setting") from None
    except HTTPError as error:
        raise RemoteError(f"{source}: the server says {error.code} {error.reason}; correct the URL") from None
    except URLError as error:
        raise RemoteError(
            f"{source}: not reached ({error.reason}); is it up, may this process ask there?"
        ) from None
    except (OSError, HTTPException) as error:
        raise RemoteError(f"{source}: cannot be read ({error}); is it up and readable?") from None


def _whole(source: str, stream: BinaryIO) -> bytes:
    """Return everything, as long as it comes in time and is not too much."""
    until_s, parts, size = time.monotonic() + PATIENCE_S, [], 0
    while part := stream.read(CHUNK):
        parts.append(part)
        size += len(part)
        if size > LIMIT:
            raise RemoteError(f"{source}: more than {LIMIT // 2**20} MiB; leave out what is old")
        if time.monotonic() > until_s:
            raise RemoteError(
                f"{source}: not whole after {PATIENCE_S:.0f} s; serve it faster or make it shorter"
            )
    return b"".join(parts)
