"""Cores that do not fall asleep between messages.

A decision wakes five processes in turn, some ten times, and a core that sleeps takes its time to wake, on a
virtual machine most of all. Linux keeps all cores awake while somebody holds a request for 0 µs open
(Documentation/power/pm_qos_interface); the price is their power.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qts_core.errors import ConfigError

DEVICE = Path("/dev/cpu_dma_latency")


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
