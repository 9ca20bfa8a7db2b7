"""Restricted: a right whose loss hinders no system is told while it is missing, and at no other time."""

from __future__ import annotations

from typing import Any

import pytest
from tests.loops import until
from tests.unit.control_plane.conftest import make_snapshot
from tests.unit.control_plane.engines import running
from tests.unit.control_plane.guarded import Guarded
from tests.unit.control_plane.test_least_privilege import CLUSTER, NAME, NS, granted

from qts_core import names
from qts_core.clock import SystemClock
from qts_operator import definition, events, offers, recorder, rights
from qts_operator.conditions import RESTRICTED
from qts_operator.metrics import Metrics
from qts_operator.middleware import ApiError
from qts_operator.objects.frame import Defaults
from qts_operator.recorder import ASKED, Recorder
from qts_operator.resolve import resolve
from qts_operator.restricted import GRANT, condition

#: of which the first status is news
GPU: dict[str, Any] = {"agents": {"quasar": {"gpu": {"mode": "Required"}}}}
OPTIONAL = ["events", "customresourcedefinitions", "podmonitors"]
SAID = 'events is forbidden: User "operator" cannot create resource "events"'


def rule_of(resource: str) -> rights.Rule:
    every = [*rights.rules(), *rights.cluster_rules()]
    return next(rule for rule in every if resource in rule["resources"])


def says(api: Guarded) -> str:
    return api.condition(NS, NAME, RESTRICTED)[1]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "CHECK_S", 0.05)
    monkeypatch.setattr(offers, "CHECK_S", 0.05)
    monkeypatch.setattr(definition, "CHECK_S", 0.05)


@pytest.mark.parametrize("resource", OPTIONAL)
async def test_it_comes_with_the_loss_and_goes_with_the_return(resource: str) -> None:
    """Object and remedy are named, Degraded says nothing, and what asks for the right leaves nothing behind."""
    api = Guarded(granted(CLUSTER, without=rule_of(resource)))
    api.system(NS, NAME, GPU)
    async with running(api, CLUSTER):
        await until(lambda: f'resource "{resource}"' in says(api))
        assert says(api).endswith(GRANT)
        assert api.degraded(NS, NAME)[0] == "Healthy"
        api.granted = granted(CLUSTER)
        await until(lambda: not says(api))
    assert not any(live["reason"] == "Rehearsal" for key, live in api.objects.items() if key[0] == "Event")


@pytest.mark.parametrize("resource", OPTIONAL)
async def test_a_start_without_the_right_never_takes_it_away(resource: str) -> None:
    """What the operator before has said of it is found to be so before the first pass says anything."""
    api = Guarded(granted(CLUSTER, without=rule_of(resource)))
    api.system(NS, NAME, GPU)
    async with running(api, CLUSTER):
        await until(lambda: says(api))
    told: list[dict[str, Any]] = []
    real = api.put_status

    async def put_status(*given: Any) -> Any:
        told.append(given[-1])
        return await real(*given)

    api.put_status = put_status  # type: ignore[method-assign]
    async with running(api, CLUSTER) as engine:
        api.settle(NS)  # so that there is something to tell
        await until(lambda: told and not engine.queue.waiting())
    assert [s for s in told if not any(c["type"] == RESTRICTED for c in s["conditions"])] == []


async def test_systems_that_may_not_be_listed_say_so_where_they_own_something() -> None:
    """Nothing else is written, one that goes meanwhile is forgotten, and all is told again with the right."""
    api = Guarded(granted(CLUSTER))
    api.system(NS, NAME, {})
    api.system(NS, "gone", {})
    async with running(api, CLUSTER):
        await until(lambda: len(api.names("Deployment", NS)) == 10 and api.degraded(NS, NAME)[0] == "Healthy")
    api.granted = granted(CLUSTER, without=rule_of(names.PLURAL))
    api.calls.clear()
    async with running(api, CLUSTER) as engine:
        for name in (NAME, "gone"):
            await until(lambda name=name: api.degraded(NS, name)[0] == "AccessDenied")
        assert f'cannot list resource "{names.PLURAL}"' in api.degraded(NS, NAME)[1]
        assert {verb for verb, _, _ in api.writes()} == {"status"}
        api.remove(names.KIND, NS, "gone")
        await until(lambda: engine.view.systems.get(NS, "gone") is None)
        assert engine.view.systems.get(NS, NAME) is not None
    api.granted = granted(CLUSTER)
    async with running(api, CLUSTER):
        await until(lambda: api.degraded(NS, NAME)[0] == "Healthy")


async def test_a_kind_that_the_cluster_does_not_have_is_no_missing_right() -> None:
    """A server asks for the right first, and refuses who has none, also where there is nothing to see."""
    api = Guarded(granted(CLUSTER, without=rule_of("podmonitors")))
    api.unserved = {"PodMonitor"}
    api.system(NS, NAME, {})
    async with running(api, CLUSTER):
        await until(lambda: api.degraded(NS, NAME)[0] == "Healthy")
        assert says(api) == ""


@pytest.mark.parametrize(("wish", "told"), [("Auto", True), ("Never", False)])
def test_who_wants_no_monitor_misses_none(wish: str, told: bool) -> None:
    snapshot = make_snapshot({"observability": {"podMonitor": wish}}, barred={"PodMonitor": "no"})
    assert bool(condition(snapshot, resolve(snapshot, Defaults())[0])) is told


def test_a_long_answer_leaves_room_for_the_remedy() -> None:
    (told,) = condition(make_snapshot({}, restricted=("x" * 2000,)), None)
    assert len(told.message) == 1000
    assert told.message.endswith(f"x; {GRANT}")


class Refusing:
    """An API that answers each rehearsal by `says`, and knows no Event."""

    def __init__(self) -> None:
        self.says: ApiError | None = ApiError(403, "Forbidden", SAID)
        self.asked: list[str] = []

    async def create(self, *_: Any) -> Any:
        raise ApiError(403, "Forbidden", SAID)

    async def rehearse(self, _: Any, manifest: Any) -> None:
        self.asked.append(manifest["metadata"]["namespace"])
        if self.says is not None:
            raise self.says

    async def amend(self, *_: Any) -> Any:
        raise ApiError(404, "NotFound", "")


class Ended(Exception):  # noqa: N818 - no error
    """No turn is left."""


class Turns(SystemClock):
    """A clock that ends after so many sleeps."""

    def __init__(self, left: int) -> None:
        self.left = left

    async def sleep(self, seconds: float) -> None:
        """Count."""
        if not self.left:
            raise Ended
        self.left -= 1


def event_in(namespace: str) -> dict[str, Any]:
    told = events.rehearsal(namespace, 1.0)
    return told | {"regarding": told["regarding"] | {"uid": "u"}}


async def denied_in(count: int, clock: Turns, changed: list[str]) -> tuple[Refusing, Recorder]:
    api = Refusing()
    it = Recorder(api, clock, Metrics(), changed.append)  # type: ignore[arg-type]
    for number in range(count):
        with pytest.raises(ApiError):
            await it.tell(event_in(f"n-{number}"))
    return api, it


async def ended(it: Recorder) -> None:
    with pytest.raises(Ended):
        await it.run()


async def test_a_round_is_bounded_and_the_next_goes_on() -> None:
    """A thousand namespaces are not a thousand questions a minute."""
    changed: list[str] = []
    api, it = await denied_in(ASKED + 5, Turns(2), changed)
    assert len(changed) == ASKED + 5
    await ended(it)
    assert api.asked[: ASKED + 5] == [f"n-{number}" for number in range(ASKED + 5)]
    assert len(api.asked) == 2 * ASKED
    assert len(changed) == ASKED + 5


async def test_a_right_that_stays_away_is_counted_at_each_question() -> None:
    """The alert goes on as long as the right is missing, though nobody tells anything meanwhile."""
    _, it = await denied_in(1, Turns(3), [])
    await ended(it)
    counted = it._metrics.registry.get_sample_value("qts_reflector_denied_total", {"kind": "Event"})
    assert counted == 4.0


async def test_a_right_that_is_back_is_asked_for_no_more() -> None:
    """Of all namespaces at once: the right has most likely come back for all."""
    changed: list[str] = []
    api, it = await denied_in(ASKED + 5, Turns(2), changed)
    api.says = None
    await ended(it)
    assert len(api.asked) == ASKED + 5
    assert changed[ASKED + 5 :] == [f"n-{number}" for number in range(ASKED + 5)]
    assert await it.denied("n-0", {}) == ""


async def test_no_answer_changes_nothing() -> None:
    changed: list[str] = []
    api, it = await denied_in(1, Turns(1), changed)
    api.says = ApiError(0, "NoAnswer", "")
    await ended(it)
    assert changed == ["n-0"]
    assert await it.denied("n-0", {}) == SAID
