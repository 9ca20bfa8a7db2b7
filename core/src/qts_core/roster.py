"""ROSTER: the workloads of a system, one line each. A new agent type starts here.

`name` is the process, pod, object and metric name; `wire` the name in the configuration
file, on the wire, in key files and Redis users (`amos` and `quantum_amos` are the same agent).
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from qts_core.sections import Fraction, Positive, Source


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of process: who it is, where it listens, what it may ask for."""

    name: str
    wire: str
    title: str
    role: str  # decider | voter | feed
    entry: str  # "module:attribute" of the agent factory
    port: int | None = None  # ZeroMQ ROUTER port; None: the workload only dials
    gpu: bool = False  # may ask for a device
    seat: str | None = None  # seat on the board
    weight: float = 0.1  # of the seat that an agent which is off by default adds to a whole board
    settings: tuple[tuple[str, Any, Any], ...] = ()  # section of the file: name, type with limits, default
    needs: tuple[str, ...] = ()  # of these, those without which it cannot be switched on
    max_replicas: int = 5
    cpu: str = "250m"
    memory: str = "384Mi"
    enabled: bool = True

    @property
    def agent(self) -> bool:
        """Tell an agent (counted in 4/4) from the feed."""
        return self.role != "feed"

    @property
    def section(self) -> str:
        """Return the path of the part of a resource's spec that says how it runs."""
        return f"agents.{self.name}" if self.agent else self.name


ROSTER: tuple[Workload, ...] = (
    Workload(
        name="pads",
        wire="pads",
        title="Panarchy Adaptive Decision System",
        role="decider",
        entry="qts_agents.pads.agent:Pads",
        port=9090,
        max_replicas=1,
    ),
    Workload(
        name="qbmia",
        wire="qbmia",
        title="Quantum-Biological Market Intuition Agent",
        role="voter",
        entry="qts_agents.qbmia.agent:Qbmia",
        port=9091,
        gpu=True,
        seat="qar",
    ),
    Workload(
        name="quasar",
        wire="quasar",
        title="Quantum Unified Star Agentic Reasoning",
        role="voter",
        entry="qts_agents.quasar.agent:Quasar",
        port=9092,
        gpu=True,
        seat="qstar",
    ),
    Workload(
        name="amos",
        wire="quantum_amos",
        title="Quantum AMOS",
        role="voter",
        entry="qts_agents.amos.agent:Amos",
        port=9093,
        gpu=True,
        seat="antifragility",
    ),
    Workload(
        name="prediction",
        wire="prediction",
        title="quantile forecasts from classical models",
        role="voter",
        entry="qts_agents.prediction.agent:Prediction",
        port=9094,
        seat="prediction",
        settings=(
            ("learning_rate", Fraction, 0.01),  # step of the quantile regression
            ("baseline_outcomes", Annotated[int, msgspec.Meta(ge=20, le=2000)], 250),
            ("signal_scale", Positive, 0.2),  # p_up − p_down that counts as a full signal
        ),
        enabled=False,
    ),
    Workload(
        name="sentiment",
        wire="sentiment",
        title="scored headlines, decayed",
        role="voter",
        entry="qts_agents.sentiment.agent:Sentiment",
        port=9095,
        seat="sentiment",
        settings=(
            ("source", Source | None, None),  # file or URL of one JSON object a line: time, symbol, score
            ("period_s", Annotated[float, msgspec.Meta(ge=1.0, le=86_400.0)], 60.0),  # between two readings
            ("half_life_h", Positive, 24.0),  # hours of the market's time after which a headline counts half
            ("fresh_h", Positive, 72.0),  # hours after which it counts nothing
            ("prior", Positive, 2.0),  # headlines that stand against those that came
            ("signal_scale", Positive, 0.2),  # p_up − p_down that counts as a full signal
        ),
        needs=("source",),
        enabled=False,
    ),
    Workload(
        name="market",
        wire="market",
        title="market feed",
        role="feed",
        entry="qts_agents.market.feed:Feed",
        max_replicas=1,
        cpu="50m",
        memory="256Mi",
    ),
)

AGENTS: tuple[Workload, ...] = tuple(w for w in ROSTER if w.agent)
VOTERS: tuple[Workload, ...] = tuple(w for w in ROSTER if w.role == "voter")
BY_NAME: dict[str, Workload] = {w.name: w for w in ROSTER}
BY_WIRE: dict[str, Workload] = {w.wire: w for w in ROSTER}
#: seats that come beside a board that is already whole: what they are given, the others give
ADDED_SEATS: tuple[str, ...] = ("market_maker", *(w.seat for w in VOTERS if w.seat and not w.enabled))
DERIVED_SEATS: tuple[str, ...] = ("consensus", "adaptability", "market_maker")
SEATS: tuple[str, ...] = (*(w.seat for w in VOTERS if w.seat), *DERIVED_SEATS)
