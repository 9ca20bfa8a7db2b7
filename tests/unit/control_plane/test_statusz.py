"""When PADS is asked, and that an answer which does not come holds nobody up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from qts_core.probes import Status
from qts_operator.snapshot import Pod
from qts_operator.statusz import PERIOD_S, SOON_S, Answers

HEARD = {"amos": {"state": "alive", "age_s": 1.0}}


def _pod(uid: str = "u-1") -> tuple[Pod, ...]:
    given: dict[str, Any] = {"namespace": "n", "name": f"desk-pads-{uid}", "uid": uid, "version": "1"}
    return (Pod(**given, system="desk", agent="pads", phase="Running", ready=True, ip="10.0.0.1"),)


def _told(**more: Any) -> Status:
    return Status(**({"agent": "pads", "state": "ready", "peers": HEARD} | more))


class Pads(Answers):
    """Answers what `told` says once `open` is set; counts the questions."""

    def __init__(self, told: Status | None) -> None:
        self.moved: list[str] = []
        super().__init__(None, self.moved.append)
        self.told, self.asked, self.open = told, 0, asyncio.Event()
        self.open.set()

    async def _get(self, address: str) -> Status | None:
        self.asked += 1
        await self.open.wait()
        return self.told

    async def rest(self) -> None:
        """Wait until no question is open."""
        await asyncio.gather(*self._asking.values())


@pytest.fixture
def pads() -> Pads:
    return Pads(_told())


async def test_the_first_answer_is_waited_for_and_kept_for_its_period(pads) -> None:
    assert await pads.ask("n/desk", _pod(), 0.0) == pads.told
    assert await pads.ask("n/desk", _pod(), PERIOD_S - 1.0) == pads.told
    assert pads.asked == 1
    assert pads.moved == []


async def test_a_later_question_does_not_hold_up_the_pass(pads) -> None:
    """The pass goes on with what is known; whose answer is another is looked at again."""
    first = await pads.ask("n/desk", _pod(), 0.0)
    pads.open.clear()
    pads.told = None
    for now_s in (PERIOD_S, PERIOD_S + 1.0):
        assert await asyncio.wait_for(pads.ask("n/desk", _pod(), now_s), 60) == first
    await asyncio.sleep(0)
    assert pads.asked == 2
    pads.open.set()
    await pads.rest()
    assert pads.moved == ["n/desk"]
    assert await pads.ask("n/desk", _pod(), PERIOD_S + 1.0) is None


async def test_the_same_answer_asks_for_no_pass(pads) -> None:
    await pads.ask("n/desk", _pod(), 0.0)
    await pads.ask("n/desk", _pod(), PERIOD_S)
    await pads.rest()
    assert pads.asked == 2
    assert pads.moved == []


async def test_another_pod_is_asked_at_once(pads) -> None:
    await pads.ask("n/desk", _pod(), 0.0)
    await pads.ask("n/desk", _pod("u-2"), 1.0)
    assert pads.asked == 2


async def test_an_answer_of_the_former_pod_is_dropped(pads) -> None:
    await pads.ask("n/desk", _pod(), 0.0)
    pads.open.clear()
    await pads.ask("n/desk", _pod(), PERIOD_S)
    await asyncio.sleep(0)
    assert await pads.ask("n/desk", (), PERIOD_S + 1.0) is None
    pads.told = None
    pads.open.set()
    await pads.rest()
    assert pads.moved == []
    assert pads.recheck_s("n/desk", 0.5) is None


async def test_who_hears_not_all_is_asked_soon_and_who_is_silent_ever_rarer(pads) -> None:
    pads.told = _told(peers={"amos": {"state": "dead", "age_s": 40.0}})
    await pads.ask("n/desk", _pod(), 0.0)
    assert pads.recheck_s("n/desk", 0.5) == pytest.approx(SOON_S)
    pads.told, now_s, waits = None, 0.0, []
    for _ in range(6):
        now_s += PERIOD_S
        await pads.ask("n/desk", _pod(), now_s)
        await pads.rest()
        waits.append(pads.recheck_s("n/desk", 0.5))
    assert waits == pytest.approx([6.0, 12.0, 24.0, 30.0, 30.0, 30.0])
