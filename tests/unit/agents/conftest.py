"""What tests of agents and kernels share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog

from qts_agents.kernels import backend


@pytest.fixture(params=[True, False], ids=["compiled", "reference"])
def either(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run with the compiled kernels, then with the numpy references."""
    backend.set_jit(request.param)
    yield
    backend.set_jit(True)


@pytest.fixture(autouse=True)
def _logs_end_with_the_test() -> Iterator[None]:
    """Let no later test of this process write to the captured output of one that opened the logs."""
    yield
    structlog.reset_defaults()
