"""Whole numbers of the command line: the library would round what is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter

from qts_core.errors import ConfigError


def _whole(_: Any, tokens: Sequence[Any]) -> int:
    (token,) = tokens
    try:
        return int(token.value)
    except ValueError:
        raise ConfigError(f'{token.keyword}: expected a whole number, found "{token.value[:40]}"') from None


Whole = Annotated[int, Parameter(converter=_whole)]
