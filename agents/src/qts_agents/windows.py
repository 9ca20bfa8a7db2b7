"""MarketWindow ↔ the Window that travels inline on first contact (pure)."""

from __future__ import annotations

from typing import Any

from qts_agents.agent import MarketWindow
from qts_agents.columns import array, column
from qts_messaging.messages import Window

_COLUMNS = ("open", "high", "low", "close", "volume", "spread", "imbalance", "depth", "market_ret")


def to_wire(window: MarketWindow) -> Window:
    """Return the window as wire columns."""
    columns = {name: column(getattr(window, name)) for name in _COLUMNS}
    return Window(
        symbols=window.symbols,
        window_seq=window.window_seq,
        asof_ns=window.asof_ns,
        bar_s=window.bar_s,
        close_ns=column(window.close_ns, "i8"),
        valid=column(window.valid, "u1"),
        fee=window.fee,
        spread_assumed=window.spread_assumed,
        **columns,
    )


def from_wire(window: Window) -> MarketWindow:
    """Return read-only views of the columns' bytes."""
    columns: dict[str, Any] = {name: array(getattr(window, name)) for name in _COLUMNS}
    return MarketWindow(
        symbols=window.symbols,
        window_seq=window.window_seq,
        asof_ns=window.asof_ns,
        bar_s=window.bar_s,
        close_ns=array(window.close_ns),
        valid=array(window.valid),
        fee=window.fee,
        spread_assumed=window.spread_assumed,
        **columns,
    )
