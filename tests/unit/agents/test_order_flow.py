"""Order events on their way to QBMIA, whole and in parts, and what they unmask."""

from __future__ import annotations

import functools
import gzip
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property import markets
from tests.unit.agents.evaluation import stages

from qts_agents.columns import array
from qts_agents.evaluation.stage import Heard, Stage
from qts_agents.market.bars import Bars, Ring, concat, update_of
from qts_agents.market.flow import Orders, ends_of, flow_of, joined
from qts_agents.market.source import Source, open_source
from qts_agents.pads.records import frame
from qts_agents.pads.replay import replay
from qts_agents.qbmia.flow import Flow, of_symbol, window_s
from qts_agents.qbmia.orders import FILL, NEW
from qts_cli import main
from qts_core.spec import SYSTEM
from qts_messaging import codec
from qts_messaging.messages import ORDER_EVENTS


def made(count: int, bars: int, rows: int, seed: int) -> Orders:
    rng = np.random.default_rng(seed)
    times = np.sort(rng.integers(0, bars * 100, count))
    return Orders(
        row=rng.integers(0, rows, count),
        time_ns=times,
        buy=rng.integers(0, 2, count).astype(np.uint8),
        price=rng.uniform(1, 2, count),
        size=rng.uniform(1, 2, count),
        order=np.arange(count),
        event=rng.integers(0, len(ORDER_EVENTS), count).astype(np.uint8),
        ends=ends_of(times, 100 * np.arange(1, bars + 1)),
    )


@functools.cache
def first_bars() -> Bars:
    return stages.euro(12)


@given(count=st.integers(0, 40), seed=st.integers(0, 1000), cut=st.integers(0, 12))
@settings(max_examples=60, deadline=None)
def test_parts_make_the_whole(count: int, seed: int, cut: int) -> None:
    """Bar by bar, in two parts, or joined on the wire: each event once, in order; rows can be chosen."""
    bars, orders = first_bars(), made(count, 12, 1, seed)
    whole = msgspec.structs.replace(bars, orders=orders)
    singles = [update_of(whole.part(t, t + 1), t) for t in range(12)]
    flow = joined([u.orders for u in singles])
    assert flow is not None
    kept = int(orders.ends[-1])
    assert array(flow.order).tolist() == orders.order[:kept].tolist()
    assert concat(singles) == update_of(whole, 11)
    if cut:
        first, second = whole.part(0, cut).orders, whole.part(cut, 12).orders
        assert [*first.order, *second.order] == orders.order[:kept].tolist()
    several = made(count, 12, 3, seed)
    chosen = several.choose([2, 0])
    assert chosen.order[chosen.row == 0].tolist() == several.order[several.row == 2].tolist()
    assert chosen.order[chosen.row == 1].tolist() == several.order[several.row == 0].tolist()
    assert chosen.ends[-1] == int((several.row[: several.ends[-1]] != 1).sum())


def test_updates_with_and_without_events_survive_the_wire() -> None:
    """Encoded and decoded they are equal; a body written before the field existed reads as without."""
    bars = stages.euro(3)
    for orders in (None, made(7, 3, 1, 0)):
        update = update_of(msgspec.structs.replace(bars, orders=orders), 2)
        raw = codec.encode_body(update)
        assert codec.decode_body(raw) == update
    orders = made(7, 3, 1, 0)
    quoted = update_of(
        msgspec.structs.replace(bars, orders=msgspec.structs.replace(orders, distance=orders.size)), 2
    )
    assert codec.decode_body(codec.encode_body(quoted)) == quoted
    raw = msgspec.msgpack.decode(
        codec.encode_body(update_of(msgspec.structs.replace(bars, orders=orders), 2))
    )
    assert raw[-1][-1] is None
    raw[-1] = raw[-1][:-1]
    assert codec.decode_body(msgspec.msgpack.encode(raw)).orders == flow_of(orders)  # type: ignore[union-attr]
    older = msgspec.msgpack.decode(codec.encode_body(update_of(bars, 2)))
    assert older[-1] is None
    assert codec.decode_body(msgspec.msgpack.encode(older[:-1])) == update_of(bars, 2)


@functools.cache
def synthetic(folder: str) -> str:
    """Return a file of `qts orders` beside the first bars of EUR/USD after the tests' history."""
    path = f"{folder}/orders.csv.gz"
    assert main(["orders", "eurusd_1h", "-o", path, "--bars", "80", "--every", "20", "--per-bar", "30"]) == 0
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    return synthetic(str(tmp_path_factory.mktemp("orders")))


def test_the_generator_is_seeded_and_labels_every_row(file: str, tmp_path: Path) -> None:
    """Equal seeds give equal bytes, another seed others; every row is synthetic, some are episodes."""
    lines = gzip.decompress(Path(file).read_bytes()).decode().splitlines()
    labels = {line.rpartition(",")[2] for line in lines[1:]}
    assert labels == {"synthetic honest", "synthetic spoofing", "synthetic wash"}
    arguments = ["orders", "eurusd_1h", "--bars", "80", "--every", "20", "--per-bar", "30"]
    for seed, equal in (("0", True), ("1", False)):
        again = tmp_path / f"{seed}.csv.gz"
        assert main([*arguments, "--seed", seed, "-o", str(again)]) == 0
        assert (again.read_bytes() == Path(file).read_bytes()) is equal


@pytest.mark.parametrize("scale", [4e-7, 1.1])
def test_what_the_generator_writes_is_taken(tmp_path: Path, scale: float) -> None:
    """Beside bars in milliseconds, and of a price whose first figure is the seventh behind the point."""
    bars, made = tmp_path / "bars.csv", tmp_path / "o.csv"
    lines = [f"{1577836800000 + i * 3_600_000},{scale},{scale},{scale},{scale},1" for i in range(600)]
    bars.write_text("\n".join(["timestamp,open,high,low,close,volume", *lines]) + "\n")
    sets = ["--set", "market.replay.ts_unit=ms"]
    assert main(["orders", str(bars), "-o", str(made), "--bars", "30", *sets]) == 0
    replay = {"path": str(bars), "ts_unit": "ms", "orders": str(made)}
    opened = open_source(msgspec.convert({"market": {"source": "replay", "replay": replay}}, SYSTEM))
    assert opened.name.endswith(" synthetic")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--every", "1"], "--every: expected 2 to 10000000"),
        (["-o", "orders.txt"], "--output: expected a name that ends in .csv"),
        (["-o", "none/orders.csv"], "--output: the folder none does not exist"),
    ],
)
def test_the_generator_refuses(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["orders", "eurusd_1h", *arguments]) == 2
    assert words in capsys.readouterr().err


def opened(orders: str | None) -> Source:
    """Return the replay of EUR/USD with the events or without, cut to 420 bars of history and 80 live ones."""
    market: dict[str, Any] = {"source": "replay", "replay": {"dataset": "eurusd_1h", "speed": 0.0}}
    if orders is not None:
        market["replay"]["orders"] = orders
    whole = open_source(msgspec.convert({"market": market}, SYSTEM))
    assert whole.name.endswith(" synthetic") is ("orders:orders.csv.gz" in whole.name) is (orders is not None)
    first = whole.backfill - stages.BACKFILL
    return stages.source(whole.read(first, whole.backfill + 80))


def lived(orders: str | None) -> list[Heard]:
    """Return 80 live bars of EUR/USD, with the events or without."""
    return list(Stage(stages.settings(pads={"surrogates": 19}), opened(orders)).bars())


@pytest.mark.timeout(1200)
def test_events_unmask_the_strategy_raise_an_alert_and_replay_byte_for_byte(
    file: str, tmp_path: Path
) -> None:
    """In the whole system: without a file machiavellian is masked, with one it votes, and the alert reaches PADS."""
    runs = {name: lived(orders) for name, orders in (("with", file), ("without", None))}
    scored: dict[str, list[float]] = {}
    for name, heard in runs.items():
        opinions = [a.opinion for bar in heard for a in bar.answers if a.peer == "qbmia"]
        assert opinions
        scored[name] = [float(array(o.p)[0, 1]) for o in opinions if o is not None]
        raw = b"".join(record for bar in heard for record in bar.records)
        assert (b"manipulation_suspected" in raw) is (name == "with")
    assert scored["with"] != scored["without"]
    again = lived(file)
    assert [stages.said(bar) for bar in again] == [stages.said(bar) for bar in runs["with"]]
    journal = tmp_path / "000001.qtsj"
    journal.write_bytes(b"".join(frame(record) for bar in again for record in bar.records))
    found = replay(journal)
    assert found.rounds == found.equal == sum(bar.decision is not None for bar in again) > 0


def test_windows_are_disjoint_and_a_day_is_kept() -> None:
    """Ten minutes of one-minute bars, each bar of an hour; older events are forgotten."""
    assert [window_s(s) for s in (60.0, 400.0, 3600.0)] == [600.0, 800.0, 3600.0]
    bars = stages.euro(60)
    hour = 3_600_000_000_000
    times = np.arange(int(bars.close_ns[0]) - hour + 1, int(bars.close_ns[-1]), hour // 30)
    n = times.size
    orders = Orders(
        row=np.zeros(n, np.int64), time_ns=times, buy=(np.arange(n) % 2).astype(np.uint8), price=np.full(n, 1.1),
        size=np.random.default_rng(0).lognormal(0, 0.5, n), order=np.arange(n),
        event=np.zeros(n, np.uint8), ends=ends_of(times, bars.close_ns),
    )  # fmt: skip
    whole, flow = msgspec.structs.replace(bars, orders=orders), Flow()
    looked = []
    for t in range(60):
        update = update_of(whole.part(t, t + 1), t)
        assert update.orders is not None
        flow.take(update.orders, update.symbols, update.asof_ns, update.bar_s)
        window = stages_window(whole, t)
        evidence = flow.evidence("EUR/USD", window, (1, 2))
        looked.append(evidence)
        assert flow.evidence("EUR/USD", window, (1, 2)) is None, "once a window"
    last = looked[-1]
    assert last is not None
    now = int(bars.close_ns[-1])
    assert last.recent.time_ns.min() > now - hour
    assert last.baseline.time_ns.max() <= now - hour
    assert now - 25 * hour < last.baseline.time_ns.min() < now - 24 * hour


@pytest.mark.parametrize("bar_s", [60.0, 3600.0, 14_400.0, 86_400.0])
def test_the_day_before_a_window_is_whole_whatever_a_bar_lasts(bar_s: float) -> None:
    """Of daily bars ten minutes were left of it, so the detectors never had a baseline."""
    bar, flow = int(bar_s * 1e9), Flow()
    length_ns = int(window_s(bar_s) * 1e9)
    for now in range(bar, 4 * 86_400 * 10**9, bar):
        times = np.arange(now - bar, now, 30 * 10**9) + 1
        came = msgspec.structs.replace(made(len(times), 1, 1, 0), time_ns=times)
        flow.take(flow_of(came), ("A",), now, bar_s)
    before = flow.held["A"].time_ns
    before = before[before <= now - length_ns]
    assert 86_000 <= (now - length_ns - before.min()) / 1e9 <= 86_400


def stages_window(bars: Any, t: int) -> Any:
    ring = Ring(512)
    ring.push(update_of(bars.part(0, t + 1), t))
    return ring.window()


def test_events_of_a_row_without_kinds_that_no_detector_knows() -> None:
    """In their order, sides as signs; a later version's "amend" is left out."""
    orders = made(80, 4, 2, 1)
    found = of_symbol(msgspec.structs.replace(flow_of(orders), events=("new", "amend", "fill")), 1)
    mine = (orders.row == 1) & (orders.event != 1)
    assert found.order.tolist() == orders.order[mine].tolist()
    assert found.side.tolist() == [1 if buy else -1 for buy in orders.buy[mine]]
    assert found.event.tolist() == [{0: NEW, 2: FILL}[int(kind)] for kind in orders.event[mine]]
    np.testing.assert_array_equal(found.size, orders.size[mine])


def test_what_is_kept_is_bounded_over_all_symbols(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten events of two symbols are the newest five of each; a row that has no name is nobody's."""
    monkeypatch.setattr("qts_agents.qbmia.flow.MOST", 10)
    orders, flow = made(80, 4, 3, 1), Flow()
    assert flow.take(flow_of(orders), ("A", "B"), 400, 60.0) == ("A", "B")
    for row, name in enumerate(("A", "B")):
        assert flow.held[name].order.tolist() == orders.order[orders.row == row][-5:].tolist()
    assert flow.take(flow_of(made(9, 4, 1, 2)), ("C",), 400, 60.0) == ("C",)
    assert len(flow.held["C"].order) == 3


def test_moves_are_the_largest_tenth_of_240_returns_within_the_window() -> None:
    """Of one symbol; without a known return there are none. What came before the window is the baseline."""
    tape = markets.synthetic(3, symbols=2)
    view = markets.window(tape, 600)
    times = view.close_ns[-12:]
    came, flow = made(12, 12, 1, 0), Flow()
    for name in view.symbols:
        flow.held[name] = msgspec.structs.replace(of_symbol(flow_of(came), 0), time_ns=times)
    found = flow.evidence("S1", view, (1, 2))
    assert found is not None
    assert (found.recent.time_ns.tolist(), found.baseline.time_ns.tolist()) == (
        times[2:].tolist(),
        times[:2].tolist(),
    )
    returns = np.diff(np.log(tape.close[1, 360:601]))
    np.testing.assert_array_equal(found.returns, returns)
    large = np.abs(returns[-10:]) > np.sort(np.abs(returns))[215]  # 24 of 240 are larger
    assert found.moves_ns.tolist() == times[2:][large].tolist() != []
    assert found.draws.shape == (1999, 10)
    close = view.close.copy()
    close[0] = np.nan
    blind = flow.evidence("S0", msgspec.structs.replace(view, close=close), (1, 2))
    assert blind is not None
    assert blind.moves_ns.size == 0


def test_a_symbol_is_silent_two_windows_after_it_was_looked_at() -> None:
    """Then what was found of it is past."""
    flow = Flow()
    flow.looked_ns = {"A": 0, "B": 1}
    assert [flow.silent(1200 * 10**9 + late, 60.0) for late in (-1, 0, 1)] == [(), ("A",), ("A", "B")]
    assert flow.silent(7200 * 10**9, 3600.0) == ("A",)
