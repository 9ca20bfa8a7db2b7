"""Cores that do not fall asleep between messages, and processes that need not wait for others.

A decision wakes five processes in turn, some ten times. A core that sleeps takes its time to wake, on a
virtual machine most of all: Linux keeps all cores awake while somebody holds a request for 0 µs open
(Documentation/power/pm_qos_interface); the price is their power. And a process that wakes at an ordinary
priority may have to wait for the one that runs: at a real-time priority (sched(7)) it does not.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qts_core.errors import ConfigError

DEVICE = Path("/dev/cpu_dma_latency")
REAL_TIME = 1  # the lowest of its priorities comes before all ordinary ones


@contextmanager
def low_latency(device: Path = DEVICE) -> Iterator[None]:
    """Keep cores awake and run ahead of others, with all that is started; ConfigError if that is refused."""
    with cores_awake(device), ahead_of_others():
        yield


@contextmanager
def cores_awake(device: Path = DEVICE) -> Iterator[None]:
    """Hold the request meanwhile; the kernel drops it when the process ends, however it ends.

    ConfigError where the system has no such device or the user may not write it.
    """
    try:
        held = os.open(device, os.O_WRONLY)
    except FileNotFoundError:
        why = f"{device} is not there; only Linux has it, leave the option out"
        raise ConfigError(f"--low-latency: {why}") from None
    except OSError as error:
        what = f"{device} cannot be opened ({error.strerror})"
        raise ConfigError(f"--low-latency: {what}; run as root, or let this user write it") from None
    try:
        os.write(held, struct.pack("=i", 0))
        yield
    finally:
        os.close(held)


@contextmanager
def ahead_of_others() -> Iterator[None]:
    """Give this thread, and the processes that it starts meanwhile, a real-time priority if it has none.

    Linux leaves a twentieth of each core to all others (`sched_rt_runtime_us`), whatever they compute.
    ConfigError where this user may not.
    """
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    if policy not in (os.SCHED_FIFO, os.SCHED_RR):
        try:
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(REAL_TIME))
        except OSError as error:
            what = f"a real-time priority is not to be had ({error.strerror})"
            why = "run as root, or raise this user's limit `rtprio`"
            raise ConfigError(f"--low-latency: {what}; {why}") from None
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, priority)
