"""Times and durations as Kubernetes and resources write them. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def stamp(now: float) -> str:
    """Return seconds since the epoch as Kubernetes writes times."""
    return datetime.fromtimestamp(int(now), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_of(text: str) -> float | None:
    """Return seconds since the epoch of a Kubernetes time, None for anything else."""
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except (ValueError, AttributeError):
        return None


@lru_cache(1024)
def seconds(text: str) -> float:
    """Return a duration such as 2m or 120s in seconds."""
    return sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9]+)(ms|s|m|h)", text))


def back_off(first_s: float, tries: int, longest_s: float) -> float:
    """Return `first_s` doubled for every try after the first, at most `longest_s`."""
    return min(first_s * float(2 ** min(max(tries - 1, 0), 30)), longest_s)
