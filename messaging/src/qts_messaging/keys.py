"""CURVE key pairs and Redis passwords as files: create, load, refuse what others can read.

A line of such a file is `SECRET` or `SECRET GENERATION`; without a number it is generation 1.
`curve/<name>.pub` may hold two lines while keys change: the older key stays valid as long as it is listed.
"""

from __future__ import annotations

import errno
import os
import secrets as randomness
from collections.abc import Iterable
from pathlib import Path

import msgspec
import zmq

from qts_core.errors import ConfigError

Z85_LENGTH = 40
CURVE_DIR, REDIS_DIR = "curve", "redis"
MOUNTED = "..data"  # the link by which a kubelet swaps what it has mounted
OF_FILES = "give both the files of one `qts keys new`"
OF_OPERATOR = (
    "raise spec.messaging.credentialsGeneration of the resource: the operator then gives every process new "
    "keys, and nothing restarts"
)


class CurveKeys(msgspec.Struct, frozen=True):
    """The own pair, and the public keys of every peer (newest first: two are valid during a rotation)."""

    public: bytes
    secret: bytes
    peers: dict[str, tuple[bytes, ...]]
    generation: int = 1  # of the own pair
    accepted: int = 1  # every peer's key of this generation is on the list
    remedy: str = OF_FILES  # where keys do not belong together

    def allowed(self) -> dict[bytes, str]:
        """Return public key → agent name: who may speak to us."""
        return {key: name for name, keys in self.peers.items() for key in keys}


def create_curve(folder: Path, names: Iterable[str]) -> None:
    """Write curve/<name>.key (secret, 0600) and curve/<name>.pub below `folder` (0700) for each name."""
    curve = _private(folder / CURVE_DIR)
    for name in names:
        public, secret = zmq.curve_keypair()
        _write(curve / f"{name}.key", secret.decode())
        _write(curve / f"{name}.pub", public.decode())


def create_passwords(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Write redis/<name>.password (0600) below `folder`; return name → password."""
    redis = _private(folder / REDIS_DIR)
    passwords = {name: randomness.token_urlsafe(32) for name in names}
    for name, password in passwords.items():
        _write(redis / f"{name}.password", password)
    return passwords


def load_curve(folder: Path, name: str) -> CurveKeys:
    """Read the own pair and the allow-list below `folder`; ConfigError names file and remedy."""
    curve = folder / CURVE_DIR
    own = curve / f"{name}.key"
    (secret, generation), *_ = _keys(read_secret(own), own)
    found = {path.stem: _keys(path.read_text(), path) for path in sorted(curve.glob("*.pub"))}
    return CurveKeys(
        public=zmq.curve_public(secret),
        secret=secret,
        peers={peer: tuple(key for key, _ in keys) for peer, keys in found.items()},
        generation=generation,
        accepted=min((keys[0][1] for keys in found.values()), default=generation),
        remedy=OF_OPERATOR if (folder / MOUNTED).exists() else OF_FILES,
    )


def load_password(folder: Path | None, name: str) -> tuple[str, int] | None:
    """Read redis/<name>.password and its generation; None when there is none."""
    path = None if folder is None else folder / REDIS_DIR / f"{name}.password"
    return generation_of(read_secret(path), path) if path is not None and path.exists() else None


def generation_of(line: str, path: Path) -> tuple[str, int]:
    """Split `SECRET GENERATION`; ConfigError names the file."""
    secret, _, number = line.strip().partition(" ")
    if number and not (number.isascii() and number.isdigit() and int(number) > 0):
        raise ConfigError(f"{path}: after the secret a generation (1, 2, …) may stand, nothing else")
    return secret, int(number or 1)


def read_secret(path: Path) -> str:
    """Read a file that only its owner and group may read; ConfigError with the chmod that mends it."""
    try:
        mode = path.stat().st_mode
        text = path.read_text()
    except OSError as error:
        remedy = "; create keys with `qts keys new`" if error.errno == errno.ENOENT else ""
        raise ConfigError(f"{path}: {error.strerror}{remedy}") from error
    if mode & 0o007:
        raise ConfigError(f"{path}: mode {mode & 0o777:04o} lets others use it; run: chmod o-rwx {path}")
    return text


def _keys(text: str, path: Path) -> tuple[tuple[bytes, int], ...]:
    """Read Z85 keys with their generations, one a line; the newest comes first."""
    lines = [generation_of(line, path) for line in text.splitlines() if line.strip()]
    if not lines or any(len(key) != Z85_LENGTH for key, _ in lines):
        raise ConfigError(f"{path}: expected {Z85_LENGTH} characters of Z85 on each line")
    return tuple((key.encode(), number) for key, number in sorted(lines, key=lambda line: -line[1]))


def _private(folder: Path) -> Path:
    """Make a folder that only its owner may enter."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.parent.chmod(0o700)
    folder.chmod(0o700)
    return folder


def _write(path: Path, text: str) -> None:
    """Write a file that only its owner may read, from its first byte on."""
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text + "\n")
