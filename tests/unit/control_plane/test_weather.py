"""A control plane that is overloaded for minutes and then well: every system follows soon, whatever was lost."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.control_plane.engines import running
from tests.unit.control_plane.weather import Weather, play

from qts_core import names
from qts_operator.look import SECRETS_S
from qts_operator.main import Options
from qts_operator.middleware import ApiError
from qts_operator.session import Access

NS, SYSTEMS = "trading", tuple(f"desk-{n}" for n in range(4))
OPTIONS = Options(access=Access(server="http://nowhere"), identity="one", http_port=0, metrics_port=0)
STORM_S, BACK_S = 150.0, 35.0  # what an outage is given in the design


def waiting(api: Weather) -> list[str]:
    """Return the systems whose status does not say that they are Ready."""
    told = {name: api.objects[(names.KIND, NS, name)].get("status") or {} for name in SYSTEMS}
    up = {("Ready", "True")}
    return [
        n for n, s in told.items() if not up & {(c["type"], c["status"]) for c in s.get("conditions", ())}
    ]


async def followed(api: Weather) -> None:
    """Wait for every system, for as long as they are given."""
    async with asyncio.timeout(BACK_S):
        while waiting(api):
            await asyncio.sleep(0.5)


async def controllers(api: Weather) -> None:
    """Bring up what is asked for, one after the other, and in bad weather lose some of it again."""
    while True:
        await asyncio.sleep(api.dice.uniform(0.05, 0.5))
        for (kind, ns, name), live in list(api.objects.items()):
            if kind in ("Deployment", "StatefulSet") and api.dice.random() < 0.3:
                count = int(live["spec"].get("replicas", 0))
                up = 0 if api.slow_s and api.dice.random() < 0.2 else count
                told = {"observedGeneration": live["metadata"]["generation"]}
                told |= {"replicas": count, "updatedReplicas": count, "readyReplicas": up}
                told |= {"availableReplicas": up}
                api.change(kind, ns, name, lambda o, s=told: o.update(status=s))


def test_a_status_that_could_not_be_written_for_minutes_follows_soon() -> None:
    """Nothing happens to the systems afterwards, so nothing but the next try can tell of them."""

    def silent(verb: str, _kind: str, _name: str) -> None:
        if verb == "status":
            raise ApiError(0, "NoAnswer", "TimeoutError")

    async def story() -> None:
        api = Weather(0)
        for name in SYSTEMS:
            api.system(NS, name, {})
        api.fault = silent
        async with running(api, OPTIONS):
            await asyncio.sleep(10.0)
            api.settle(NS)
            await asyncio.sleep(390.0)
            assert len(waiting(api)) == len(SYSTEMS)
            api.fault = lambda *_: None
            await followed(api)

    play(story())


def test_what_the_server_refuses_is_tried_once_in_five_minutes() -> None:
    """Only another spec helps, and it is taken at once; nobody waits for the poisoned one meanwhile."""
    tries: list[float] = []

    def refused(verb: str, kind: str, name: str) -> None:
        if (verb, kind, name) == ("apply", "Deployment", f"{SYSTEMS[0]}-amos"):
            tries.append(asyncio.get_running_loop().time())
            raise ApiError(422, "Invalid", "it is not", field="spec.template")

    async def story() -> None:
        api = Weather(0)
        api.system(NS, SYSTEMS[0], {"suspend": True})
        api.fault = refused
        async with running(api, OPTIONS):
            await asyncio.sleep(1800.0)
            assert len(tries) > 1
            assert all(
                later - earlier >= 300.0 for earlier, later in zip(tries[-3:], tries[-2:], strict=False)
            )
            api.fault = lambda *_: None
            api.system(NS, SYSTEMS[0], {"suspend": True, "config": {"systemSeed": 7}})
            async with asyncio.timeout(5.0):
                while f"{SYSTEMS[0]}-amos" not in api.names("Deployment", NS):
                    await asyncio.sleep(0.5)

    play(story())


def test_a_secret_that_somebody_deleted_is_missed_within_eleven_minutes() -> None:
    """Nothing tells of Secrets, and nothing else happens to a system at rest."""

    async def story() -> None:
        api, name = Weather(0), f"{SYSTEMS[0]}-curve"
        api.system(NS, SYSTEMS[0], {"suspend": True})
        async with running(api, OPTIONS):
            await asyncio.sleep(30.0)
            api.remove("Secret", NS, name)
            await asyncio.sleep(1.1 * SECRETS_S)
            assert name in api.names("Secret", NS)

    play(story())


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("slow_s", "lost", "cut"), [(0.3, 0.3, 0.02), (2.5, 0.05, 0.1), (1.0, 0.02, 0.3)], ids=str
)
def test_after_a_storm_every_system_is_ready(seed: int, slow_s: float, lost: float, cut: float) -> None:
    """Late answers, lost ones, broken watches, a Lease that runs out, users who change their minds: nothing is forgotten."""

    async def story() -> None:
        api = Weather(seed)
        async with running(api, OPTIONS):
            cluster = asyncio.create_task(controllers(api))
            api.slow_s, api.lost, api.cut = slow_s, lost, cut
            for name in SYSTEMS:
                api.system(NS, name, {})
            for number in range(int(STORM_S / 5)):
                await asyncio.sleep(5.0)
                spec = {"agents": {"amos": {"replicas": 1 + number % 3}}}
                api.system(NS, api.dice.choice(SYSTEMS), spec)
            api.clear()
            await followed(api)
            cluster.cancel()

    play(story())
