"""The eight messages; each knows its Route. Readers learn here what may be said, by whom, how urgently.

Frozen structs, encoded as tagged arrays: new fields go at the end with a default, a changed
meaning is a new type. Numeric data travels as `Column` (little-endian, C order).
"""

from __future__ import annotations

from math import prod
from typing import Annotated, ClassVar, Literal

import msgspec

from qts_core.spec import System

ACTIONS: tuple[str, ...] = ("BUY", "SELL", "HOLD", "INCREASE", "DECREASE", "HEDGE", "EXIT")
ORDER_EVENTS: tuple[str, ...] = ("new", "cancel", "fill")
PHASES: tuple[str, ...] = ("growth", "conservation", "release", "reorganization", "unknown")

HIGH, NORMAL, LOW = 1, 2, 3
VERSION = 1  # of the wire


# What a frame from outside may hold at most; the decoder refuses more before Python sees it.
Text = Annotated[str, msgspec.Meta(max_length=4096)]
Natural = Annotated[int, msgspec.Meta(ge=0)]
Names = Annotated[tuple[Text, ...], msgspec.Meta(max_length=4096)]
Scores = Annotated[tuple[float, ...], msgspec.Meta(max_length=4096)]
Shape = Annotated[tuple[Natural, ...], msgspec.Meta(max_length=4)]
Floats = Annotated[dict[Text, float], msgspec.Meta(max_length=4096)]
Counts = Annotated[dict[Text, int], msgspec.Meta(max_length=4096)]
Texts = Annotated[dict[Text, Text], msgspec.Meta(max_length=256)]
Dtype = Literal["f8", "f4", "i8", "u8", "u4", "u2", "u1"]  # numpy names, little-endian
SIZES: dict[Dtype, int] = {"f8": 8, "f4": 4, "i8": 8, "u8": 8, "u4": 4, "u2": 2, "u1": 1}  # bytes
Id = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
Trace = Annotated[bytes, msgspec.Meta(min_length=25, max_length=25)]


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
    """A numeric array: dtype (numpy name), shape, raw little-endian bytes in C order.

    One whose bytes are not dtype times shape cannot be made, here or from a frame: ValueError.
    """

    dtype: Dtype
    shape: Shape
    data: bytes

    def __post_init__(self) -> None:
        """Compare the three. Most columns of a vote have one number: no product for them, it costs most."""
        shape = self.shape
        if len(self.data) != SIZES[self.dtype] * (1 if shape == (1,) else prod(shape)):
            raise ValueError(f"{len(self.data)} bytes for {self.dtype} of shape {shape}")


class Window(Body, frozen=True, gc=False, array_like=True):
    """A MarketWindow, whole: symbols and the columns of agents.md §1.1, for first contact."""

    symbols: Names
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

    round_id: Text
    agent: Text
    model_version: Text
    asof_ns: int
    horizon_bars: int
    p: Column  # [S,3] up, flat, down
    actions: Names
    action: Column  # [S] u8 index into `actions`
    confidence: Column  # [S]
    abstain: Column  # [S] u16 bit mask
    contrib: Column | None
    backend: Text  # classical | simulated-quantum
    device: Text  # cpu | cuda
    qubits: int
    shots: int
    elapsed_ns: int
    contrib_names: Names = ()


class Decision(Body, frozen=True, gc=False, array_like=True):
    """What the board decided for all symbols, with every member's share in it."""

    decision_id: Text
    round_id: Text
    asof_ns: int
    phase: Text
    symbols: Names
    actions: Names
    action: Column  # [S] u8
    p: Column  # [S,3]
    signal: Column
    confidence: Column
    information: Column
    dissent: Column
    size: Column
    reasons: Names
    reason: Column  # [S] u8
    seats: Names
    share: Column  # [S,n]
    position: Position
    stop: Column
    targets: Column  # [S,3]
    styles: Names
    style: Column  # [S] u8
    veto: Column  # [S] u32
    quorum: Column  # [S] u8


class Failure(Body, frozen=True, gc=False, array_like=True):
    """An error instead of an answer: its class and text, never code."""

    error: Text
    text: Text


class DecisionRequest(Body, frozen=True, gc=False, array_like=True, tag="decision_request"):
    """PADS asks an agent about the window `window_seq`."""

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


class DecisionResponse(Body, frozen=True, gc=False, array_like=True, tag="decision_response"):
    """An agent's opinion, addressed; or the board's final decision, to all."""

    ROUTE: ClassVar[Route] = Route(
        "direct", "durable", "votes", "decisions", HIGH, "decision_timeout", "refuse"
    )

    round_id: Text
    opinion: Opinion | None = None
    decision: Decision | None = None
    failure: Failure | None = None
    trace_keep: bool = False


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
    evidence: Floats = {}


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


class OrderFlow(Body, frozen=True, gc=False, array_like=True):
    """N order events of the bars they come with, ascending in time; other people's orders, never ours.

    They ride on the update, so that none can overtake its bar, and what brings back a lost bar brings them.
    """

    row: Column  # [N] u2 index into the update's symbols
    time_ns: Column  # [N] i8
    side: Column  # [N] u1: 1 buy, 0 sell
    price: Column  # [N]
    size: Column  # [N] base units
    order: Column  # [N] i8 id of the order
    events: Names
    event: Column  # [N] u1 index into `events`


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
    credentials: Counts = {}  # kind → generation, see bus.StatusFields


class SystemCommand(Body, frozen=True, gc=False, array_like=True, tag="system_command"):
    """status_request, drain, resume, reset or reload."""

    ROUTE: ClassVar[Route] = Route("durable", "durable", "commands", "commands", HIGH, "60", "refuse")

    command: Text
    arguments: Texts = {}


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


def ttl_ms(message: Message, system: System, now_ns: int) -> int:
    """Return how long `message` is worth anything from `now_ns` on, in ms; 0 = for ever."""
    ttl = message.ROUTE.ttl
    if ttl == "none" or (isinstance(message, DecisionResponse) and message.decision is not None):
        return 0
    if ttl == "market":
        return round(5_000 * system.market_update_interval)
    if ttl == "expires":
        return max(1, (message.expires_ns - now_ns) // 1_000_000) if isinstance(message, RiskAlert) else 0
    seconds = getattr(system, ttl, None)
    return round(1_000 * float(ttl if seconds is None else seconds))
