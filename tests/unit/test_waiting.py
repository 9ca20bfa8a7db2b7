"""What waiting of tests forgives, and what it does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.waiting import NoAnswerError, until


def _refuse() -> Any:
    raise NoAnswerError("no such pod")


@pytest.mark.parametrize(
    "passing", [_refuse, lambda: {}["board_members"], lambda: json.loads("{"), lambda: int(None)]
)
def test_what_cannot_be_asked_yet_is_asked_again(passing: Callable[[], Any]) -> None:
    """The answer that holds is returned."""
    turns = iter((passing, lambda: 0, lambda: "there"))
    assert until(lambda: next(turns)(), 60.0, every_s=0.0) == "there"


def test_the_last_trouble_is_told() -> None:
    """A fact that never holds fails, with what stood in its way."""
    with pytest.raises(AssertionError, match="a pod: NoAnswerError: no such pod"):
        until(_refuse, 0.0, "a pod", every_s=0.0)
    with pytest.raises(AssertionError, match="a count: 0"):
        until(lambda: 0, 0.0, "a count", every_s=0.0)


def test_what_must_never_be_is_not_waited_over() -> None:
    """A check that asserts fails at once."""
    asked = []

    def never() -> bool:
        asked.append(1)
        raise AssertionError("two hold it")

    with pytest.raises(AssertionError, match="two hold it"):
        until(never, 60.0)
    assert asked == [1]
