"""Every reason that a condition may give: when it is given, in which words, and what has precedence over it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.unit.control_plane.conftest import make_snapshot
from tests.unit.control_plane.test_conditions import SECRETS
from tests.unit.control_plane.test_status import DONE, HEARD, _children, _pods

from qts_core.probes import Status
from qts_operator import gang, gpu, writes
from qts_operator.objects.frame import Defaults
from qts_operator.resolve import resolve
from qts_operator.snapshot import Child, Finding, Node, Pod
from qts_operator.status import Facts, build

Told = tuple[str, str, str]  # status, reason, message
GPU = {"agents": {"quasar": {"gpu": {"mode": "Required"}}}}
OUTSIDE = {"redis": {"mode": "External", "url": "redis://elsewhere:6379"}}
DOWN = {"ready": 0, "available": 0}
#: pods are refused for less than the minute after which that needs a person
LATELY = {"failing_since": 1e9 - 59.0}
#: an older pod runs on, and the newer one is not made
BEHIND = {"updated": 0}
ZERO = DOWN | {"replicas": 0, "current": 0, "updated": 0}
#: the system was applied before, and as it says was suspended then
OBSERVED = {"observedGeneration": 1}
SUSPENDED = OBSERVED | {"conditions": [{"type": "Suspended", "status": "True", "reason": "Suspended"}]}
REACHED = OBSERVED | {"conditions": [{"type": "RedisReady", "status": "True", "reason": "Ready"}]}
LOST = OBSERVED | {"conditions": [{"type": "RedisReady", "status": "False", "reason": "NotReachable"}]}
RESUMED = OBSERVED | {"conditions": [{"type": "Suspended", "status": "False", "reason": "NotSuspended"}]}


def seen(spec: Any = None, *, state: Any = DONE, pods: Any = None, gone: Any = (), **more: Any) -> Facts:
    """Return what a status is made from: all is there and well, but for `more`.

    `more`: changes of children by the name of their part, then whatever snapshot and facts have.
    """
    plain = resolve(make_snapshot(spec), Defaults())[0]
    parts = {k: more.pop(k) for k in list(more) if k in (*(w.name for w in plain.workloads()), "redis")}
    own = {k: more.pop(k) for k in list(more) if k in ("plan", "exhausted", "verdicts", "restarts")}
    children = {
        k: c for k, c in _children(plain, **parts).items() if k[1].removeprefix("desk-1-") not in gone
    }
    given = {"children": children | SECRETS | more.pop("others", {}), "statusz": HEARD, "pods": _pods(plain)}
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
    return [change(p, **changes) if p.agent == of else p for p in _pods(seen().frame)]


def without_redis(redis: Any = None, **agents: Any) -> dict[str, Any]:
    """Return what is seen while Redis is down: no agent is ready, as none is without it."""
    alike = {"ready": False} | agents
    found = [
        msgspec.structs.replace(p, **(alike if p.agent != "redis" else {"ready": False} | (redis or {})))
        for p in pods()
    ]
    rolled = DOWN | {"rolled": True}
    children = dict.fromkeys(("pads", "qbmia", "quasar", "amos", "market"), rolled) | {"redis": DOWN}
    return {"pods": found, "statusz": None} | children


def refusing(**what: str) -> Status:
    """Return what PADS says while Redis refuses it this."""
    return msgspec.structs.replace(HEARD, redis_refuses=what)


def said(status: str, reason: str) -> dict[str, Any]:
    """Return a status whose RedisReady is this."""
    return OBSERVED | {"conditions": [{"type": "RedisReady", "status": status, "reason": reason}]}


FULL = "Redis refuses writes: it is out of memory (OOM); raise its maxmemory"
LOGIN = "Redis refuses the login (WRONGPASS); its password must be the one of the access list"
RIGHT = "Redis refuses a command (NOPERM): no xadd; give it the access list of this version"
UNSURE = "Redis refused PADS, which cannot be asked now whether it still does"
NO_IMAGE = {"waiting": "ImagePullBackOff", "waiting_message": "Back-off pulling image"}
FAULT = writes.State(todo=(), findings=(Finding(reason="NameTaken", message="Service/x exists"),))
UNWELL = writes.State(todo=(), unwell="the server is away")
QUOTA = writes.State(todo=(), findings=(Finding(reason="QuotaExceeded", message="q", condition="Scheduled"),))
READY: dict[str, tuple[dict[str, Any], Told]] = {
    "all": ({}, ("True", "AllReady", "4/4 agents and the feed are ready")),
    "no feed": (
        {"spec": {"market": {"source": "External"}}},
        ("True", "AllReady", "4/4 agents are ready"),
    ),
    "three agents": (
        {"spec": {"agents": {"amos": {"enabled": False}}}},
        ("True", "AllReady", "3/3 agents and the feed are ready"),
    ),
    "suspended": ({"spec": {"suspend": True}}, ("False", "Suspended", "the system is suspended")),
    "suspended, and a fault": (
        {"spec": {"suspend": True}, "state": FAULT},
        ("False", "Suspended", "the system is suspended"),
    ),
    "a fault": ({"state": FAULT}, ("False", "NameTaken", "Service/x exists")),
    "a fault, and an agent down": (
        {"state": FAULT, "amos": DOWN},
        ("False", "NameTaken", "Service/x exists"),
    ),
    "no budget": ({"exhausted": "too often"}, ("False", "RestartBudgetExhausted", "too often")),
    "a fault, and no budget": (
        {"exhausted": "too often", "state": FAULT},
        ("False", "NameTaken", "Service/x exists"),
    ),
    "not applied": (
        {"state": writes.State(todo=(), stale=True)},
        ("False", "SpecNotApplied", "the spec is not applied yet"),
    ),
    "not applied, as it is paused": (
        {"spec": {"paused": True}, "plan": ("a",), "status": OBSERVED, "generation": 2},
        ("False", "SpecNotApplied", "the system is paused: status.plan says what is not done"),
    ),
    "not applied, and an agent down": (
        {"state": UNWELL, "amos": DOWN},
        ("False", "SpecNotApplied", "the server is away"),
    ),
    "not applied, for a quota": ({"state": QUOTA}, ("False", "QuotaExceeded", "q")),
    "agents down": (
        {"amos": DOWN, "pads": DOWN},
        ("False", "AgentsNotReady", "pads: starting; amos: starting"),
    ),
    "an agent missing": ({"gone": ["amos"]}, ("False", "AgentsNotReady", "amos: starting")),
    "an agent of another resource": (
        {"amos": {"owner_uid": "u-2"}},
        ("False", "AgentsNotReady", "amos: starting"),
    ),
    "a pod too many": ({"amos": {"replicas": 2}}, ("False", "AgentsNotReady", "amos: starting")),
    "a pod more than asked for": (
        {"amos": {"available": 2, "updated": 2}},
        ("True", "AllReady", "4/4 agents and the feed are ready"),
    ),
    "Redis starts, the agents are ready": (
        {"redis": DOWN},
        ("False", "RedisNotReady", "Redis is starting up"),
    ),
    "all start": (
        without_redis(),
        (
            "False",
            "AgentsNotReady",
            "pads: starting; qbmia: starting; quasar: starting; amos: starting; market: starting",
        ),
    ),
    "Redis down": (
        without_redis(up=True) | {"status": REACHED},
        ("False", "RedisNotReady", "Redis is not ready any more"),
    ),
    "Redis down, and the agents restarted": (
        without_redis() | {"status": LOST},
        ("False", "RedisNotReady", "Redis is not ready any more"),
    ),
    "Redis without an image": (
        without_redis(NO_IMAGE),
        ("False", "RedisNotReady", "Redis is starting up: ImagePullBackOff: Back-off pulling image"),
    ),
    "Redis down, and an agent with a cause of its own": (
        without_redis(up=True) | {"status": REACHED, "amos": DOWN | LATELY | {"failure": "no account"}},
        ("False", "RedisNotReady", "Redis is not ready any more; amos: no account"),
    ),
    "Redis outside not reached": (
        without_redis(up=True)
        | {"spec": OUTSIDE, "statusz": msgspec.structs.replace(HEARD, redis_reached=False)},
        ("False", "RedisNotReady", "PADS does not reach Redis"),
    ),
    "Redis refuses writes": (
        {"statusz": refusing(memory=FULL)},
        ("False", "RedisNotReady", f"PADS: {FULL}"),
    ),
    "Redis refuses the login of PADS": (
        {"statusz": refusing(password=LOGIN), "pads": DOWN, "pods": pods("pads", ready=False, up=True)},
        ("False", "RedisNotReady", f"PADS: {LOGIN}"),
    ),
    "Redis not known": (
        {"spec": OUTSIDE, "statusz": None},
        ("False", "RedisNotReady", "PADS cannot be asked whether it reaches Redis"),
    ),
    "nobody heard": (
        {"statusz": msgspec.structs.replace(HEARD, peers={})},
        ("False", "MessagingDown", "PADS does not hear qbmia, quasar, amos"),
    ),
    "messaging not known": ({"statusz": None}, ("True", "AllReady", "4/4 agents and the feed are ready")),
}
ONE = {"nvidia.com/gpu": 1}
WAITS = "kubectl -n trading describe pod quasar-0 says what for"
USED = "1 nvidia.com/gpu; 1 of 1"
WHY: dict[str, tuple[dict[str, Any], str]] = {
    "no device": (
        {"spec": GPU, "nodes": (), "quasar": DOWN | LATELY | {"failure": "other"}},
        "NoGPUNodes: quasar needs 1 nvidia.com/gpu; none of 0 nodes offers it",
    ),
    "no device yet": ({"spec": GPU}, "starting"),
    "its device is lost": (
        {
            "spec": GPU,
            "nodes": (Node(name="a", ready=False, unready_since=1e9 - 60.0), Node(name="b", allocatable=ONE)),
            "used": {"b": ONE},
            "pods": pods(node="a", limits=ONE, up=True, ready=False),
        },
        f"GPUsBusy: quasar needs {USED} on 1 matching node are in use; its pod stays on a, which is lost",
    ),
    "on the CPU": (
        {"spec": {"agents": {"quasar": {"gpu": {"mode": "Preferred"}}}}, "nodes": ()},
        "starting",
    ),
    "no pod may be made": ({"quasar": DOWN | LATELY | {"failure": "f" * 400}}, "f" * 300),
    "no node": (
        {"pods": pods(unschedulable="0/3 nodes fit. preemption: none.")},
        "Unschedulable: 0/3 nodes fit",
    ),
    "no image": (
        {"pods": pods(waiting="ImagePullBackOff", waiting_message="m" * 400)},
        f"ImagePullBackOff: {'m' * 282}",
    ),
    "another's image": (
        {"pods": [msgspec.structs.replace(p, agent="amos") for p in pods(waiting="X")]},
        "starting",
    ),
    "started": ({"pods": pods(up=True, ready=False)}, "not ready"),
    "started, and goes": ({"pods": pods(up=True, ready=False, deleting=True)}, "starting"),
    "a container is made": ({"pods": pods(waiting="ContainerCreating", started=1e9 - 119.0)}, "starting"),
    "a pod is begun": ({"pods": pods(waiting="PodInitializing", started=1e9 - 119.0)}, "starting"),
    "a container is not made for two minutes": (
        {"pods": pods(waiting="ContainerCreating", started=1e9 - 120.0)},
        f"ContainerCreating: its containers still wait; {WAITS}",
    ),
    "no node for two minutes, nor anything known of it": (
        {"pods": pods(waiting="ContainerCreating", started=1e9 - 120.0, node="")},
        "starting",
    ),
    "its autoscaler": (
        {"spec": {"agents": {"quasar": {"replicasManagedBy": "External"}}}, "quasar": ZERO},
        "its autoscaler keeps it at 0 replicas",
    ),
}
PROGRESSING: dict[str, tuple[dict[str, Any], Told]] = {
    "complete": ({}, ("False", "Complete", "")),
    "paused": (
        {"spec": {"paused": True}, "plan": ("a", "b"), "amos": {"stuck": True}},
        ("False", "Paused", "2 changes are planned"),
    ),
    "stuck": (
        {"redis": {"stuck": True}, "amos": {"stuck": True}, "gone": ["pads"]},
        ("False", "RolloutStuck", "no progress for 10 minutes: desk-1-amos, desk-1-redis"),
    ),
    "first": ({"amos": DOWN}, ("True", "Creating", "objects are being created")),
    "missing": (
        {"gone": ["amos"], "status": OBSERVED},
        ("True", "Creating", "objects are being created"),
    ),
    "Redis missing": (
        {"gone": ["redis"], "status": OBSERVED},
        ("True", "Creating", "objects are being created"),
    ),
    "Redis outside": ({"spec": OUTSIDE, "status": OBSERVED}, ("False", "Complete", "")),
    "rolling": ({"amos": DOWN, "status": OBSERVED}, ("True", "RollingOut", "roll-out under way")),
    "rolling of Redis": (
        {"redis": {"updated": 0}, "status": OBSERVED},
        ("True", "RollingOut", "roll-out under way"),
    ),
    "not ready any more": (without_redis(up=True) | {"status": REACHED}, ("False", "Complete", "")),
    "an older pod is left": (
        {"amos": {"rolled": True, "current": 2}, "status": OBSERVED},
        ("True", "RollingOut", "roll-out under way"),
    ),
    "a template that is not seen yet": (
        {"amos": {"rolled": True, "observed": 0}, "status": OBSERVED},
        ("True", "RollingOut", "roll-out under way"),
    ),
    "not written": (
        {"state": UNWELL, "status": OBSERVED, "generation": 2},
        ("True", "RollingOut", "the newest spec is not written in full"),
    ),
    "resuming": ({"amos": DOWN, "status": SUSPENDED}, ("True", "Resuming", "roll-out under way")),
    "resumed": ({"amos": DOWN, "status": RESUMED}, ("True", "RollingOut", "roll-out under way")),
    "suspending": (
        {"spec": {"suspend": True}, "amos": {"current": 1}, "status": SUSPENDED},
        ("True", "RollingOut", "roll-out under way"),
    ),
}
WHERE = "kubectl -n trading describe statefulset desk-1-redis"
NEWEST = (
    "kubectl -n trading describe replicasets -l quantumtrading.io/system=desk-1,quantumtrading.io/agent=quasar "
    "has the newest try"
)
SCHEDULED: dict[str, tuple[dict[str, Any], Told]] = {
    "all": ({}, ("True", "Scheduled", "every pod has a node")),
    "Redis outside": (
        {"spec": OUTSIDE, "pods": [p for p in pods() if p.agent != "redis"]},
        ("True", "Scheduled", "every pod has a node"),
    ),
    "Redis without a pod": (
        {"redis": ZERO | {"replicas": 1}, "pods": [p for p in pods() if p.agent != "redis"]},
        (
            "False",
            "Creating",
            f"some pods do not exist yet; Redis has none: {WHERE} says why, if it stays so",
        ),
    ),
    "a pod without a node": ({"pods": pods(node="")}, ("False", "Creating", "some pods do not exist yet")),
    "a pod that goes": ({"pods": pods(deleting=True)}, ("False", "Creating", "some pods do not exist yet")),
    "no node fits": (
        {"pods": pods(node="", unschedulable="0/3 fit. more")},
        ("False", "Unschedulable", "quasar: 0/3 fit"),
    ),
    "a pod that goes had no node": (
        {"pods": [*pods(), *(msgspec.structs.replace(p, deleting=True) for p in pods(unschedulable="0/3"))]},
        ("True", "Scheduled", "every pod has a node"),
    ),
    "quota, told by the server": ({"state": QUOTA}, ("False", "QuotaExceeded", "q")),
    "another refusal": ({"state": FAULT}, ("True", "Scheduled", "every pod has a node")),
    "quota, told by the controller": (
        {"quasar": {"failure": 'pods "p" is forbidden: exceeded quota: q'}, "gone": ["pads"]},
        ("False", "QuotaExceeded", 'quasar: pods "p" is forbidden: exceeded quota: q'),
    ),
    "pods that are refused": (
        {
            "quasar": DOWN | LATELY | {"failure": "no class"},
            "pods": [p for p in pods() if p.agent != "quasar"],
        },
        ("False", "PodsRefused", f"quasar: its pods are refused: no class; {NEWEST}"),
    ),
    "a replacement that is refused while the older pod runs on": (
        {"quasar": BEHIND | {"failure": "no class"}},
        ("False", "PodsRefused", f"quasar: its pods are refused: no class; {NEWEST}"),
    ),
    "pods that are refused, and another's by a quota": (
        {"quasar": LATELY | {"failure": "no class"}, "amos": {"failure": "exceeded quota: q"}},
        ("False", "QuotaExceeded", "amos: exceeded quota: q"),
    ),
    "waits for others": (
        {"spec": {"startup": "AllOrNothing"} | GPU, "nodes": (), "quasar": ZERO},
        ("False", "WaitingForGang", "1 nvidia.com/gpu must be free at once for an all-or-nothing start"),
    ),
}
EVERYBODY_HEARD = "pads, qbmia, quasar, quantum_amos"  # of the feed nothing is known
REDIS: dict[str, tuple[dict[str, Any], Told]] = {
    "ready": ({}, ("True", "Ready", "Redis is ready")),
    "down": ({"redis": DOWN}, ("False", "StartingUp", "Redis is starting up")),
    "down after it was ready": (
        {"redis": DOWN, "status": REACHED},
        ("False", "NotReachable", "Redis is not ready any more"),
    ),
    "still down": ({"redis": DOWN, "status": LOST}, ("False", "NotReachable", "Redis is not ready any more")),
    "no image": (
        {"redis": DOWN, "pods": pods("redis", **NO_IMAGE)},
        ("False", "StartingUp", "Redis is starting up: ImagePullBackOff: Back-off pulling image"),
    ),
    "no image any more": (
        {"redis": DOWN, "pods": pods("redis", **NO_IMAGE), "status": REACHED},
        ("False", "NotReachable", "Redis is not ready any more: ImagePullBackOff: Back-off pulling image"),
    ),
    "no node": (
        {"redis": DOWN, "pods": pods("redis", unschedulable="0/3 fit. more")},
        ("False", "StartingUp", "Redis is starting up: Unschedulable: 0/3 fit"),
    ),
    "no pod is made": (
        {"redis": ZERO | {"replicas": 1}, "pods": ()},
        ("False", "StartingUp", f"Redis is starting up: it has no pod; {WHERE} says why, if it stays so"),
    ),
    "refuses writes": ({"statusz": refusing(memory=FULL)}, ("False", "RedisRefusesWrites", f"PADS: {FULL}")),
    "refuses more than writes": (
        {"statusz": refusing(memory=FULL, rights=RIGHT)},
        ("False", "RedisRefusesCommands", f"PADS: {FULL}; {RIGHT}"),
    ),
    "refuses the login, which is worst": (
        {"statusz": refusing(rights=RIGHT, password=LOGIN)},
        ("False", "RedisRefusesLogin", f"PADS: {LOGIN}; {RIGHT}"),
    ),
    "refuses what a newer agent has a word for": (
        {"statusz": refusing(scripts="no")},
        ("False", "RedisRefusesCommands", "PADS: no"),
    ),
    "no longer refuses": (
        {"status": said("False", "RedisRefusesWrites")},
        ("True", "Ready", "Redis is ready"),
    ),
    "refused, and PADS cannot be asked": (
        {"statusz": None, "status": said("False", "RedisRefusesWrites")},
        ("Unknown", "StatusUnreachable", UNSURE),
    ),
    "refused, and PADS cannot be asked yet": (
        {"statusz": None, "status": said("Unknown", "StatusUnreachable")},
        ("Unknown", "StatusUnreachable", UNSURE),
    ),
    "refused, and no agent runs": (
        {"spec": {"suspend": True}, "statusz": None, "status": said("False", "RedisRefusesWrites")},
        ("True", "Ready", "Redis is ready"),
    ),
    "refused, and is down now": (
        {"redis": DOWN, "statusz": None, "status": said("False", "RedisRefusesLogin")},
        ("False", "NotReachable", "Redis is not ready any more"),
    ),
    "outside, refuses the login": (
        {"spec": OUTSIDE, "statusz": msgspec.structs.replace(refusing(password=LOGIN), redis_reached=False)},
        ("False", "RedisRefusesLogin", f"PADS: {LOGIN}"),
    ),
    "old": ({"redis": {"observed": 0}}, ("False", "StartingUp", "Redis is starting up")),
    "missing": ({"gone": ["redis"]}, ("False", "StartingUp", "Redis is starting up")),
    "outside, one login for all": (
        {"spec": OUTSIDE},
        (
            "True",
            "Reached",
            f"PADS reaches Redis; it does not prove who speaks where one login is shared: {EVERYBODY_HEARD}",
        ),
    ),
    "outside, not asked": (
        {"spec": OUTSIDE, "statusz": None},
        ("Unknown", "StatusUnreachable", "PADS cannot be asked whether it reaches Redis"),
    ),
    "outside, and no agent runs": (
        {"spec": OUTSIDE | {"suspend": True}, "statusz": None},
        ("Unknown", "Suspended", "no agent runs"),
    ),
    "outside, its Secret is missing": (
        {"spec": OUTSIDE, "statusz": None, "login": Finding(reason="CredentialsMissing", message="make it")},
        ("False", "CredentialsMissing", "make it"),
    ),
    "outside, its Secret may not be seen": (
        {"spec": OUTSIDE, "statusz": None, "login": Finding(reason="AccessDenied", message="grant it")},
        ("Unknown", "StatusUnreachable", "PADS cannot be asked whether it reaches Redis"),
    ),
    "outside, not reached": (
        {"spec": OUTSIDE, "statusz": msgspec.structs.replace(HEARD, redis_reached=False)},
        ("False", "NotReachable", "PADS does not reach Redis"),
    ),
}


def hears(**peers: Any) -> dict[str, Any]:
    """Return what PADS says when it hears these agents otherwise; None: it knows no such peer."""
    known = {k: v for k, v in (HEARD.peers | peers).items() if v is not None}
    return {"statusz": msgspec.structs.replace(HEARD, peers=known)}


SIMULATED = msgspec.structs.replace(HEARD, bus_mode="simulated", peers={})
MESSAGING: dict[str, tuple[dict[str, Any], Told]] = {
    "all": ({}, ("True", "AllHeard", "PADS hears every enabled agent")),
    "just heard": (
        hears(quasar={"state": "alive", "age_s": 14.9}),
        ("True", "AllHeard", "PADS hears every enabled agent"),
    ),
    "silent too long": (
        hears(quasar={"state": "alive", "age_s": 15.0}),
        ("False", "PeersSilent", "PADS does not hear quasar"),
    ),
    "never met": (hears(quantum_amos=None), ("False", "PeersSilent", "PADS does not hear amos")),
    "no word of a peer": (hears(quasar="alive"), ("False", "PeersSilent", "PADS does not hear quasar")),
    "one that is off": (
        {"spec": {"agents": {"amos": {"enabled": False}}}} | hears(quantum_amos=None),
        ("True", "AllHeard", "PADS hears every enabled agent"),
    ),
    "suspended": ({"spec": {"suspend": True}}, ("Unknown", "Suspended", "no agent runs")),
    "simulated": (
        {"statusz": SIMULATED},
        ("False", "Simulated", "config.useRealMessaging is false: the pods do not hear each other"),
    ),
    "PADS not asked": ({"statusz": None}, ("Unknown", "StatusUnreachable", "PADS cannot be asked")),
    "PADS not ready": (
        {"statusz": None, "pods": [msgspec.structs.replace(p, ready=p.agent != "pads") for p in pods()]},
        ("Unknown", "StartingUp", "PADS is not ready yet"),
    ),
}
STOPPED = ("False", "Suspending", "agents are being stopped")
SUSPEND: dict[str, tuple[dict[str, Any], Told]] = {
    "not asked for": (dict.fromkeys(("pads", "amos"), ZERO), ("False", "NotSuspended", "")),
    "done": (
        {"spec": {"suspend": True}},
        ("True", "Suspended", "all replicas are 0; Redis and its data stay"),
    ),
    "not written": ({"spec": {"suspend": True}, "amos": {"replicas": 1}}, STOPPED),
    "a pod left": ({"spec": {"suspend": True}, "amos": {"current": 1}}, STOPPED),
    "nothing there": ({"spec": {"suspend": True}, "gone": ["amos"]}, STOPPED),
}
TABLES = {
    "Ready": READY,
    "Progressing": PROGRESSING,
    "Scheduled": SCHEDULED,
    "RedisReady": REDIS,
    "MessagingReady": MESSAGING,
    "Suspended": SUSPEND,
}


@pytest.mark.parametrize(
    ("kind", "case"), [pytest.param(k, c, id=f"{k}: {c}") for k, table in TABLES.items() for c in table]
)
def test_each_case_has_its_reason_and_its_words(kind: str, case: str) -> None:
    """What `kubectl get` and `kubectl describe` show in this case."""
    more, expected = TABLES[kind][case]
    assert told(seen(**more), kind) == expected


@pytest.mark.parametrize("case", WHY)
def test_an_agent_that_is_not_ready_says_its_nearest_cause(case: str) -> None:
    """The message of Ready, which is all that most people look at."""
    more, expected = WHY[case]
    facts = seen(**({"quasar": DOWN} | more))
    reason = "ImageNotPulled" if case == "no image" else "AgentsNotReady"
    assert told(facts, "Ready") == ("False", reason, f"quasar: {expected}")


def test_agents_that_wait_for_each_other_say_so_and_the_others_do_not() -> None:
    """Of an all-or-nothing start only the agents with devices are held."""
    spec = {"startup": "AllOrNothing"} | GPU
    facts = seen(spec, nodes=(), quasar=ZERO, amos=DOWN)
    assert facts.frame.gang.held
    waits = "1 nvidia.com/gpu must be free at once for an all-or-nothing start"
    expected = f"quasar: WaitingForGang: {waits}; amos: starting"
    assert told(facts, "Ready") == ("False", "AgentsNotReady", expected)
    begun = gang.Gang(state="Claiming", at=1e9)
    facts = msgspec.structs.replace(facts, frame=msgspec.structs.replace(facts.frame, gang=begun))
    assert "WaitingForGang" not in told(facts, "Ready")[2]
    assert build(facts)["gang"] == begun.told()


@pytest.mark.parametrize("spare", [1, 0])
def test_of_an_autoscaler_s_agent_one_new_pod_is_enough(spare: int) -> None:
    """The others come and go; without one that is available and new the system is not ready."""
    spec = {"agents": {"quasar": {"replicasManagedBy": "External"}}}
    for field in ("available", "updated"):
        facts = seen(spec, quasar={"replicas": 3, "available": 3, "updated": 3} | {field: spare})
        assert told(facts, "Ready")[0] == ("True" if spare else "False")


def test_a_stopped_agent_is_not_live_though_it_is_as_it_should_be() -> None:
    """At 0 of 0 replicas nobody works."""
    spec = {"config": {"autoRestartFailed": False}}
    ended = [msgspec.structs.replace(p, exited=p.agent == "amos") for p in pods()]
    status = build(seen(spec, pods=ended, amos=ZERO))
    assert status["agents"] == "3/4"
    assert {e["name"]: e.get("stopped") for e in status["agentStatuses"]}["amos"] is True
    assert [e["name"] for e in status["agentStatuses"] if "stopped" in e] == ["amos"]


def turning(**more: Any) -> Facts:
    """Return a system whose keys are being changed."""
    secret = Child(
        **{n: getattr(SECRETS["Secret", "desk-1-curve"], n) for n in Child.__struct_fields__}
        | {"credentials": "2 Accepting"}
    )
    spec = {"messaging": {"credentialsGeneration": 2}}
    return seen(spec, others={("Secret", "desk-1-curve"): secret}, status=OBSERVED, **more)


def test_a_change_of_credentials_is_progress_once_nothing_else_is() -> None:
    """Who is waited for is named; what rolls or is not written comes first."""
    status, reason, message = told(turning(), "Progressing")
    assert (status, reason) == ("True", "Rotating")
    assert message.startswith("desk-1-curve: generation 2: Accepting, waiting for ")
    rolling = ("True", "RollingOut", "roll-out under way")
    assert told(turning(amos=DOWN), "Progressing") == rolling
    unwritten = (*rolling[:2], "the newest spec is not written in full")
    assert told(turning(state=UNWELL, generation=2), "Progressing") == unwritten


def verdict(status: gpu.Answer, reason: str, message: str) -> gpu.Verdict:
    """Return where an agent's device stands."""
    return gpu.Verdict(device="GPU", status=status, reason=reason, message=message)


NOT_ASKED = verdict("True", "NotRequested", "n")
ALLOCATED, OPEN = verdict("True", "Allocated", "a"), verdict("Unknown", "Scheduling", "s")
NONE, FELL = verdict("False", "NoGPUNodes", "g"), verdict("False", "FallbackToCPU", "f")


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([], ("True", "NotRequested", "no agent asks for a GPU")),
        ([NOT_ASKED], ("True", "NotRequested", "no agent asks for a GPU")),
        ([NOT_ASKED, ALLOCATED], ("True", "Allocated", "a")),
        ([ALLOCATED, ALLOCATED], ("True", "Allocated", "a; a")),
        ([ALLOCATED, OPEN], ("Unknown", "Scheduling", "s")),
        ([OPEN, FELL], ("False", "FallbackToCPU", "f")),
        ([FELL, NONE, ALLOCATED], ("False", "NoGPUNodes", "g")),
    ],
)
def test_of_all_devices_the_worst_is_told(verdicts: list[gpu.Verdict], expected: Told) -> None:
    """What cannot start before what fell back, both before what is not known; good news last."""
    for order in (verdicts, verdicts[::-1]):
        facts = msgspec.structs.replace(seen(), verdicts={str(i): v for i, v in enumerate(order)})
        assert told(facts, "GPUAvailable") == expected
