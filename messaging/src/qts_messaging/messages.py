"""The eight messages; each knows its Route. Readers learn here what may be said, by whom, how urgently.

Frozen structs, encoded as tagged arrays: new fields go at the end with a default, a changed
meaning is a new type. Numeric data travels as `Column` (little-endian, C order).
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

ACTIONS: tuple[str, ...] = ("BUY", "SELL", "HOLD", "INCREASE", "DECREASE", "HEDGE", "EXIT")
PHASES: tuple[str, ...] = ("growth", "conservation", "release", "reorganization", "unknown")

HIGH, NORMAL, LOW = 1, 2, 3


class Route(msgspec.Struct, frozen=True):
    """How a type travels: with a recipient, without one, how urgently, how long it is worth anything."""

    addressed: str | None  # direct | durable
    unaddressed: str | None  # broadcast | durable
    topic: str  # destination name in metrics, spans, streams and channels when addressed
    open_topic: str  # the same when unaddressed
    priority: int = NORMAL
    ttl: str = "message_ttl"  # a System field, "none", or seconds as text; see `ttl_ms`
    drop: str = "oldest"  # oldest | newest_wins | refuse | never


class Body(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Parent of every record on the wire."""


class Column(Body, frozen=True, gc=False, array_like=True):
    """A numeric array: dtype (numpy name), shape, raw little-endian bytes in C order."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


class Window(Body, frozen=True, gc=False, array_like=True):
    """A MarketWindow, whole: symbols and the columns of agents.md §1.1, for first contact."""

    symbols: tuple[str, ...]
    window_seq: int
    asof_ns: int
    bar_s: float
    close_ns: Column
    open: Column
    high: Column
    low: Column
    close: Column
    volume: Column
    valid: Column
    spread: Column
    imbalance: Column
    depth: Column
    fee: float
    spread_assumed: float
    market_ret: Column


class Position(Body, frozen=True, gc=False, array_like=True):
    """The paper account by symbol ([S] columns) and its scalars; fractions of equity where not in price."""

    qty: Column
    entry_px: Column
    stop_px: Column
    opened_ns: Column
    unrealised: Column
    liquidation_risk: Column
    equity: float
    peak_equity: float


class Opinion(Body, frozen=True, gc=False, array_like=True):
    """One agent's answer for all symbols; a NaN row of `p` abstains, `abstain` says why."""

    round_id: str
    agent: str
    model_version: str
    asof_ns: int
    horizon_bars: int
    p: Column  # [S,3] up, flat, down
    actions: tuple[str, ...]
    action: Column  # [S] u8 index into `actions`
    confidence: Column  # [S]
    abstain: Column  # [S] u16 bit mask
    contrib: Column | None
    backend: str  # classical | simulated-quantum
    device: str  # cpu | cuda
    qubits: int
    shots: int
    elapsed_ns: int
    contrib_names: tuple[str, ...] = ()


class Decision(Body, frozen=True, gc=False, array_like=True):
    """What the board decided for all symbols, with every member's share in it."""

    decision_id: str
    round_id: str
    asof_ns: int
    phase: str
    symbols: tuple[str, ...]
    actions: tuple[str, ...]
    action: Column  # [S] u8
    p: Column  # [S,3]
    signal: Column
    confidence: Column
    information: Column
    dissent: Column
    size: Column
    reasons: tuple[str, ...]
    reason: Column  # [S] u8
    seats: tuple[str, ...]
    share: Column  # [S,n]
    position: Position
    stop: Column
    targets: Column  # [S,3]
    styles: tuple[str, ...]
    style: Column  # [S] u8
    veto: Column  # [S] u32
    quorum: Column  # [S] u8


class Failure(Body, frozen=True, gc=False, array_like=True):
    """An error instead of an answer: its class and text, never code."""

    error: str
    text: str


class DecisionRequest(Body, frozen=True, gc=False, array_like=True, tag="decision_request"):
    """PADS asks an agent about the window `window_seq`."""

    ROUTE: ClassVar[Route] = Route(
        "direct", None, "requests", "requests", HIGH, "decision_timeout", "refuse"
    )

    round_id: str
    window_seq: int
    asof_ns: int
    symbols: tuple[str, ...]
    position: Position
    phase: str
    phase_scores: tuple[float, ...]  # growth, conservation, release, reorganization
    meso: tuple[float, ...]  # P, C, R, crisis, averaged over symbols
    psi: float  # alert factor
    flat_share: Column  # [S] f of agents.md §1.3
    horizon_bars: int
    explain: bool = False
    window: Window | None = None


class DecisionResponse(Body, frozen=True, gc=False, array_like=True, tag="decision_response"):
    """An agent's opinion, addressed; or the board's final decision, to all."""

    ROUTE: ClassVar[Route] = Route("direct", "durable", "votes", "decisions", HIGH, "decision_timeout", "refuse")

    round_id: str
    opinion: Opinion | None = None
    decision: Decision | None = None
    failure: Failure | None = None
    trace_keep: bool = False


class PhaseTransition(Body, frozen=True, gc=False, array_like=True, tag="phase_transition"):
    """A proposal, PADS' announcement, or its rejection with the failing rule's number."""

    ROUTE: ClassVar[Route] = Route("durable", "durable", "transitions", "transitions", HIGH, "60", "refuse")

    transition_id: str
    kind: str  # proposal | announcement | rejection
    old_phase: str
    new_phase: str
    scores: tuple[float, ...]
    indicators: dict[str, float]
    transition_time_ns: int
    source: str
    reason: str = ""


class RiskAlert(Body, frozen=True, gc=False, array_like=True, tag="risk_alert"):
    """A danger with severity 0…1; hop 0 is the report, hop 1 PADS' broadcast of an accepted one."""

    ROUTE: ClassVar[Route] = Route("direct", "durable", "alerts", "risks", HIGH, "expires", "never")

    alert_id: str
    alert_type: str
    severity: float
    scope: tuple[str, ...]  # symbols; empty = the system
    raised_ns: int
    expires_ns: int
    hop: int = 0
    sender: str = ""
    evidence: dict[str, float] = {}


class PerformanceFeedback(Body, frozen=True, gc=False, array_like=True, tag="performance_feedback"):
    """What became of a decision, h bars later."""

    ROUTE: ClassVar[Route] = Route("durable", "durable", "feedback", "feedback", NORMAL, "none", "oldest")

    decision_id: str
    round_id: str
    asof_ns: int
    symbols: tuple[str, ...]
    outcome: Column  # [S] u8: 0 up, 1 flat, 2 down, 255 unresolved
    ret: Column  # [S]
    cost: Column
    pnl: Column
    seats: tuple[str, ...]
    log_score: Column  # [S,n]
    marginal: Column  # [S,n]


class MarketUpdate(Body, frozen=True, gc=False, array_like=True, tag="market_update"):
    """K closed bars of all symbols as [S,K] columns; K = 1 live."""

    ROUTE: ClassVar[Route] = Route(None, "broadcast", "market", "market", LOW, "market", "newest_wins")

    seq: int  # of the last bar; +1 each bar
    kind: str  # snapshot | delta
    source: str
    asof_ns: int  # close time of the last bar
    bar_s: float
    symbols: tuple[str, ...]
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


class AgentStatus(Body, frozen=True, gc=False, array_like=True, tag="agent_status"):
    """Heartbeat of every process."""

    ROUTE: ClassVar[Route] = Route(None, "broadcast", "status", "status", NORMAL, "15", "newest_wins")

    agent: str
    state: str  # starting | ready | degraded | draining | ended
    health: str
    backend: str
    bus_mode: str
    lanes: dict[str, int]  # lane → highest sequence sent
    accounts: dict[str, int]  # "receiver/lane/type/outcome" → count, as this process sees them
    clock_ns: int
    config_digest: str
    contrib_names: tuple[str, ...] = ()
    restarts: int = 0


class SystemCommand(Body, frozen=True, gc=False, array_like=True, tag="system_command"):
    """status_request, drain, resume, reset or reload."""

    ROUTE: ClassVar[Route] = Route("durable", "durable", "commands", "commands", HIGH, "60", "refuse")

    command: str
    arguments: dict[str, str] = {}


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
TRACE_BYTES = 25


class Envelope(msgspec.Struct, frozen=True, gc=False, array_like=True, kw_only=True):
    """What surrounds every message; field order is the wire's (messaging.md §3)."""

    version: int = 1
    id: bytes
    sender: str
    recipient: str | None = None
    correlation_id: bytes | None = None  # in every reply: the request's id
    sent_ns: int = 0
    ttl_ms: int = 0  # 0 = none
    deadline_ns: int = 0  # 0 = none
    priority: int = NORMAL
    epoch: int = 0  # sender's start: sequence numbers restart with it
    lane: str = ""
    sequence: int = 0
    trace: bytes | None = None
    body: Message | None = None  # None = receipt for correlation_id
