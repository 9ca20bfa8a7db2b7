"""The log: one JSON object a line, of libraries too, and no flood."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from qts_core.telemetry import open_logs


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Give the root logger back as it was."""
    root, ours = logging.getLogger(), logging.getLogger("qts_messaging")
    before, level = root.handlers[:], ours.level
    yield
    root.handlers[:] = before
    ours.setLevel(level)
    structlog.reset_defaults()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Return what stands in the log, and see that nothing stands elsewhere."""
    out, err = capsys.readouterr()
    assert err == ""
    return [json.loads(line) for line in out.splitlines()]


def test_what_the_bus_says_is_a_line_of_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    """With time, level, sender and a name that is the same each time; twice opened, it is said once."""
    open_logs("pads", "desk")
    open_logs("pads", "desk")
    log = logging.getLogger("qts_messaging.redis_pubsub")
    log.warning("redis is away: %.200s", "No answer for 2 s")
    log.info("redis is back")
    log.debug("nobody asked")
    logging.getLogger("somebody.else").info("nobody asked")
    away, back = lines(capsys)
    assert away.pop("ts")
    assert away == {
        "event": "redis_is_away",
        "level": "warning",
        "said": "redis is away: No answer for 2 s",
        "logger": "qts_messaging.redis_pubsub",
        "service": "qts-pads",
        "system": "desk",
        "agent": "pads",
    }
    assert (back["event"], back["level"]) == ("redis_is_back", "info")


def test_an_exception_of_a_handler_comes_with_its_stack(capsys: pytest.CaptureFixture[str]) -> None:
    """In the one line, so that whoever collects lines keeps it together."""
    open_logs("pads", "desk")
    try:
        raise ValueError("no")
    except ValueError:
        logging.getLogger("qts_messaging.dispatch").exception("handler of %s failed", "risk_alert")
    (line,) = lines(capsys)
    assert (line["event"], line["level"]) == ("handler_of_failed", "error")
    assert line["exception"].endswith("ValueError: no")


@pytest.mark.parametrize("method", ["warning", "error"])
def test_the_same_line_is_written_ten_times_a_minute(capsys: pytest.CaptureFixture[str], method: str) -> None:
    """Whatever its level: a handler that fails with every message writes no disk full."""
    log = open_logs("pads", "desk")
    for _ in range(300):
        getattr(log, method)("agent_failed")
    assert 10 <= len(lines(capsys)) <= 20  # a minute may end meanwhile
