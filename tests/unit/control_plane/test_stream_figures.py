"""The figures of the operator's benchmark: each is a number, or says why it is none."""

from __future__ import annotations

import json
from math import inf

import pytest
from bench.harness import Row, text
from bench.operator_process import quantile_row, since
from bench.operator_stream import CLOCKS, Sent, beside, highest, made, told
from tests.control_plane_evidence.results import of_figures

MS = 1_000_000


def _rows(sent: Sent, writes: dict[str, int]) -> dict[str, tuple[float, str]]:
    found = told("stream", sent, writes, [4 * MS])
    return {row.figure.removeprefix("stream, "): (row.value, row.unmeasured) for row in found}


def test_a_change_is_timed_from_when_it_was_due_and_one_without_a_write_is_overtaken() -> None:
    sent = Sent({"a": 0, "b": 10 * MS, "c": 20 * MS}, {"a": 4 * MS, "b": 13 * MS, "c": 22 * MS})
    rows = _rows(sent, {"b": 30 * MS, "c": 25 * MS, "another": 1})
    assert rows["change due to write seen p50"] == (20.0, "")
    assert rows["of which the API server took the change p50"] == (3.0, "")
    assert rows["overtaken by the next change"] == (0.3333, "")


def test_where_every_change_was_overtaken_no_time_is_told() -> None:
    rows = _rows(Sent({"a": 0}, {"a": MS}), {})
    assert rows["change due to write seen p99"][1] == "no change had a write of its own"
    assert rows["overtaken by the next change"] == (1.0, "")


@pytest.mark.parametrize(
    ("counts", "share", "told"),
    [
        ({0.01: 1.0, 0.02: 4.0, inf: 4.0}, 0.5, "ok   q: 20 ms (goal 50)"),
        ({0.01: 1.0, 0.2: 4.0, inf: 4.0}, 0.5, "MISS q: 200 ms (goal 50)"),
        (
            {0.01: 1.0, 0.02: 2.0, inf: 4.0},
            0.9,
            "MISS q: not measured: above the last bucket, 20 ms (goal 50)",
        ),
        ({0.01: 0.0, inf: 0.0}, 0.5, "MISS q: not measured: nothing was counted (goal 50)"),
        ({}, 0.5, "MISS q: not measured: nothing was counted (goal 50)"),
    ],
)
def test_a_quantile_is_the_edge_of_its_bucket_or_says_why_there_is_none(counts, share, told) -> None:
    assert text(quantile_row("q", counts, share, goal=50.0).line()) == told


def test_only_what_came_since_is_counted() -> None:
    assert since({0.1: 5.0, inf: 7.0}, {0.1: 5.0, inf: 5.0}) == {0.1: 0.0, inf: 2.0}


def test_evidence_says_what_was_not_measured_and_calls_its_goal_missed() -> None:
    line = json.dumps(quantile_row("q", {}, 0.5, goal=50.0).line())
    assert of_figures(line) == ({"q": "not measured: nothing was counted (goal 50)"}, ("q",))


def test_the_token_of_a_policy_is_found() -> None:
    source = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "stream-7"}}}
    assert made({"spec": {"ingress": [{"from": [{}, source]}]}}) == "stream-7"
    assert made({"spec": {"ingress": [{"from": [{}]}]}}) == ""


def _rate(own: float, floor: float | None) -> list[Row]:
    peer = {} if floor is None else beside([int(floor * MS)], "p50")
    return [Row(f"x, {CLOCKS[1]} p50", own, "ms", **({"goal": 10.0} | peer))]


def test_the_highest_rate_is_the_last_at_which_every_goal_holds_and_the_bare_clients_beside_it() -> None:
    found = {
        10.0: _rate(10.0, 3.0),
        20.0: _rate(10.0, 4.0),
        50.0: _rate(20.0, 9.0),
        100.0: _rate(900.0, 11.0),
    }
    rows = {row.figure.rpartition(", ")[2]: row for row in highest(5, found)}
    told = rows[CLOCKS[1]]
    assert (told.value, told.peer_value) == (20.0, 50.0)
    assert not told.line()["ok"]
    assert rows[CLOCKS[1]].line()["ratio"] == 0.4  # a higher rate is better


def test_a_rate_that_no_bare_client_took_has_no_peer() -> None:
    """A stream that ended early tells nothing of the bare client; without any there is none at all."""
    told = next(
        row
        for row in highest(5, {10.0: _rate(30.0, 3.0), 50.0: _rate(30.0, None)})
        if CLOCKS[1] in row.figure
    )
    assert (told.value, told.peer_value) == (0.0, 10.0)
    assert all(row.peer_value is None for row in highest(5, {10.0: _rate(5.0, None)}))


def test_a_rate_without_rows_of_a_clock_does_not_hold_by_it() -> None:
    assert {row.value for row in highest(5, {10.0: []})} == {0.0}
