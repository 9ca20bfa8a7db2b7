"""The log: one JSON object a line, of libraries too, and no flood."""

from __future__ import annotations

import json
import logging
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import structlog

from qts_agents.metrics import Metrics
from qts_core.telemetry import lines_suppressed, open_logs


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
    log, before = open_logs("pads", "desk"), lines_suppressed()
    for _ in range(300):
        getattr(log, method)("agent_failed")
    written = len(lines(capsys))
    assert 10 <= written <= 20  # a minute may end meanwhile
    assert lines_suppressed() - before == 300 - written
    assert f"qts_log_lines_suppressed_total {lines_suppressed():.1f}" in Metrics().text().decode()


def test_a_full_disk_ends_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who says that nothing can be written any more goes on; the lines are lost."""
    full = Path("/dev/full").open("w")  # noqa: SIM115 - closing it fails, too
    try:
        monkeypatch.setattr(sys, "stdout", full)
        log = open_logs("pads", "desk")
        before = lines_suppressed()
        for _ in range(3):
            log.error("journal_not_writable", error="x" * 8192)
            logging.getLogger("qts_messaging.redis_streams").warning("streams are away: %s", "MISCONF")
        assert lines_suppressed() - before == 6
    finally:
        monkeypatch.undo()
        with suppress(OSError):
            full.close()


def test_every_line_says_whose_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Also one of a module's own logger, as the operator's modules have them."""
    log = structlog.get_logger()
    open_logs("operator", "operator")
    log.warning("watch paused", kind="Pod")
    (line,) = lines(capsys)
    assert (line["service"], line["event"], line["kind"]) == ("qts-operator", "watch paused", "Pod")
