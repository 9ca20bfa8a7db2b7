"""Deaths at writes on a real API server: a short form of `make campaign`, which says what share it played."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from tests.control_plane_campaign.campaign import Options, campaign, share, told

from qts_operator.session import from_kubeconfig

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900), pytest.mark.usefixtures("played_nodes")]
#: of systems without pods but Redis's, so that it is the operator that is waited for
WORKLOADS = (
    *("create-suspended", "delete-suspended"),
    *("settings", "settings-back"),
    *("disable", "enable"),
    *("policies", "policies-back"),
)
SIDE, SECONDS = 24, 60.0


async def test_a_death_at_a_write_changes_nothing_in_the_end(report: Callable[[str, float], None]) -> None:
    """Before, during and after as many writes as there is time for; O1 to O14 hold for each plan."""
    options = Options(workloads=WORKLOADS, side=SIDE, seconds=SECONDS)
    reports = await campaign(from_kubeconfig(os.environ["KUBECONFIG"]), options)
    print(told(reports))
    report("operator killed at a write, plans", sum(r.plans for r in reports))
    report("share of all single deaths of eight workloads, %", round(100 * share(reports)))
    assert [line for r in reports for line in r.failed] == []
    assert sum(r.died for r in reports) > 0
