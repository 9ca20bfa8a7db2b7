"""Every rule of every field of the definition, broken once: the API server refuses each and names the field."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable
from typing import Any

import pytest
from tests.control_plane_campaign.judge import Judge, opened
from tests.twins import Twin, twins

from qts_core import names
from qts_core.crd import spec_schema
from qts_operator.cluster import SYSTEMS, path_of
from qts_operator.middleware import ApiError
from qts_operator.session import from_kubeconfig

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
SIDE = 8
STRICT = {"dryRun": "All", "fieldValidation": "Strict"}


async def refusal_of(judge: Judge, spec: dict[str, Any]) -> str:
    """Return the refusal of a spec that is created on trial, "" when it is taken."""
    body = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": {"name": "twin"}, "spec": spec}
    try:
        path = path_of(SYSTEMS, "default")
        await judge.session.call("POST", path, kind=names.KIND, params=STRICT, body=body)
    except ApiError as error:
        if error.code not in (400, 422):
            raise
        return error.message
    return ""


def _names(refusal: str, twin: Twin) -> bool:
    """Tell whether a refusal names the field; indices and keys of maps are left out of paths."""
    return twin.path in re.sub(r"\[[\w-]*\]", "", refusal)


@pytest.mark.usefixtures("kube")
async def test_every_rule_of_every_field_is_kept_and_named(report: Callable[[str, float], None]) -> None:
    """The valid spec beside them is taken, so it is the one wrong value that is refused."""
    every = list(twins(spec_schema()))
    slots = asyncio.Semaphore(SIDE)
    async with opened(from_kubeconfig(os.environ["KUBECONFIG"])) as judge:

        async def refusal(twin: Twin) -> str:
            async with slots:
                return await refusal_of(judge, twin.spec)

        assert await refusal_of(judge, {}) == ""
        refusals = await asyncio.gather(*(refusal(twin) for twin in every))
    report("invalid twins refused by the API server, each with its field", len(every))
    assert [f"{t.path}: {t.rule}" for t, told in zip(every, refusals, strict=True) if not told] == []
    wrong = [(t.path, t.rule, told) for t, told in zip(every, refusals, strict=True) if not _names(told, t)]
    assert wrong == []
