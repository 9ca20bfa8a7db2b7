"""Secrets of others cost the operator nothing: it may neither list nor watch them, and its memory does not move.

QTS_TEST_SECRETS is how many are made, 300 where nothing else is said; the design asks for 20,000.
"""

from __future__ import annotations

import asyncio
import base64
import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from bench.operator_process import rss_mb
from tests.control_plane_campaign.judge import opened

from qts_operator.cluster import path_of
from qts_operator.objects import BY_KIND
from qts_operator.packaging import NAME, NAMESPACE
from qts_operator.session import from_kubeconfig

SECRETS = int(os.environ.get("QTS_TEST_SECRETS", "300"))
SIDE, REST_S, GOAL_MB = 16, 3.0, 5.0
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]
CONTENT = {"key": base64.b64encode(b"x" * 1024).decode()}


async def _make(namespace: str) -> None:
    """Make the Secrets, a few at a time; half of them with labels like ours."""
    slots, path = asyncio.Semaphore(SIDE), path_of(BY_KIND["Secret"], namespace)
    async with opened(from_kubeconfig(os.environ["KUBECONFIG"])) as judge:

        async def one(number: int) -> None:
            labels = {"app.kubernetes.io/managed-by": "qts-operator"} if number % 2 else {}
            async with slots:
                metadata = {"name": f"theirs-{number}", "labels": labels}
                await judge.session.call(
                    "POST", path, kind="Secret", body={"metadata": metadata, "data": CONTENT}
                )

        async with asyncio.TaskGroup() as open_:
            for number in range(SECRETS):
                open_.create_task(one(number))


def test_the_secrets_of_others_are_none_of_its_business(
    kube: Any,
    namespace: str,
    operator: Callable[..., Any],
    until: Callable[..., Any],
    report: Callable[[str, float], None],
) -> None:
    """No right to list or to watch; what it holds after them is what it held before, also by a start."""
    for verb in ("list", "watch"):
        who = f"system:serviceaccount:{NAMESPACE}:operator-{NAME}"
        told = kube.run("auth", "can-i", verb, "secrets", "--as", who, "-n", namespace, check=False)
        assert told.stdout.strip() == "no"

    def measured(seed: int) -> float:
        """Return the memory after a change of the system, which looks at its own Secrets, and some rest."""
        kube.system(namespace, "desk", {"suspend": True, "config": {"systemSeed": seed}})
        until(lambda: kube.applied(namespace), "applied")
        time.sleep(REST_S)
        return rss_mb(leader.process.pid)

    leader = operator()
    measured(1)
    first = measured(2)
    asyncio.run(_make(namespace))
    grown = measured(3) - first
    leader.stop()
    leader = operator()
    measured(4)
    anew = measured(5) - first
    report("Secrets of others", SECRETS)
    report("MB of memory more with them, the same process (goal: at most 5)", round(grown, 2))
    report("MB of memory more with them, one that started beside them (goal: at most 5)", round(anew, 2))
    assert max(grown, anew) < GOAL_MB
