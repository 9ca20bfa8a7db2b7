"""Why a Redis is not reached, in words that name cause and remedy (pure)."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

from redis.exceptions import InvalidResponse, RedisError

_TRUST = "redis/ca.crt of the secrets, in a cluster as `ca.crt` in the Secret of spec.redis.urlSecretRef"
_CLOSED = "it closes the connection: one that wants TLS does so; its address begins with rediss:// then"
#: first that fits: what was raised → what is wrong, and what ends it
_WORDS: tuple[tuple[type[BaseException], str], ...] = (
    (socket.gaierror, "its name is not known to the DNS; look at the host of its URL"),
    (
        ssl.SSLCertVerificationError,
        "its certificate is not trusted ({text}); give its authority as " + _TRUST,
    ),
    (ssl.SSLError, "it speaks no TLS, or another one ({text}); without TLS its address begins with redis://"),
    (
        ConnectionRefusedError,
        "nobody listens at its address; look at the port of its URL, and if it runs",
    ),
    (InvalidResponse, "what answers at its address is no Redis"),
    (ConnectionResetError, _CLOSED),
    (TimeoutError, "it does not answer in time; a firewall or NetworkPolicy may keep it away"),
)


def away(error: BaseException) -> str:
    """Return why the server is not reached; "" where that is not known."""
    chain = [*_chain(error)]
    for kind, words in _WORDS:
        for each in chain:
            if isinstance(each, kind):
                return words.format(text=_text(each))
    return _CLOSED if isinstance(error, RedisError) and "closed by server" in str(error) else ""


def _text(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return str(error.verify_message)
    return str(getattr(error, "reason", "") or "")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it came of; bounded, as a chain may be a ring."""
    for _ in range(8):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__
