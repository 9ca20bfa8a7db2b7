"""Waiting for a fact about things that come and go: what cannot be asked just now does not hold yet."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from http.client import HTTPException
from typing import Any


class NoAnswerError(Exception):
    """A command failed: what it asks for is not there, or nobody was there to answer."""


#: what a question meets while a pod is going, an object is not there yet or a server is away. A failed assertion is
#: none of it: a check that asserts has seen what must never be
PASSING = (
    NoAnswerError,
    subprocess.SubprocessError,
    OSError,
    HTTPException,
    LookupError,
    ValueError,
    TypeError,
    StopIteration,
)


def until(check: Callable[[], Any], seconds: float, what: str = "", every_s: float = 0.2) -> Any:
    """Return the first true answer of `check`; AssertionError with the last answer when none comes in time."""
    end_s = time.monotonic() + seconds
    while True:
        try:
            answer = check()
            told = repr(answer)
        except PASSING as error:
            answer, told = None, f"{type(error).__name__}: {error}"
        if answer:
            return answer
        if time.monotonic() > end_s:
            raise AssertionError(f"not within {seconds:g} s: {what}: {told}")
        time.sleep(every_s)
