"""When PADS is asked, and that an answer which does not come holds nobody up."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import aiohttp
import msgspec
import pytest
from structlog.testing import capture_logs
from tests.unit.control_plane.weather import Jumping

from qts_core.probes import Status
from qts_operator.snapshot import Pod
from qts_operator.statusz import FIRST_S, PERIOD_S, SOON_S, Answers

HEARD = {"amos": {"state": "alive", "age_s": 1.0}}


def _pod(uid: str = "u-1") -> tuple[Pod, ...]:
    given: dict[str, Any] = {"namespace": "n", "name": f"desk-pads-{uid}", "uid": uid, "version": "1"}
    return (Pod(**given, system="desk", agent="pads", phase="Running", ready=True, ip="10.0.0.1"),)


def _told(**more: Any) -> Status:
    return Status(**({"agent": "pads", "state": "ready", "peers": HEARD} | more))


class Even:
    """Dice that show the middle."""

    def uniform(self, low: float, high: float) -> float:
        return (low + high) / 2


class Pads(Answers):
    """Answers what `told` says once `open` is set; notes when it was asked, in seconds since the first time."""

    def __init__(self, told: Status | None) -> None:
        self.moved: list[str] = []
        self.wanted = True
        super().__init__(None, self.moved.append, Even(), lambda: self.wanted)
        self.told, self.open = told, asyncio.Event()
        self.times: list[float] = []
        self.open.set()

    async def _get(self, address: str) -> Status | None:
        self.times.append(asyncio.get_running_loop().time())
        await self.open.wait()
        return self.told

    def waits(self) -> list[float]:
        """Return the seconds between the questions."""
        return [after - before for before, after in zip(self.times, self.times[1:], strict=False)]


@pytest.fixture
def pads() -> Pads:
    return Pads(_told())


def play(story: Coroutine[Any, Any, None]) -> None:
    """Run a story on a loop in which minutes take no time."""
    with asyncio.Runner(loop_factory=Jumping) as runner:
        runner.run(story)


def test_the_first_answer_is_waited_for_and_kept_for_its_period(pads) -> None:
    async def story() -> None:
        assert await pads.ask("n/desk", _pod()) == pads.told
        await asyncio.sleep(PERIOD_S - 1.0)
        assert await pads.ask("n/desk", _pod()) == pads.told

    play(story())
    assert len(pads.times) == 1
    assert pads.moved == []


def test_later_questions_need_no_pass_and_another_answer_asks_for_one(pads) -> None:
    async def story() -> None:
        first = await pads.ask("n/desk", _pod())
        pads.open.clear()
        pads.told = None
        await asyncio.sleep(PERIOD_S + 1.0)
        assert len(pads.times) == 2
        assert await pads.ask("n/desk", _pod()) == first
        assert pads.moved == []
        pads.open.set()
        await asyncio.sleep(0.1)
        assert pads.moved == ["n/desk"]
        assert await pads.ask("n/desk", _pod()) is None

    play(story())


def test_a_pod_that_does_not_answer_holds_the_pass_for_a_moment_only(pads) -> None:
    async def story() -> None:
        pads.open.clear()
        began = asyncio.get_running_loop().time()
        assert await pads.ask("n/desk", _pod()) is None
        assert asyncio.get_running_loop().time() - began == pytest.approx(FIRST_S)
        pads.open.set()
        await asyncio.sleep(0.1)
        assert pads.moved == ["n/desk"]

    play(story())


def test_the_same_answer_asks_for_no_pass(pads) -> None:
    async def story() -> None:
        await pads.ask("n/desk", _pod())
        await asyncio.sleep(3.5 * PERIOD_S)

    play(story())
    assert pads.waits() == pytest.approx([PERIOD_S] * 3)
    assert pads.moved == []


def test_a_pod_with_another_address_is_asked_there_at_once(pads, monkeypatch) -> None:
    """The former address answers nobody; asking it went on until the pod's readiness changed."""
    asked: list[str] = []

    async def get(address: str) -> Status | None:
        asked.append(address)
        return pads.told if address == "10.0.0.2" else None

    monkeypatch.setattr(pads, "_get", get)

    async def story() -> None:
        assert await pads.ask("n/desk", _pod()) is None
        (pod,) = _pod()
        moved = (msgspec.structs.replace(pod, ip="10.0.0.2"),)
        assert await pads.ask("n/desk", moved) == pads.told
        await asyncio.sleep(2 * SOON_S)

    play(story())
    assert asked == ["10.0.0.1", "10.0.0.2"]


def test_another_pod_is_asked_at_once_and_the_former_one_no_more(pads) -> None:
    async def story() -> None:
        await pads.ask("n/desk", _pod())
        await asyncio.sleep(1.0)
        await pads.ask("n/desk", _pod("u-2"))
        await asyncio.sleep(PERIOD_S + 0.5)

    play(story())
    assert pads.waits() == pytest.approx([1.0, PERIOD_S])


def test_an_answer_of_the_former_pod_is_dropped(pads) -> None:
    async def story() -> None:
        await pads.ask("n/desk", _pod())
        pads.open.clear()
        await asyncio.sleep(PERIOD_S + 1.0)
        assert await pads.ask("n/desk", ()) is None
        pads.told = None
        pads.open.set()
        await asyncio.sleep(10 * PERIOD_S)

    play(story())
    assert pads.moved == []
    assert len(pads.times) == 2


def test_silence_is_logged_once_and_once_more_after_an_answer(pads) -> None:
    async def story() -> None:
        for told in (None, _told(), None):
            pads.told = told
            await pads.ask("n/desk", _pod())
            await asyncio.sleep(3.5 * PERIOD_S)

    with capture_logs() as lines:
        play(story())
    assert len(pads.times) > 8
    assert [line["key"] for line in lines] == ["n/desk"] * 2


def test_who_hears_not_all_is_asked_soon_and_who_is_silent_ever_rarer(pads) -> None:
    async def story() -> None:
        pads.told = _told(peers={"amos": {"state": "dead", "age_s": 40.0}})
        await pads.ask("n/desk", _pod())
        await asyncio.sleep(SOON_S - 1.0)
        pads.told = None
        await asyncio.sleep(140.0)

    play(story())
    assert pads.waits() == pytest.approx([SOON_S, 6.0, 12.0, 24.0, 30.0, 30.0, 30.0])


def test_who_is_refused_by_redis_is_asked_soon_until_that_is_over(pads) -> None:
    """Ready waits for it, and nothing else tells that it ended."""

    async def story() -> None:
        pads.told = _told(redis_refuses={"memory": "OOM"})
        await pads.ask("n/desk", _pod())
        await asyncio.sleep(2 * SOON_S + 1.0)
        pads.told = _told()
        await asyncio.sleep(SOON_S + PERIOD_S)

    play(story())
    assert pads.waits() == pytest.approx([SOON_S, SOON_S, SOON_S, PERIOD_S])
    assert pads.moved == ["n/desk"]


def test_nobody_is_asked_while_nobody_wants_to_know(pads) -> None:
    """A standby that once led leaves the pods alone; when it leads again the questions go on."""

    async def story() -> None:
        await pads.ask("n/desk", _pod())
        pads.wanted = False
        await asyncio.sleep(3.5 * PERIOD_S)
        assert len(pads.times) == 1
        pads.wanted = True
        await asyncio.sleep(PERIOD_S)

    play(story())
    assert len(pads.times) == 2


async def test_a_question_after_the_end_is_no_error_that_nobody_looks_at() -> None:
    """The operator ends while a timer of a question runs; aiohttp would raise in a task of its own."""
    http = aiohttp.ClientSession()
    await http.close()
    assert await Answers(http)._get("10.0.0.1") is None
