"""Made-up order events beside real bars: honest flow, and in it episodes whose place is known (pure).

No real order flow is packaged. What this makes is synthetic and says so in every row; it shows that the path
from a file of events to QBMIA's detectors works, and nothing about any market.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np

from qts_agents.qbmia.episodes import honest, spoofs, washes
from qts_agents.qbmia.flow import WINDOW_S
from qts_agents.qbmia.orders import SECOND, OrderEvents

LEVEL = 100.0  # price that episodes are made around
IDS = 1_000_000  # order numbers of one bar
KINDS = ("spoofing", "wash")
LASTING = 2  # windows in a row that an episode is in: two of three suspicious ones are an alarm


class Plan(msgspec.Struct, frozen=True):
    """How much to make up: honest orders a bar, bars between episodes, the seed."""

    orders: int
    every: int
    seed: int


def bar_of_events(
    plan: Plan, index: int, opened_ns: int, bar_s: float, close: float
) -> Iterator[tuple[str, OrderEvents]]:
    """Yield label and events of bar `index`, the honest ones first, then an episode's."""
    rng = np.random.default_rng((plan.seed, index))
    # honest orders end up to half a minute after they came
    yield "honest", _placed(honest(rng, plan.orders, max(1.0, bar_s - 31.0)), index, opened_ns, close)
    since = index % plan.every - (plan.every - LASTING)
    if since < 0 or bar_s < WINDOW_S:
        return
    kind = KINDS[index // plan.every % len(KINDS)]
    made = spoofs(rng) if kind == "spoofing" else washes(rng)
    yield kind, _placed(made, index, opened_ns, close)


def _placed(events: OrderEvents, index: int, opened_ns: int, close: float) -> OrderEvents:
    """Return events at their bar's time and price, with order numbers of their own."""
    return msgspec.structs.replace(
        events,
        time_ns=events.time_ns + opened_ns + SECOND // 1000,
        price=events.price * (close / LEVEL),
        order=events.order + index * IDS,
    )
