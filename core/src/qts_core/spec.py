"""Every setting of a running system as a struct: default, unit, limits.

`System` is what `quantum_system_config.json` and a resource's `spec.config` become. Enable switches
and ports come from ROSTER, so a new agent type brings its own.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast
from urllib.parse import parse_qs, urlsplit

import msgspec

from qts_core import names
from qts_core.roster import ADDED_SEATS, AGENTS, SEATS, VOTERS, Workload
from qts_core.sections import AmosSettings, Fraction, PadsSettings, QbmiaSettings, QuasarSettings, Section

Seconds = Annotated[float, msgspec.Meta(gt=0.0, le=86_400.0)]
Port = Annotated[int, msgspec.Meta(ge=1024, le=65_535)]
Cost = Annotated[float, msgspec.Meta(ge=0.0, le=0.05)]
MOST_ADDED = 0.2  # weight of a seat that is added to a board whose other seats sum to 1
RESERVED_PORTS = frozenset({8080, 9464})
DEFAULT_BOARD = {"qar": 0.30, "qstar": 0.25, "antifragility": 0.20, "consensus": 0.15, "adaptability": 0.10}


class Replay(Section, frozen=True, kw_only=True):
    """Replay of a packaged data set by name, or of a CSV or Parquet file by path; exactly one."""

    dataset: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    path: Annotated[str, msgspec.Meta(min_length=1, max_length=4096)] | None = None
    orders: Annotated[str, msgspec.Meta(min_length=1, max_length=4096)] | None = (
        None  # a file of order events beside it
    )
    speed: Annotated[float, msgspec.Meta(ge=0.0)] | None = None  # data seconds per second; 0 = lockstep
    repeat: bool = False
    stamp: Literal["close", "open"] = "close"  # what a row's time means, for files without a note of ours
    ts_unit: Literal["iso", "s", "ms", "us", "ns"] = "iso"

    def __post_init__(self) -> None:
        """Refuse both and neither of dataset and path."""
        if (self.dataset is None) == (self.path is None):
            raise ValueError(
                "dataset: neither it nor path is given; name a packaged data set, or a file by path"
                if self.dataset is None
                else "dataset: path is given too; keep one of them"
            )


class Market(Section, frozen=True, kw_only=True):
    """Which feed runs, and what it costs to trade there."""

    source: Literal["simulated", "replay", "live", "external"] = "simulated"
    symbols: Annotated[tuple[str, ...], msgspec.Meta(max_length=1000)] | None = None  # None: all of the set
    fee: Cost | None = None  # fraction of price a side; None: the data set's
    spread: Cost | None = None  # the same; where given it replaces quotes too
    replay: Replay | None = None
    predictability: Literal[0, 1] = 0  # simulated only: 1 plants a known structure

    def __post_init__(self) -> None:
        """Refuse what no feed can do."""
        if self.source == "live":
            raise ValueError(
                'source: "live" is not built yet; use "replay", "simulated" or "external" instead'
            )
        if self.source == "replay" and self.replay is None:
            raise ValueError("replay: required when source is replay")
        if self.symbols is not None and (not self.symbols or len(set(self.symbols)) != len(self.symbols)):
            raise ValueError("symbols: at least one, each once")


class Messaging(Section, frozen=True, kw_only=True):
    """Wire security."""

    encryption: Literal["curve", "none"] = "curve"


class Observability(Section, frozen=True, kw_only=True):
    """Where traces go, how many, and how much is logged."""

    otlp_endpoint: Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s]+$", max_length=512)] | None = None
    sample_ratio: Fraction = 0.01
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class System(Section, frozen=True, kw_only=True):
    """All settings of a system. Build it by `qts_core.config.load`, or `SYSTEM(...)` in tests."""

    redis_url: Annotated[str, msgspec.Meta(pattern=r"^(redis|rediss|redis\+sentinel)://", max_length=512)] = (
        "redis://localhost:6379"
    )
    use_real_messaging: bool = True
    simulate_market_data: bool = True
    market: Market = Market()
    horizon_bars: Annotated[int, msgspec.Meta(ge=1, le=500)] = 30
    system_seed: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 0
    pads: PadsSettings = PadsSettings()
    qbmia: QbmiaSettings = QbmiaSettings()
    quasar: QuasarSettings = QuasarSettings()
    quantum_amos: AmosSettings = AmosSettings()
    messaging: Messaging = Messaging()
    observability: Observability = Observability()
    hardware_optimization: bool = True
    quantum_circuits: bool = True
    gpu_acceleration: bool = True
    numba_jit: bool = True
    decision_timeout: Seconds = 3.0
    decision_interval: Seconds = 10.0
    message_ttl: Seconds = 10.0
    health_check_interval: Seconds = 30.0
    market_update_interval: Seconds = 1.0
    auto_restart_failed: bool = True
    board_members: dict[str, Fraction] = msgspec.field(default_factory=lambda: dict(DEFAULT_BOARD))

    def __post_init__(self) -> None:
        """Check what one field alone cannot tell; the text begins with the field's path."""
        _check_needs(self)
        _check_urls(self)
        _check_board(self.board())
        _check_ports(self.ports())

    def enabled(self, wire: str) -> bool:
        """Tell whether the agent `wire` runs."""
        return bool(getattr(self, f"enable_{wire}", True))

    def urls(self, wire: str) -> dict[str, str]:
        """Return the URLs among the settings of the agent `wire` by key: where its process asks."""
        section = getattr(self, wire, None)
        said = msgspec.structs.asdict(section) if isinstance(section, msgspec.Struct) else {}
        return {k: v for k, v in said.items() if isinstance(v, str) and v.startswith(("http://", "https://"))}

    def board(self) -> dict[str, float]:
        """Return weight by seat: `board_members`, and the seats of agents that are off by default."""
        added = {w.seat: w.weight for w in VOTERS if w.seat and not w.enabled and self.enabled(w.wire)}
        return added | self.board_members

    def port(self, wire: str) -> int:
        """Return the ROUTER port of the agent `wire`."""
        return self.ports()[wire]

    def ports(self) -> dict[str, int]:
        """Return every agent's ROUTER port by wire name."""
        ports = getattr(self, "zmq_ports", None)
        return {w.wire: int(getattr(ports, w.wire, w.port or 0)) for w in AGENTS}

    def voters(self) -> tuple[str, ...]:
        """Return the wire names of the enabled voters, in roster order."""
        return tuple(w.wire for w in VOTERS if self.enabled(w.wire))

    def feed_runs(self) -> bool:
        """Tell whether a feed of ours publishes."""
        return self.simulate_market_data and self.market.source != "external"


def _check_needs(system: System) -> None:
    """Refuse an agent that is switched on without a setting that it cannot do without."""
    for w in AGENTS:
        section = getattr(system, w.wire, None)
        for key in w.needs if system.enabled(w.wire) else ():
            if getattr(section, key, None) is None:
                raise ValueError(f"{w.wire}.{key}: required when enable_{w.wire} is true; set it")


def _check_board(board: dict[str, float]) -> None:
    """Refuse unknown seats, fewer than two with weight, and weights that do not sum to 1."""
    for seat in board:
        if seat not in SEATS:
            allowed = ", ".join(SEATS)
            raise ValueError(f"board_members.{seat or repr(seat)}: unknown seat; allowed are {allowed}")
    if sum(1 for weight in board.values() if weight > 0) < 2:
        raise ValueError("board_members: at least two seats need a weight above 0")
    others = sum(weight for seat, weight in board.items() if seat not in ADDED_SEATS)
    given = [board[seat] for seat in ADDED_SEATS if board.get(seat, 0.0) > 0.0]
    added = bool(given) and max(given) <= MOST_ADDED and abs(others - 1.0) <= 0.001
    total = sum(board.values())
    if abs(total - 1.0) > 0.001 and not added:
        raise ValueError(f"board_members: weights must sum to 1 ± 0.001, found {total:.4g}")


def _check_urls(system: System) -> None:
    """Refuse an address that nobody can ask at."""
    said = {"redis_url": system.redis_url, "observability.otlp_endpoint": system.observability.otlp_endpoint}
    said |= {f"{w.wire}.{key}": url for w in AGENTS for key, url in system.urls(w.wire).items()}
    for path, url in said.items():
        try:
            ports_in(url or "")
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    if parse_qs(urlsplit(system.redis_url).query).keys() & {"username", "password"}:
        raise ValueError("redis_url: a login stands before the host, as USER:PASSWORD@HOST, not in the query")


def ports_in(url: str) -> tuple[int | None, ...]:
    """Return the port that a URL names, None where it names none, of each host; ValueError for what is none.

    Only a URL of sentinels has several hosts: `redis+sentinel://h1:p1,h2:p2/NAME`.
    """
    try:
        hosts = urlsplit(url).netloc.rpartition("@")[2].split(",")
        ports = tuple(urlsplit(f"//{host}").port for host in hosts)
    except ValueError:
        ports = (0,)
    if 0 in ports:
        raise ValueError("expected HOST or HOST:PORT with a port from 1 to 65535")
    return ports


def redis_port(url: str) -> int | None:
    """Return the port of a Redis URL that was checked, None where a sentinel tells it."""
    return None if url.startswith("redis+sentinel:") else ports_in(url)[0] or names.PORT_REDIS


def _check_ports(ports: dict[str, int]) -> None:
    """Refuse a port used twice or reserved for probes and metrics."""
    seen: dict[int, str] = {}
    for wire, port in ports.items():
        if port in RESERVED_PORTS:
            raise ValueError(f"zmq_ports.{wire}: {port} is reserved for probes or metrics")
        if port in seen:
            raise ValueError(f"zmq_ports.{wire}: {port} is already the port of {seen[port]}")
        seen[port] = wire


def _section(workload: Workload) -> Any:
    """Return the struct of the settings that stand on an agent's line of the roster, None without any."""
    if not workload.settings:
        return None
    return msgspec.defstruct(
        f"{workload.name.capitalize()}Settings",
        list(workload.settings),
        bases=(Section,),
        frozen=True,
        kw_only=True,
        forbid_unknown_fields=True,
        module=__name__,
    )


def _build() -> type[System]:
    """Add `enable_<agent>` and `zmq_ports` from the roster to `System`."""
    ports = msgspec.defstruct(
        "ZmqPorts",
        [(w.wire, Port, w.port) for w in AGENTS],
        bases=(Section,),
        frozen=True,
        kw_only=True,
        forbid_unknown_fields=True,
        module=__name__,
    )
    fields: list[Any] = [(f"enable_{w.wire}", bool, w.enabled) for w in AGENTS]
    fields.append(("zmq_ports", ports, ports()))
    fields += [(w.wire, section, section()) for w in AGENTS if (section := _section(w)) is not None]
    built: Any = msgspec.defstruct(
        "System",
        fields,
        bases=(System,),
        frozen=True,
        kw_only=True,
        forbid_unknown_fields=True,
        module=__name__,
    )
    return cast("type[System]", built)


#: the struct with the roster's fields added: `enable_<agent>`, `zmq_ports`
SYSTEM: type[System] = _build()
