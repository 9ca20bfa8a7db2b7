"""The request that keeps cores awake: held while a run lasts, refused in plain words."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qts_cli.latency import cores_awake
from qts_core.errors import ConfigError


def holders(device: Path) -> int:
    """Return how many of our own descriptors are of this file."""
    fds = Path("/proc/self/fd")
    return sum(os.path.realpath(fd) == str(device) for fd in fds.iterdir())


def test_zero_microseconds_are_asked_for_until_the_end(tmp_path: Path) -> None:
    device = tmp_path / "latency"
    device.touch()
    with cores_awake(device):
        assert device.read_bytes() == bytes(4)
        assert holders(device) == 1
    assert holders(device) == 0


@pytest.mark.parametrize("there", [True, False])
def test_a_device_that_cannot_be_held_is_named_with_the_remedy(tmp_path: Path, there: bool) -> None:
    device = tmp_path if there else tmp_path / "none"  # a folder cannot be written
    with pytest.raises(ConfigError, match="--low-latency: ") as refused, cores_awake(device):
        raise AssertionError("nothing is held")
    assert str(device) in str(refused.value)
    assert ("run as root" if there else "leave the option out") in str(refused.value)
