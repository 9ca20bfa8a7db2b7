"""Every right is needed: without it something is refused, and the operator says which right it was.

The rules are those of the charts; the API server is in memory and refuses by the same rules. That the charts'
rules suffice on a real one is what every test of `tests/cluster` shows: its operator has nothing else.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs
from tests.unit.control_plane.engines import running
from tests.unit.control_plane.guarded import EVERYWHERE, Guarded

from qts_core import names
from qts_operator import rights, rotation
from qts_operator.conditions import RESTRICTED
from qts_operator.main import Engine, Options
from qts_operator.session import Access

NS, NAME, HOME = "trading", "desk-1", "qts-system"
Rule = dict[str, Any]
#: asks for everything that the operator can make: a claim, a second replica, its own Redis, keys
SPEC: dict[str, Any] = {
    "agents": {
        "quasar": {"gpu": {"mode": "Required", "deviceClassName": "gpu.example.com"}},
        "amos": {"replicas": 2},
    },
}
CLUSTER = Options(
    access=Access(server="http://nowhere"), identity="one", http_port=0, metrics_port=0, workers=2
)
NAMESPACED = msgspec.structs.replace(CLUSTER, watched=(NS,), nodes=False)


def granted(mode: Options, *, without: Rule | None = None) -> dict[str, list[Rule]]:
    """Return the rules of the charts, by namespace, less one."""

    def less(rules: Sequence[Rule]) -> list[Rule]:
        return [rule for rule in rules if rule != without]

    lease = {HOME: less(rights.lease_rules())}
    if mode.watched:
        return {NS: less(rights.rules())} | lease
    return {EVERYWHERE: less([*rights.rules(), *rights.cluster_rules()])} | lease


async def until(check: Any, seconds: float = 20.0) -> bool:
    """Wait for a fact; tell whether it came."""
    for _ in range(int(seconds / 0.02)):
        if check():
            return True
        await asyncio.sleep(0.02)
    return False


def _fail_a_pod(api: Guarded) -> None:
    """Let a pod of pads be one that the operator must replace."""
    labels = {
        names.LABEL_MANAGED_BY: names.MANAGED_BY,
        names.LABEL_SYSTEM: NAME,
        names.LABEL_COMPONENT: "pads",
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "pads-1", "namespace": NS, "labels": labels},
    }
    key = ("Pod", NS, "pads-1")
    fresh = api._stamped(pod | {"spec": {"nodeName": "n"}, "status": {"phase": "Failed"}}, None)
    api._store(key, fresh, None)


def _names(rule: Rule, text: str) -> bool:
    """Tell whether a sentence of the server speaks of this rule."""
    return any(
        f'resource "{r}"' in text and f" cannot {v} " in text
        for r in rule["resources"]
        for v in rule["verbs"]
    )


def signs(api: Guarded, engine: Engine, rule: Rule) -> list[str]:
    """Return how the operator tells that a right of `rule` is missing."""
    found = []
    reason, message = api.degraded(NS, NAME)
    if reason == "AccessDenied" and _names(rule, message):
        found.append("condition")
    if _names(rule, api.condition(NS, NAME, RESTRICTED)[1]):
        found.append("restricted")
    if any(
        _names(rule, live.get("note", "")) for (kind, _, _), live in api.objects.items() if kind == "Event"
    ):
        found.append("event")
    if _names(rule, engine.ready()):
        found.append("readyz")
    text = engine.metrics.text().decode()
    counted = {
        line.split('"')[1] for line in text.splitlines() if line.startswith("qts_reflector_denied_total{")
    }
    plurals = {r.partition("/")[0].rstrip("s") for r in rule["resources"]}
    if plurals & {kind.lower() for kind in counted}:
        found.append("metric")
    return found


async def play(api: Guarded, mode: Options, done: Any) -> bool:
    """Run an operator through a life of a system until `done`."""
    api.system(NS, NAME, SPEC)
    async with running(api, mode) as engine:
        if await until(lambda: len(api.names("Deployment", NS)) == 5 or done(engine), 5.0):
            _fail_a_pod(api)
            api.system(NS, NAME, SPEC | {"messaging": {"credentialsGeneration": 2}, "suspend": True})
            await until(lambda: ("delete", "Pod", "pads-1") in api.calls or done(engine), 5.0)
            api.system(NS, NAME, {"messaging": {"credentialsGeneration": 2}})
        return await until(lambda: done(engine), 10.0)


def _key(rule: Rule) -> str:
    return ",".join(rule["resources"]) + ":" + ",".join(rule["verbs"])


CLUSTER_RULES = [*rights.rules(), *rights.cluster_rules(), *rights.lease_rules()]
NAMESPACED_RULES = [*rights.rules(), *rights.lease_rules()]
#: rights whose loss is not the condition Degraded, and how it is told instead; the log has the server's sentence of each
ELSEWHERE: dict[str, set[str]] = {
    "quantumtradingsystems": {"log", "metric", "readyz"},  # who owns nothing is not known
    "quantumtradingsystems/status": {"log", "metric", "readyz", "event"},  # where a condition would stand
    "leases": {"log", "metric", "readyz"},  # who does not lead writes nothing
    # no system is hindered by these, so none is Degraded
    "events": {"log", "metric", "restricted"},
    "customresourcedefinitions": {"log", "metric", "restricted"},
    "podmonitors": {"log", "metric", "restricted"},
}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "AGAIN_S", 0.05)


@pytest.mark.parametrize(
    ("mode", "rule"),
    [
        *((CLUSTER, rule) for rule in CLUSTER_RULES),
        *((NAMESPACED, rule) for rule in NAMESPACED_RULES),
    ],
    ids=[
        *(f"cluster-{_key(r)}" for r in CLUSTER_RULES),
        *(f"namespaced-{_key(r)}" for r in NAMESPACED_RULES),
    ],
)
async def test_a_right_that_is_missing_is_named(mode: Options, rule: Rule) -> None:
    """One rule less: a condition names resource and verb; where that cannot be, all that ELSEWHERE has does."""
    api = Guarded(granted(mode, without=rule))
    expected = {"condition"}.union(*(ELSEWHERE[r] for r in rule["resources"] if r in ELSEWHERE))
    if expected != {"condition"}:
        expected.remove("condition")
    seen: set[str] = set()

    def told(engine: Engine) -> bool:
        seen.update(signs(api, engine, rule))
        if any(_names(rule, str(line.get("error"))) for line in lines):
            seen.add("log")
        return expected <= seen

    with capture_logs() as lines:
        assert await play(api, mode, told), f"{_key(rule)} is told by {seen or 'nobody'}, not by {expected}"


@pytest.mark.parametrize("again", ["granted", "deleted"])
async def test_a_status_that_may_be_written_again_is_no_want_of_readiness(again: str) -> None:
    """The right comes back, or the system is gone."""
    rule = next(r for r in CLUSTER_RULES if "quantumtradingsystems/status" in r["resources"])
    api = Guarded(granted(CLUSTER, without=rule))
    api.system(NS, NAME, {})
    async with running(api, CLUSTER) as engine:
        assert await until(lambda: _names(rule, engine.ready()))
        if again == "granted":
            api.granted = granted(CLUSTER)
        else:
            api.remove(names.KIND, NS, NAME)
        assert await until(lambda: engine.ready() == ""), engine.ready()


async def test_a_rule_that_nothing_needs_is_found() -> None:
    """The check above can fail: a right of no use is missed by nobody."""
    idle = {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get", "create"]}
    api = Guarded(granted(CLUSTER))
    assert not await play(api, CLUSTER, lambda engine: bool(signs(api, engine, idle)))


VERBS = [
    ({"secrets"}, "get"),
    ({"secrets"}, "create"),
    ({"secrets"}, "patch"),
    ({"pods"}, "delete"),
    ({"deployments"}, "create"),
    ({"deployments"}, "patch"),
    ({"configmaps"}, "patch"),
    ({"services"}, "create"),
    ({"poddisruptionbudgets"}, "delete"),
]


@pytest.mark.parametrize(("resources", "verb"), VERBS, ids=[f"{min(r)}-{v}" for r, v in VERBS])
async def test_a_verb_that_is_missing_is_named(resources: set[str], verb: str) -> None:
    """Reading is allowed, writing is not: the condition names the verb."""
    api = Guarded(granted(CLUSTER))
    rules = copy.deepcopy(api.granted[EVERYWHERE])
    for rule in rules:
        if resources & set(rule["resources"]):
            rule["verbs"].remove(verb)
    api.granted = dict(api.granted) | {EVERYWHERE: rules}

    def told(_: Engine) -> bool:
        reason, message = api.degraded(NS, NAME)
        return reason == "AccessDenied" and f"cannot {verb} resource" in message

    assert await play(api, CLUSTER, told)


@pytest.mark.parametrize("mode", [CLUSTER, NAMESPACED], ids=["cluster", "namespaced"])
async def test_the_rules_suffice(mode: Options) -> None:
    """With all of them nothing is refused; in namespaced mode nothing outside the namespaces is asked for."""
    api = Guarded(granted(mode))
    asked: list[str] = []
    real = api.ask

    def ask(*given: Any) -> None:
        try:
            real(*given)
        except Exception as error:
            asked.append(str(error))
            raise

    api.ask = ask  # type: ignore[method-assign]
    wanted = {("amend", "Secret", f"{NAME}-curve"), ("delete", "Pod", "pads-1")}
    assert await play(api, mode, lambda _: wanted <= set(api.calls))
    optional = [text for text in asked if "customresourcedefinitions" not in text]
    assert optional == [] if mode.watched else asked == []
