"""What makes decisions come sooner: held while a run lasts, refused in plain words."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qts_cli.latency import REAL_TIME, ahead_of_others, cores_awake
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


def test_a_user_without_the_right_to_run_ahead_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    with pytest.raises(ConfigError, match=r"--low-latency: .*not permitted.*rtprio"), ahead_of_others():
        raise AssertionError("nobody runs ahead")


def test_who_runs_ahead_already_keeps_its_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    """`chrt -r 10 qts run --low-latency` is not slowed down; an ordinary one ends as it began."""
    now, set_ = [os.SCHED_RR, 10], []

    def follow(_: int, policy: int, param: os.sched_param) -> None:
        set_.append((policy, param.sched_priority))

    monkeypatch.setattr(os, "sched_getscheduler", lambda _: now[0])
    monkeypatch.setattr(os, "sched_getparam", lambda _: os.sched_param(now[1]))
    monkeypatch.setattr(os, "sched_setscheduler", follow)
    with ahead_of_others():
        assert set_ == []
    now[:], set_[:] = [os.SCHED_OTHER, 0], []
    with ahead_of_others():
        assert set_ == [(os.SCHED_RR, REAL_TIME)]
    assert set_[1:] == [(os.SCHED_OTHER, 0)]
