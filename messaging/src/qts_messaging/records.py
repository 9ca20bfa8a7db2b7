"""What messages are made of: limits of every field, numeric columns, and the records that hold them."""

from __future__ import annotations

from math import prod
from typing import Annotated, Literal

import msgspec

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
Ids = Annotated[tuple[Id, ...], msgspec.Meta(max_length=4096)]
Trace = Annotated[bytes, msgspec.Meta(min_length=25, max_length=25)]


class Body(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Parent of every record on the wire."""


class Column(Body, frozen=True, gc=False, array_like=True):
    """A numeric array: dtype (numpy name), shape, raw little-endian bytes in C order."""

    dtype: Dtype
    shape: Shape
    data: bytes


def check(*columns: Column | None) -> None:
    """Raise ValueError for a column whose bytes are not dtype times shape.

    Every record asks this of all its columns when it is made, here or from a frame: one call for each
    column cost a vote twice as much.
    """
    for column in columns:
        if column is not None and len(column.data) != SIZES[column.dtype] * prod(column.shape):
            raise ValueError(f"{len(column.data)} bytes for {column.dtype} of shape {column.shape}")


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

    def __post_init__(self) -> None:
        """Refuse a column that lies about its size; the layout that positions have is asked in one look."""
        qty, entry, stop = self.qty, self.entry_px, self.stop_px
        opened, unrealised, risk = self.opened_ns, self.unrealised, self.liquidation_risk
        n = len(qty.data) // 8
        if not (
            len(qty.data) == len(entry.data) == len(stop.data) == 8 * n
            and len(opened.data) == len(unrealised.data) == len(risk.data) == 8 * n
            and qty.shape == entry.shape == stop.shape == (n,)
            and opened.shape == unrealised.shape == risk.shape == (n,)
            and qty.dtype == entry.dtype == stop.dtype == "f8"
            and unrealised.dtype == risk.dtype == "f8"
            and opened.dtype == "i8"
        ):
            check(qty, entry, stop, opened, unrealised, risk)


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

    def __post_init__(self) -> None:
        """Refuse a column that lies about its size; the layout that votes have is asked in one look."""
        p, action, confidence, abstain = self.p, self.action, self.confidence, self.abstain
        n = len(action.data)
        if not (
            len(p.data) == 24 * n
            and len(confidence.data) == 8 * n
            and len(abstain.data) == 2 * n
            and p.shape == (n, 3)
            and action.shape == confidence.shape == abstain.shape == (n,)
            and p.dtype == confidence.dtype == "f8"
            and action.dtype == "u1"
            and abstain.dtype == "u2"
            and self.contrib is None
        ):
            check(p, action, confidence, abstain, self.contrib)


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

    def __post_init__(self) -> None:
        """Refuse a column that lies about its size."""
        check(
            self.action,
            self.p,
            self.signal,
            self.confidence,
            self.information,
            self.dissent,
            self.size,
            self.reason,
            self.share,
            self.stop,
            self.targets,
            self.style,
            self.veto,
            self.quorum,
        )


class Failure(Body, frozen=True, gc=False, array_like=True):
    """An error instead of an answer: its class and text, never code."""

    error: Text
    text: Text


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
    distance: Column | None = None  # [N] behind the touch, in spreads; NaN unknown; None: of all

    def __post_init__(self) -> None:
        """Refuse a column that lies about its size."""
        check(self.row, self.time_ns, self.side, self.price, self.size, self.order, self.event, self.distance)
