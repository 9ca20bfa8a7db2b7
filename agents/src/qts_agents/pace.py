"""How fast bars arrive, in step with decisions or not, and when their absence makes a window stale (pure)."""

from __future__ import annotations

from qts_core.spec import System

STALE_BARS = 5
LIVE_BARS = 2


def lockstep(system: System) -> bool:
    """Tell whether the feed waits for decisions (replay at speed 0)."""
    replay = system.market.replay
    return system.market.source == "replay" and replay is not None and replay.speed == 0.0


def decided_every(system: System) -> int:
    """Return how many bars apart decisions are due."""
    return max(1, round(system.decision_interval / system.market_update_interval))


def pace_ns(system: System, bar_s: float) -> int:
    """Return the expected wall time between two bars of `bar_s` seconds of data, in ns."""
    market = system.market
    if market.source in ("live", "external"):
        return int(max(system.market_update_interval, bar_s) * 1e9)
    speed = market.replay.speed if market.source == "replay" and market.replay is not None else None
    return int((bar_s / speed if speed else system.market_update_interval) * 1e9)


def stale_after_ns(system: System, bar_s: float) -> int:
    """Return how long no bar may arrive before rows abstain: 5 intervals; live at least 2 bars."""
    interval = int(system.market_update_interval * 1e9)
    if system.market.source in ("live", "external"):
        return max(STALE_BARS * interval, int(LIVE_BARS * bar_s * 1e9))
    return STALE_BARS * max(interval, pace_ns(system, bar_s))
