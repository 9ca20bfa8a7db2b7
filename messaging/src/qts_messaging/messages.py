"""The eight messages; each knows its Route. Readers learn here what may be said, by whom, how urgently.

Frozen structs, encoded as tagged arrays: new fields go at the end with a default, a changed
meaning is a new type. Numeric data travels as `Column` (little-endian, C order).
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from qts_core.spec import System
from qts_messaging.records import (
    Body,
    Column,
    Counts,
    Decision,
    Failure,
    Floats,
    Id,
    Ids,
    Names,
    Natural,
    Opinion,
    OrderFlow,
    Position,
    Scores,
    Text,
    Texts,
    Trace,
    Window,
    check,
)

ACTIONS: tuple[str, ...] = ("BUY", "SELL", "HOLD", "INCREASE", "DECREASE", "HEDGE", "EXIT")
ORDER_EVENTS: tuple[str, ...] = ("new", "cancel", "fill")
PHASES: tuple[str, ...] = ("growth", "conservation", "release", "reorganization", "unknown")

HIGH, NORMAL, LOW = 1, 2, 3
VERSION = 1  # of the wire


class Route(msgspec.Struct, frozen=True):
    """How a type travels: with a recipient, without one, how urgently, how long it is worth anything."""

    addressed: str | None  # direct | durable
    unaddressed: str | None  # broadcast | durable
    topic: str  # destination name in metrics, spans, streams and channels when addressed
    open_topic: str  # the same when unaddressed
    priority: int = NORMAL
    ttl: str = "message_ttl"  # a System field, "none", "expires", or seconds as text; see `lifetime_ms`
    drop: str = "oldest"  # oldest | newest_wins | refuse | never
    open_ttl: str | None = None  # `ttl` when unaddressed, where it differs


class DecisionRequest(Body, frozen=True, gc=False, array_like=True, tag="decision_request"):
    """PADS asks an agent about the window `window_seq`.

    In step with the feed it also asks before each bar, about no symbol: live through the bar, then answer.
    """

    ROUTE: ClassVar[Route] = Route("direct", None, "requests", "requests", HIGH, "decision_timeout", "refuse")

    round_id: Text
    window_seq: int
    asof_ns: int
    symbols: Names
    position: Position
    phase: Text
    phase_scores: Scores  # growth, conservation, release, reorganization
    meso: Scores  # P, C, R, crisis, averaged over symbols
    psi: float  # alert factor
    flat_share: Column  # [S] f of agents.md §1.3
    horizon_bars: int
    explain: bool = False
    window: Window | None = None
    deadline_ns: Natural = 0  # by the clock of who asks; 0 = none
    after: Ids = ()  # in step: messages of PADS to be taken first, in this order

    def __post_init__(self) -> None:
        """Refuse a column that lies about its size."""
        check(self.flat_share)


class DecisionResponse(Body, frozen=True, gc=False, array_like=True, tag="decision_response"):
    """An agent's opinion, addressed; or the board's final decision, to all."""

    ROUTE: ClassVar[Route] = Route(
        "direct", "durable", "votes", "decisions", HIGH, "decision_timeout", "refuse", "none"
    )

    round_id: Text
    opinion: Opinion | None = None
    decision: Decision | None = None
    failure: Failure | None = None
    trace_keep: bool = False  # of a decision: who hears it writes the spans of its round now
    after: Ids = ()  # in step: messages of the agent to PADS to be taken first, in this order


class PhaseTransition(Body, frozen=True, gc=False, array_like=True, tag="phase_transition"):
    """A proposal, PADS' announcement, or its rejection with the failing rule's number."""

    ROUTE: ClassVar[Route] = Route("durable", "durable", "transitions", "transitions", HIGH, "60", "refuse")

    transition_id: Text
    kind: Text  # proposal | announcement | rejection
    old_phase: Text
    new_phase: Text
    scores: Scores
    indicators: Floats
    transition_time_ns: int
    source: Text
    reason: Text = ""


class RiskAlert(Body, frozen=True, gc=False, array_like=True, tag="risk_alert"):
    """A danger with severity 0…1; hop 0 is the report, hop 1 PADS' broadcast of an accepted one."""

    ROUTE: ClassVar[Route] = Route("direct", "durable", "alerts", "risks", HIGH, "expires", "never")

    alert_id: Text
    alert_type: Text
    severity: float
    scope: Names  # symbols; empty = the system
    raised_ns: int
    expires_ns: int
    hop: int = 0
    sender: Text = ""
    evidence: Floats = msgspec.field(default_factory=dict)


class PerformanceFeedback(Body, frozen=True, gc=False, array_like=True, tag="performance_feedback"):
    """What became of a decision, h bars later."""

    ROUTE: ClassVar[Route] = Route("durable", "durable", "feedback", "feedback", NORMAL, "none", "oldest")

    decision_id: Text
    round_id: Text
    asof_ns: int
    symbols: Names
    outcome: Column  # [S] u8: 0 up, 1 flat, 2 down, 255 unresolved
    ret: Column  # [S]
    cost: Column
    pnl: Column
    seats: Names
    log_score: Column  # [S,n]
    marginal: Column  # [S,n]

    def __post_init__(self) -> None:
        """Refuse a column that lies about its size."""
        check(self.outcome, self.ret, self.cost, self.pnl, self.log_score, self.marginal)


class MarketUpdate(Body, frozen=True, gc=False, array_like=True, tag="market_update"):
    """K closed bars of all symbols as [S,K] columns; K = 1 live."""

    ROUTE: ClassVar[Route] = Route(None, "broadcast", "market", "market", LOW, "market", "newest_wins")

    seq: int  # of the last bar; +1 each bar
    kind: Text  # snapshot | delta
    source: Text
    asof_ns: int  # close time of the last bar
    bar_s: float
    symbols: Names
    close_ns: Column  # [K]
    open: Column
    high: Column
    low: Column
    close: Column
    volume: Column
    valid: Column  # [S,K] u8
    spread: Column  # [S]
    imbalance: Column
    depth: Column
    fee: float
    spread_assumed: float
    market_ret: Column  # [K]
    epoch: int = 0  # grows when a replay starts again: nothing learned from the future is used
    ended: bool = False  # the last update of a replay that does not repeat
    orders: OrderFlow | None = None  # what was ordered since the bar before; None: the source does not say

    def __post_init__(self) -> None:
        """Refuse a column that lies about its size."""
        check(
            self.close_ns,
            self.open,
            self.high,
            self.low,
            self.close,
            self.volume,
            self.valid,
            self.spread,
            self.imbalance,
            self.depth,
            self.market_ret,
        )


class AgentStatus(Body, frozen=True, gc=False, array_like=True, tag="agent_status"):
    """Heartbeat of every process."""

    ROUTE: ClassVar[Route] = Route(None, "broadcast", "status", "status", NORMAL, "15", "newest_wins")

    agent: Text
    state: Text  # starting | ready | degraded | draining | ended
    health: Text
    backend: Text
    bus_mode: Text
    lanes: Counts  # lane → highest sequence sent
    accounts: Counts  # "receiver/lane/type/outcome" → count, as this process sees them
    clock_ns: int
    config_digest: Text
    contrib_names: Names = ()
    restarts: int = 0
    credentials: Counts = msgspec.field(default_factory=dict)  # kind → generation, see bus.StatusFields


class SystemCommand(Body, frozen=True, gc=False, array_like=True, tag="system_command"):
    """status_request, drain, resume, reset or reload."""

    ROUTE: ClassVar[Route] = Route("durable", "durable", "commands", "commands", HIGH, "60", "refuse")

    command: Text
    arguments: Texts = msgspec.field(default_factory=dict)


Message = (
    DecisionRequest
    | DecisionResponse
    | PhaseTransition
    | RiskAlert
    | PerformanceFeedback
    | MarketUpdate
    | AgentStatus
    | SystemCommand
)
MESSAGE_TYPES: tuple[type[Body], ...] = (
    DecisionRequest,
    DecisionResponse,
    PhaseTransition,
    RiskAlert,
    PerformanceFeedback,
    MarketUpdate,
    AgentStatus,
    SystemCommand,
)


class Envelope(msgspec.Struct, frozen=True, gc=False, array_like=True, kw_only=True):
    """What surrounds every message; field order is the wire's (messaging.md §3)."""

    version: Annotated[int, msgspec.Meta(ge=VERSION, le=VERSION)] = VERSION
    id: Id
    sender: Text
    recipient: Text | None = None
    correlation_id: Id | None = None  # in every reply: the request's id
    sent_ns: Natural = 0
    ttl_ms: Natural = 0  # 0 = none
    deadline_ns: Natural = 0  # 0 = none
    priority: Annotated[int, msgspec.Meta(ge=HIGH, le=LOW)] = NORMAL
    epoch: int = 0  # sender's start: sequence numbers restart with it
    lane: Text = ""
    sequence: Natural = 0
    trace: Trace | None = None
    body: Message | None = None  # None = receipt for correlation_id


#: message type → its name on the wire, also the type in accounts and metrics
KIND: dict[type, str] = {kind: str(kind.__struct_config__.tag) for kind in MESSAGE_TYPES}
#: what is stored, and (`BROADCAST_TOPICS`) what is said to all
DURABLE_TOPICS: tuple[str, ...] = ("decisions", "transitions", "risks", "feedback", "commands")


def lifetime_ms(kind: type[Message], system: System, addressed: bool) -> int:
    """Return how long messages of a type are worth anything, in ms; 0 = for ever, or each has its own end."""
    route = kind.ROUTE
    ttl = route.ttl if addressed or route.open_ttl is None else route.open_ttl
    if ttl in ("none", "expires"):
        return 0
    if ttl == "market":
        return round(5_000 * system.market_update_interval)
    seconds = getattr(system, ttl, None)
    return round(1_000 * float(ttl if seconds is None else seconds))
