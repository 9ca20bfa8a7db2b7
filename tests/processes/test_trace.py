"""One decision round is one connected trace, across five processes and both transports."""

from __future__ import annotations

import json
import os
import signal
import threading
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from time import sleep
from typing import Any

import msgspec
import pytest
from tests.processes.receiver import Receiver
from tests.processes.running import qts_arguments
from tests.processes.whole import AGENTS, Whole, qts
from tests.waiting import until

from qts_cli.sockets import free_ports
from qts_core.probes import KeptRound, KeptRounds

pytestmark = [pytest.mark.processes, pytest.mark.timeout(1200)]
EXPECTED = {
    ("market", "publish market"),
    ("pads", "process market"),
    ("pads", "round"),
    ("pads", "send requests"),
    ("qbmia", "process requests"),
    ("quasar", "process requests"),
    ("amos", "process requests"),
    ("qbmia", "send votes"),
    ("quasar", "send votes"),
    ("amos", "send votes"),
    ("pads", "process votes"),
    ("pads", "decide"),
    ("pads", "publish decisions"),
}


#: what every kept round has beside, for who learns of it tells that too
HEARD = {(name, "process decisions") for name in AGENTS if name != "pads"}
RATIO = 0.3
RATES = ("market_update_interval=0.5", "decision_interval=1", "decision_timeout=4")
#: from a decision to the next round it takes up to 1.5 s; amos is then silent for more than half of the timeout
STOPPED_S = 4.0
Spans = list[tuple[str, Any]]


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[Whole]:
    """A run that samples some rounds; it must end in order and its journal must replay."""
    told = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver.server_address[1]}",
        "OTEL_TRACES_SAMPLER_ARG": str(RATIO),
    }
    run = Whole(tmp_path_factory.mktemp("traces"), *qts_arguments(free_ports(5), *RATES), **told)
    try:
        yield run
    finally:
        if run.process.poll() is None:
            run.process.send_signal(signal.SIGINT)
            run.end()
    assert run.process.returncode == 0
    replayed = qts("replay", "--json", cwd=run.cwd)
    assert replayed.returncode == 0, replayed.stdout


def _traces(receiver: Receiver, *, sampled: bool) -> dict[bytes, Spans]:
    """Return the spans of each trace that the feed or PADS chose to sample, or did not."""
    traces: dict[bytes, Spans] = defaultdict(list)
    for service, span in list(receiver.spans):
        if (int.from_bytes(span.trace_id[9:]) < RATIO * (1 << 56)) is sampled:
            traces[span.trace_id].append((service, span))
    return traces


def _whole(traces: dict[bytes, Spans], expected: set[tuple[str, str]] = EXPECTED) -> list[Spans]:
    """Return the rounds that every process has told its part of; a slow start leaves early rounds smaller."""
    return [t for t in traces.values() if {(service, s.name) for service, s in t} >= expected]


def _connected(spans: Spans) -> None:
    """Each span once, below one that is there; one root; the decision linked to every vote."""
    ids = {span.span_id for _, span in spans}
    assert len(ids) == len(spans)
    orphans = [s.name for _, s in spans if s.parent_span_id and s.parent_span_id not in ids]
    assert orphans == []
    assert [s.name for _, s in spans if not s.parent_span_id] == ["publish market"]
    (decide,) = [s for _, s in spans if s.name == "decide"]
    sent = {s.span_id for _, s in spans if s.name == "send votes"}
    assert {link.span_id for link in decide.links} == sent


def _kept(run: Whole, name: str) -> dict[bytes, KeptRound]:
    """Return what a process says at /keptz, by trace."""
    ports = json.loads((run.cwd / ".qts" / "run" / "latest" / "run.json").read_text())["http"]
    with urllib.request.urlopen(f"http://127.0.0.1:{ports[name]}/keptz/{name}", timeout=10) as answer:
        told = msgspec.json.decode(answer.read(), type=KeptRounds)
    assert told.agent == name
    return {bytes.fromhex(each.trace_id): each for each in told.rounds}


def test_every_sampled_round_is_one_connected_trace(run: Whole, receiver: Receiver) -> None:
    """A real receiver gets market → PADS → three agents → PADS → broadcast, with no orphan span."""
    run.all_ready()
    for spans in until(lambda: _whole(_traces(receiver, sampled=True)), 200, "a sampled round"):
        _connected(spans)


def test_a_slow_round_that_was_not_sampled_is_one_connected_trace_too(run: Whole, receiver: Receiver) -> None:
    """One agent stands still for a while: all tell their part afterwards, and only of rounds that were kept."""
    run.all_ready()

    def slow() -> list[Spans]:
        run.voted("amos")
        os.kill(run.pid("amos"), signal.SIGSTOP)
        try:
            sleep(STOPPED_S)
        finally:
            os.kill(run.pid("amos"), signal.SIGCONT)
        run.voted("amos")
        sleep(1.5)  # exporters send twice a second
        return _whole(_traces(receiver, sampled=False), EXPECTED | HEARD)

    whole = until(slow, 300, "a kept round")
    late = set(_traces(receiver, sampled=False))
    kept = {name: _kept(run, name) for name in (*AGENTS, "market")}
    assert late <= set(kept["pads"])
    for spans in whole:
        _connected(spans)
        trace = spans[0][1].trace_id
        assert kept["pads"][trace].why == "slow"
        for name, told in kept.items():
            theirs = [s.end_time_unix_nano - s.start_time_unix_nano for who, s in spans if who == name]
            stages = told[trace].stages
            assert sorted(theirs) == sorted(round(part.duration_s * 1e9) for part in stages), name
        (took,) = [part.duration_s for part in kept["pads"][trace].stages if part.stage == "round"]
        assert 1.5 < took < STOPPED_S + 1
