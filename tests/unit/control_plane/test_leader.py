"""The Lease over a model API server that answers when it is told to: what a shutdown leaves behind."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from qts_core.clock import SystemClock
from qts_operator.cluster import LEASES
from qts_operator.leader import NAME, Leader, boot_s
from qts_operator.lease import Election, Terms
from qts_operator.metrics import Metrics
from qts_operator.middleware import ApiError
from qts_operator.testing import FakeCluster
from qts_operator.watch import DOUBT_S


class Slow(FakeCluster):
    """Holds back the answer to each read of the Lease while `open` is not set."""

    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()
        self.reading = asyncio.Event()

    async def get(self, kind, namespace, name, *, metadata=False):
        found = await super().get(kind, namespace, name, metadata=metadata)
        self.reading.set()
        await self.open.wait()
        return found


def leader(api: FakeCluster, identity: str) -> Leader:
    return Leader(api, Election(identity), "qts", (SystemClock(), Random(0), Metrics()))


async def holder(api: FakeCluster) -> str:
    lease = await FakeCluster.get(api, LEASES, "qts", NAME)
    assert lease is not None
    return lease["spec"]["holderIdentity"]


@pytest.fixture
def api() -> Slow:
    made = Slow()
    made.open.set()
    return made


async def test_a_lease_is_handed_back_though_a_renewal_is_on_its_way(api) -> None:
    """The renewal ends first, so the hand-over meets no conflict; nobody takes the Lease back afterwards."""
    one = leader(api, "one")
    await one.once()
    api.open.clear()
    api.reading.clear()
    renewing = asyncio.create_task(one.run(lambda: None))
    await api.reading.wait()
    releasing = asyncio.create_task(one.release())
    await asyncio.sleep(0)
    api.open.set()
    await asyncio.gather(releasing, renewing)
    assert await holder(api) == ""
    await one.once()
    assert await holder(api) == ""
    two = leader(api, "two")
    await two.once()
    assert two.leads()


async def test_a_lease_that_is_ours_by_name_is_handed_back_after_its_deadline(api) -> None:
    """A holder that may write no more, since its renewals are late, still holds the others up."""
    one = leader(api, "one")
    await one.once()
    one._election.lost()
    await one.release()
    assert await holder(api) == ""


async def test_the_lease_of_another_is_left_alone(api) -> None:
    await leader(api, "two").once()
    await leader(api, "one").release()
    assert await holder(api) == "two"


async def test_a_lapse_between_two_renewals_asks_for_every_pass_again(api) -> None:
    """A renewal that comes late: passes of the moment before it wrote nothing, and nobody else asks for them."""
    won: list[str] = []
    clock, election = _Turns(), Election("one")
    one = Leader(api, election, "qts", (clock, Random(0), Metrics()))
    task = asyncio.create_task(one.run(lambda: won.append("won")))
    await clock.asleep()
    assert won == ["won"]
    await clock.turn()
    assert won == ["won"], "a renewal in time is no reason for passes"
    election._renewed -= election.terms.renew_deadline_s  # the last renewal is as old as it may be
    assert not one.leads()
    await clock.turn()
    assert one.leads()
    assert won == ["won", "won"]
    task.cancel()


class Hanging(FakeCluster):
    """Never answers the requests that `hung` names."""

    def __init__(self) -> None:
        super().__init__()
        self.hung = ""

    async def _hang(self, verb: str) -> None:
        if verb == self.hung:
            await asyncio.Event().wait()

    async def get(self, kind, namespace, name, *, metadata=False):
        await self._hang("get")
        return await super().get(kind, namespace, name, metadata=metadata)

    async def create(self, kind, manifest):
        await self._hang("create")
        return await super().create(kind, manifest)

    async def update(self, kind, manifest):
        await self._hang("update")
        return await super().update(kind, manifest)


@pytest.mark.parametrize("verb", ["get", "create", "update"])
async def test_a_request_that_hangs_ends_with_its_try(verb: str) -> None:
    """By the time of a try, not by that of any request: the next one holds or takes the Lease."""
    api = Hanging()
    one = Leader(api, Election("one", Terms(try_s=0.05)), "qts", (SystemClock(), Random(0), Metrics()))
    if verb == "update":
        await one.once()
    api.hung = verb
    with pytest.raises(ApiError, match=r"no answer within 0\.05 s"):
        await asyncio.wait_for(one.once(), 20)
    api.hung = ""
    await one.once()
    assert one.leads()
    api.hung = "get"
    await asyncio.wait_for(one.release(), 20)
    assert not one.leads()


async def test_who_leads_and_got_no_answer_tries_again_soon() -> None:
    """One request that hangs must leave time for a renewal before the deadline."""
    api, clock = Hanging(), _Turns()
    one = Leader(api, Election("one", Terms(try_s=0.05)), "qts", (clock, Random(0), Metrics()))
    task = asyncio.create_task(one.run(lambda: None))
    await clock.asleep()
    api.hung = "get"
    await clock.turn()
    api.hung = ""
    await clock.turn()
    task.cancel()
    terms = Terms()
    calm, hurried, then = clock.slept
    assert min(calm, then) >= 0.8 * terms.retry_s
    assert hurried <= 1.2 * terms.standby_s
    assert 1.2 * terms.retry_s + terms.try_s + 1.2 * terms.standby_s < terms.renew_deadline_s


class Barred(FakeCluster):
    """Lets nobody see the Lease while `said` is something."""

    said = ""

    async def get(self, kind, namespace, name, *, metadata=False):
        if self.said:
            raise ApiError(403, "Forbidden", self.said)
        return await super().get(kind, namespace, name, metadata=metadata)


async def test_a_right_that_is_missing_is_told_until_it_is_there() -> None:
    """At once where it never was; later only after ten seconds, since a server that starts refuses everybody."""
    api, clock, metrics = Barred(), _Turns(), Metrics()
    one = Leader(api, Election("one"), "qts", (clock, Random(0), metrics))
    api.said = 'User "operator" cannot get resource "leases"'
    task = asyncio.create_task(one.run(lambda: None))
    await clock.asleep()
    assert one.denied == f"Lease: {api.said}"
    assert b'qts_reflector_denied_total{kind="Lease"} 1.0' in metrics.text()
    said, api.said = api.said, ""
    await clock.turn()
    assert one.denied == ""
    api.said = said
    await clock.turn()
    assert one.denied == ""
    one._answered_s = boot_s() - DOUBT_S
    await clock.turn()
    assert one.denied == f"Lease: {said}"
    one.denied, api.said = "", "unable to write: the namespace is being terminated"
    await clock.turn()
    assert one.denied == ""
    assert b'qts_reflector_denied_total{kind="Lease"} 2.0' in metrics.text()
    task.cancel()


class _Turns(SystemClock):
    """A clock whose sleeps end when the test says so."""

    def __init__(self) -> None:
        self._sleeps, self._go = asyncio.Event(), asyncio.Event()
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self._sleeps.set()
        await self._go.wait()
        self._go.clear()

    async def turn(self) -> None:
        """Let the sleeper go, and wait until it sleeps again."""
        self._sleeps.clear()
        self._go.set()
        await self.asleep()

    async def asleep(self) -> None:
        """Wait until somebody sleeps."""
        await asyncio.wait_for(self._sleeps.wait(), 30)
