"""Options that every test folder understands, and the report of measured numbers at the end of a run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest
import structlog
from hypothesis import HealthCheck, settings

# how long an example takes says how busy the machine is, and nothing of the code
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")
Report = Callable[[str, float], None]
_numbers: dict[str, float] = {}


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """Take back what a test has opened: else a log goes on writing to that test's captured output."""
    root, ours = logging.getLogger(), logging.getLogger("qts_messaging")
    before, level = root.handlers[:], ours.level
    yield
    root.handlers[:] = before
    ours.setLevel(level)
    structlog.reset_defaults()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the stored files of tests/golden")


@pytest.fixture(scope="session")
def report() -> Report:
    """Give what notes a measured number for the report."""
    return _numbers.__setitem__


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have measured."""
    if _numbers:
        terminalreporter.section("measured")
        for name, value in _numbers.items():
            terminalreporter.write_line(f"{value:>12,} {name}")
