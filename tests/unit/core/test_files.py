"""A file is replaced whole or not at all, and what failed leaves nothing beside it."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from qts_core.files import replace_file


@pytest.fixture
def little_room() -> Iterator[None]:
    """Files of this process end at 100 bytes, as on a disk that fills up within a write."""
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, former[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, former)


def test_a_file_is_replaced(tmp_path: Path) -> None:
    """By its owner's alone."""
    path = tmp_path / "state"
    path.write_bytes(b"former")
    replace_file(path, b"newer")
    assert path.read_bytes() == b"newer"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_without_room_the_former_file_stays_alone(tmp_path: Path, little_room: None) -> None:
    """Half a file would keep the room that is lacking."""
    path = tmp_path / "state"
    path.write_bytes(b"former")
    with pytest.raises(OSError, match="large"):
        replace_file(path, b"n" * 200)
    assert path.read_bytes() == b"former"
    assert list(tmp_path.iterdir()) == [path]
