"""What a voter has learned, on disk between two lives of its process; one small file, replaced at once.

The state itself is opaque here. Around it stand what it depends on (a digest of the settings that shaped it)
and the last bar it has seen, so that no bar is learned twice. A digest of all that ends the file: a changed
byte of a number would decode and be believed.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from qts_core.errors import ConfigError, LocalError
from qts_core.files import replace_file
from qts_core.spec import System

SEAL = 16  # bytes of that digest


class Kept(msgspec.Struct, frozen=True):
    """A state and where in the feed it stands."""

    shaped_by: str
    epoch: int
    seq: int
    state: bytes


def shaped_by(system: System, wire: str) -> str:
    """Return a digest of the settings that decide what the agent `wire` learns from and how."""
    shapes = (getattr(system, wire, None), system.market, system.horizon_bars, system.system_seed)
    return hashlib.blake2b(msgspec.msgpack.encode(shapes), digest_size=16).hexdigest()


def keep(path: Path, kept: Kept) -> None:
    """Replace the file, whole or not at all; LocalError when the disk refuses."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        content = msgspec.msgpack.encode(kept)
        replace_file(path, content + _seal(content))
    except OSError as error:
        raise LocalError(f"{path}: {error.strerror or error}") from error


def recall(path: Path) -> Kept | None:
    """Return what was kept; None when there is nothing, ConfigError when it is damaged."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    content, seal = raw[:-SEAL], raw[-SEAL:]
    if _seal(content) != seal:
        raise ConfigError(f"{path}: damaged, as its {len(raw)} bytes do not fit the digest at their end")
    try:
        return msgspec.msgpack.decode(content, type=Kept)
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path}: damaged ({error})") from error


def set_aside(path: Path) -> Path:
    """Put a file of no use beside its folder, which a run's end removes; the newest of several stays.

    OSError where it cannot be moved.
    """
    return path.replace(path.parent.with_name(f"{path.name}.bad"))


def _seal(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=SEAL).digest()
