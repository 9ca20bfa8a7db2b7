"""Namespaced mode over several namespaces: what is refused in one stops nobody in another."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
from tests.unit.control_plane import engines
from tests.unit.control_plane.guarded import Guarded
from tests.unit.control_plane.test_least_privilege import CLUSTER, HOME, until

from qts_operator import rights
from qts_operator.objects import claim_templates

WELL, POOR = "desk-well", "desk-poor"
MODE = msgspec.structs.replace(CLUSTER, watched=(POOR, WELL), nodes=False)
GPU: dict[str, Any] = {"mode": "Required", "deviceClassName": "gpu.example.com"}


def guarded(*refused: str) -> Guarded:
    """Return a server that refuses these resources in POOR."""
    fewer = [r for r in rights.rules() if not set(refused) & set(r["resources"])]
    return Guarded({WELL: rights.rules(), POOR: fewer, HOME: rights.lease_rules()})


running = partial(engines.running, options=MODE)


async def test_a_list_that_is_refused_in_one_namespace_blocks_that_one_alone() -> None:
    """There the condition names it and nothing is made; elsewhere everything is."""
    api = guarded("networkpolicies")
    for namespace in (WELL, POOR):
        api.system(namespace, "desk", {})
    async with running(api) as engine:
        assert await until(lambda: len(api.names("Deployment", WELL)) == 5)
        assert await until(lambda: api.degraded(POOR, "desk")[0] == "AccessDenied")
        assert 'resource "networkpolicies"' in api.degraded(POOR, "desk")[1]
        assert api.names("Deployment", POOR) == set()
        assert await until(lambda: api.degraded(WELL, "desk")[0] == "Healthy")
        assert 'resource "networkpolicies"' in engine.ready()


async def test_an_optional_kind_is_used_wherever_it_may_be_seen() -> None:
    """The first namespace refuses it, the second has it."""
    api = guarded("resourceclaimtemplates")
    for namespace in (WELL, POOR):
        api.system(namespace, "desk", {"agents": {"quasar": {"gpu": GPU}}})
    async with running(api):
        assert await until(lambda: len(api.names(claim_templates.KIND, WELL)) == 1)
        assert await until(lambda: len(api.names("Service", POOR)) > 0)
        assert api.names(claim_templates.KIND, POOR) == set()
