"""Specs that the API server is asked about on trial: nothing is created."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from tests.control_plane_campaign.judge import Judge

from qts_core import names
from qts_operator.cluster import SYSTEMS, path_of
from qts_operator.middleware import ApiError

SIDE = 8  # questions at once
STRICT = {"dryRun": "All", "fieldValidation": "Strict"}


async def refusals_of(judge: Judge, specs: Iterable[dict[str, Any]]) -> list[str]:
    """Return the refusal of each spec, "" for one that is taken."""
    slots = asyncio.Semaphore(SIDE)

    async def ask(spec: dict[str, Any]) -> str:
        async with slots:
            return await _refusal(judge, spec)

    return await asyncio.gather(*(ask(spec) for spec in specs))


async def _refusal(judge: Judge, spec: dict[str, Any]) -> str:
    body = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": {"name": "twin"}, "spec": spec}
    try:
        path = path_of(SYSTEMS, "default")
        await judge.session.call("POST", path, kind=names.KIND, params=STRICT, body=body)
    except ApiError as error:
        if error.code not in (400, 422):
            raise
        return error.message
    return ""
