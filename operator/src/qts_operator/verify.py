"""`python -m qts_operator.verify`: what `helm test` asks of an installation, in words and an exit code."""
# ruff: noqa: T201  - its output is its purpose

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import datetime

from qts_core import names
from qts_core.errors import ConfigError
from qts_operator import leader
from qts_operator.__main__ import of_the_pod
from qts_operator.cluster import LEASES, SYSTEMS, Cluster, path_of
from qts_operator.lease import Terms
from qts_operator.metrics import Metrics
from qts_operator.middleware import ApiError
from qts_operator.session import Session, from_kubeconfig

PROBE = "helm-test"  # the name of a resource that is sent for validation only
LOOK_S = 2.0
REMEDY = {
    404: "the definition is not installed; set crds.enabled=true or apply manifests/crd.yaml",
    403: "the account of this test lacks a right; install the test's Role with the chart",
}


class UnwellError(Exception):
    """What is not as it should be, and what helps."""


async def installation(session: Session, namespace: str) -> str:
    """Tell that a resource is taken and completed by the definition, and that an operator leads."""
    body = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": {"name": PROBE}, "spec": {}}
    made = await session.call(
        "POST", path_of(SYSTEMS, namespace), kind=names.KIND, params={"dryRun": "All"}, body=body
    )
    if not (made.get("spec") or {}).get("redis"):  # left out, it is filled in
        raise UnwellError(
            "the served definition fills in no defaults; upgrade the chart with crds.enabled=true"
        )
    lease = await Cluster(session).get(LEASES, namespace, leader.NAME)
    held = (lease or {}).get("spec") or {}
    holder = held.get("holderIdentity")
    age_s = time.time() - datetime.fromisoformat(held["renewTime"]).timestamp() if holder else 0.0
    if not holder or age_s > Terms().duration_s:
        raise UnwellError("no operator holds the Lease; look at the logs of the operator's pods")
    return f"a resource is accepted, and {holder} leads"


async def system(session: Session, namespace: str, name: str, within_s: float) -> str:
    """Wait until a system says of its newest generation that it is Ready."""
    end_s = time.monotonic() + within_s
    while True:
        live = await Cluster(session).get(SYSTEMS, namespace, name)
        if live is None:
            raise UnwellError(f"there is no {names.KIND} {namespace}/{name}")
        told = {c["type"]: c for c in (live.get("status") or {}).get("conditions") or ()}.get("Ready", {})
        current = told.get("observedGeneration") == live["metadata"]["generation"]
        if current and told["status"] == "True":
            return f"{namespace}/{name}: {told['message']}"
        if time.monotonic() > end_s:
            why = f"{told['reason']}: {told['message']}" if told else "no operator has looked at it"
            raise UnwellError(f"{namespace}/{name} is not Ready after {within_s:g} s: {why}")
        await asyncio.sleep(LOOK_S)


def main(arguments: list[str] | None = None) -> int:
    """Ask, print the answer, return 0 when all is well, 1 when it is not, 2 for a wrong call."""
    out = argparse.ArgumentParser(prog="qts-operator-verify", description="What `helm test` asks")
    out.add_argument("--kubeconfig", help="default: the pod's account")
    out.add_argument("--namespace", required=True, help="the operator's, or the system's")
    out.add_argument("--system", default="", help="wait until it is Ready; without it, ask the operator")
    out.add_argument("--within", type=float, default=300.0, help="seconds to wait")
    given = out.parse_args(arguments)

    async def ask(session: Session) -> str:
        if given.system:
            return await system(session, given.namespace, given.system, given.within)
        return await installation(session, given.namespace)

    try:
        print(asyncio.run(_asked(given.kubeconfig, ask)))
    except ConfigError as error:
        print(f"qts-operator-verify: {error}", file=sys.stderr)
        return 2
    except (UnwellError, ApiError) as error:
        remedy = f"; {REMEDY[error.code]}" if isinstance(error, ApiError) and error.code in REMEDY else ""
        print(f"not well: {error}{remedy}", file=sys.stderr)
        return 1
    return 0


async def _asked(kubeconfig: str | None, ask: Callable[[Session], Awaitable[str]]) -> str:
    access = from_kubeconfig(kubeconfig) if kubeconfig else of_the_pod()
    session = Session(access, Metrics(), "qts-operator-verify")
    await session.open()
    try:
        return await ask(session)
    finally:
        await session.close()


if __name__ == "__main__":
    sys.exit(main())
