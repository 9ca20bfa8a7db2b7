"""Systems of which all is there and well, but for what a test changes; and what their status says of it."""

from __future__ import annotations

from typing import Any

import msgspec
from tests.unit.control_plane.conftest import make_frame, make_snapshot

from qts_core.probes import Status
from qts_core.roster import VOTERS
from qts_operator import writes
from qts_operator.objects import desired
from qts_operator.objects.frame import Defaults, Frame
from qts_operator.resolve import resolve
from qts_operator.snapshot import Child, Finding, Pod
from qts_operator.status import Facts, build

Told = tuple[str, str, str]  # status, reason, message
#: by what is the matter: what `seen` is given, and what a condition says of it
Cases = dict[str, tuple[dict[str, Any], Told]]
DONE = writes.begin([])
HEARD = Status(
    agent="pads",
    bus_mode="connected",
    redis_reached=True,
    peers={w.wire: {"age_s": 1.0, "state": "alive"} for w in VOTERS},
)
SECRETS = {
    ("Secret", name): Child(
        kind="Secret", namespace="trading", name=name, uid=name, version="1", owner_uid="u-1"
    )
    for name in ("desk-1-curve", "desk-1-redis-auth")
}
GPU = {"agents": {"quasar": {"gpu": {"mode": "Required"}}}}
OUTSIDE = {"redis": {"mode": "External", "url": "redis://elsewhere:6379"}}
DOWN = {"ready": 0, "available": 0}
#: how who cannot ask PADS is told what to look at
ADMIT = "; a ready PADS must admit the operator to port 8080: look at its NetworkPolicies"
#: pods are refused for less than the minute after which that needs a person
LATELY = {"failing_since": 1e9 - 59.0}
#: an older pod runs on, and the newer one is not made
BEHIND = {"updated": 0}
ZERO = DOWN | {"replicas": 0, "current": 0, "updated": 0}
#: the system was applied before; and its Redis was reached then, or was not
OBSERVED = {"observedGeneration": 1}
REACHED = OBSERVED | {"conditions": [{"type": "RedisReady", "status": "True", "reason": "Ready"}]}
LOST = OBSERVED | {"conditions": [{"type": "RedisReady", "status": "False", "reason": "NotReachable"}]}
FULL = "Redis refuses writes: it is out of memory (OOM); raise its maxmemory"
LOGIN = "Redis refuses the login (WRONGPASS); its password must be the one of the access list"
NO_IMAGE = {"waiting": "ImagePullBackOff", "waiting_message": "Back-off pulling image"}
NO_REDIS_IMAGE = (
    "ImagePullBackOff: Back-off pulling image; correct spec.images.redis or spec.images.pullSecrets"
)
FAULT = writes.State(todo=(), findings=(Finding(reason="NameTaken", message="Service/x exists"),))
UNWELL = writes.State(todo=(), unwell="the server is away")
QUOTA = writes.State(todo=(), findings=(Finding(reason="QuotaExceeded", message="q", condition="Scheduled"),))
WHERE = "kubectl -n trading describe statefulset desk-1-redis"


def children_of(frame: Frame, **changes: dict[str, Any]) -> dict[tuple[str, str], Child]:
    """Return the workloads of a system that is well, but for `changes` by the name of their part."""
    found: dict[tuple[str, str], Child] = {}
    for manifest in desired(frame):
        if manifest["kind"] in ("Deployment", "StatefulSet"):
            count = manifest["spec"]["replicas"]
            name = manifest["metadata"]["name"]
            child = Child(
                kind=manifest["kind"],
                namespace="trading",
                name=name,
                uid=f"uid-{name}",
                version="1",
                owner_uid="u-1",
                owner_kind="QuantumTradingSystem",
                generation=1,
                observed=1,
                replicas=count,
                current=count,
                ready=count,
                updated=count,
                available=count,
                revision=1,
            )
            part = name.removeprefix("desk-1-")
            found[(manifest["kind"], name)] = msgspec.structs.replace(child, **changes.get(part, {}))
    return found


def pods_of(frame: Frame) -> tuple[Pod, ...]:
    """Return the pods of a system that is well."""
    return tuple(
        Pod(
            namespace="trading",
            name=f"{name}-{i}",
            uid=f"pod-{name}-{i}",
            version="1",
            agent=name,
            phase="Running",
            ready=True,
            node="node-1",
        )
        for name, count in [*((w.name, frame.wanted(w)) for w in frame.workloads()), ("redis", 1)]
        for i in range(count)
    )


def seen(spec: Any = None, *, state: Any = DONE, pods: Any = None, gone: Any = (), **more: Any) -> Facts:
    """Return what a status is made from: all is there and well, but for `more`.

    `more`: changes of children by the name of their part, then whatever snapshot and facts have.
    """
    plain = make_frame(spec)
    parts = {k: more.pop(k) for k in list(more) if k in (*(w.name for w in plain.workloads()), "redis")}
    own = {k: more.pop(k) for k in list(more) if k in ("plan", "exhausted", "verdicts", "restarts")}
    children = {
        k: c for k, c in children_of(plain, **parts).items() if k[1].removeprefix("desk-1-") not in gone
    }
    given = {
        "children": children | SECRETS | more.pop("others", {}),
        "statusz": HEARD,
        "pods": pods_of(plain),
    }
    snapshot = make_snapshot(spec, **(given | ({} if pods is None else {"pods": tuple(pods)}) | more))
    frame, verdicts = resolve(snapshot, Defaults())
    return Facts(**({"snapshot": snapshot, "frame": frame, "verdicts": verdicts, "state": state} | own))


def told(facts: Facts, kind: str) -> Told:
    """Return one condition of the status."""
    found = next(c for c in build(facts)["conditions"] if c["type"] == kind)
    return found["status"], found["reason"], found["message"]


def pods(of: str = "quasar", **changes: Any) -> list[Pod]:
    """Return the pods of a whole system, those of one agent changed."""
    change = msgspec.structs.replace
    return [change(p, **changes) if p.agent == of else p for p in pods_of(seen().frame)]


def without_redis(redis: Any = None, **agents: Any) -> dict[str, Any]:
    """Return what is seen while Redis is down: no agent is ready, as none is without it."""
    alike = {"ready": False} | agents
    found = [
        msgspec.structs.replace(p, **(alike if p.agent != "redis" else {"ready": False} | (redis or {})))
        for p in pods()
    ]
    rolled = DOWN | {"rolled": True}
    children = dict.fromkeys(("pads", "qbmia", "quasar", "amos", "market", "redis"), rolled)
    return {"pods": found, "statusz": None} | children


def refusing(**what: str) -> Status:
    """Return what PADS says while Redis refuses it this."""
    return msgspec.structs.replace(HEARD, redis_refuses=what)
