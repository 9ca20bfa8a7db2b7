"""Every rule of every field of the definition, broken once: the API server refuses each and names the field."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

import pytest
from tests.cluster.trial import refusals_of
from tests.control_plane_campaign.judge import opened
from tests.twins import Twin, twins

from qts_core.crd import spec_schema
from qts_operator.session import from_kubeconfig

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def _names(refusal: str, twin: Twin) -> bool:
    """Tell whether a refusal names the field; indices and keys of maps are left out of paths."""
    return twin.path in re.sub(r"\[[\w-]*\]", "", refusal)


@pytest.mark.usefixtures("kube")
async def test_every_rule_of_every_field_is_kept_and_named(report: Callable[[str, float], None]) -> None:
    """The valid spec beside them is taken, so it is the one wrong value that is refused."""
    every = list(twins(spec_schema()))
    async with opened(from_kubeconfig(os.environ["KUBECONFIG"])) as judge:
        taken, *refusals = await refusals_of(judge, [{}, *(twin.spec for twin in every)])
    assert taken == ""
    report("invalid twins refused by the API server, each with its field", len(every))
    assert [f"{t.path}: {t.rule}" for t, told in zip(every, refusals, strict=True) if not told] == []
    wrong = [(t.path, t.rule, told) for t, told in zip(every, refusals, strict=True) if not _names(told, t)]
    assert wrong == []
