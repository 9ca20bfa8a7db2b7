"""Every field that the operator owns, changed and removed by somebody else, comes back; foreign fields stay.

QTS_TEST_DRIFTS is how many of the changes are made, drawn by a seed, "all" of them in the evidence. One change
at a time in a system, or the pass that one asks for would mend the other.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections import Counter, deque
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from tests.control_plane_campaign.journal import Journal
from tests.control_plane_campaign.judge import Judge, opened
from tests.drift import Drift, altered, drifts, entry_of, shown

from qts_core import names
from qts_operator.cluster import path_of
from qts_operator.middleware import ApiError
from qts_operator.objects import BY_KIND
from qts_operator.session import from_kubeconfig

DRIFTS = os.environ.get("QTS_TEST_DRIFTS", "24")
SIDE = 4
PATIENCE_S = 60.0
GOAL_S = 2.0
FOREIGN, MARKS = {"example.com/theirs": "stays"}, ("labels", "annotations")
QUIET_S = 3.0  # without a change it is what it stays
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
#: all that a system may own, but for pods: devices, more than one replica, every kind of place and variable
VOTER: dict[str, Any] = {
    "replicas": 2,
    "env": [{"name": "A", "value": "1"}],
    "podLabels": {"team": "desk"},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "gpu", "operator": "Exists"}],
    "priorityClassName": "high",
    "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "1"}},
}
SPEC: dict[str, Any] = {
    "suspend": True,
    "images": {"pullPolicy": "Never", "pullSecrets": [{"name": "registry"}]},
    "agents": {
        "quasar": VOTER | {"gpu": {"mode": "Required"}},
        "amos": {"affinity": {"podAntiAffinity": {}}},
    },
    "redis": {"storage": {"size": "1Gi"}},
    "observability": {"otlpEndpoint": "http://collector:4318"},
}
#: what is not drift: (text of a change, why); everything else that is not made is what the server refuses
BY_DESIGN = (
    (r"ownerReferences", "whose object it is: without us as its owner it is a stranger's, and left alone"),
    (r"annotations\.quantumtrading\.io/template-revision changed", "a record that is believed"),
)
#: what the server says of a field that nobody can change, or be without
REFUSALS = (
    ("immutable", "field is immutable"),
    ("immutable", "updates to statefulset spec for fields other than"),
    ("immutable", "may not change"),
    ("immutable", "spec.clusterIPs[0]"),
    ("fixed by the selector, which is immutable", "`selector` does not match"),
    ("needed by another field", "Not found:"),
    ("required", "equired"),
    ("required", "must specify one of"),
    ("required", "must be between 1 and 65535"),
    ("of a few values", "Unsupported value"),
)


class Desk:
    """One system, what it looks like at rest, and what became of the changes that were tried on it."""

    def __init__(self, judge: Judge, journal: Journal, namespace: str, name: str) -> None:
        self._judge, self._live, self._namespace, self.name = judge, journal.live[namespace], namespace, name
        self._made, self._sent_s = 0, 0.0  # the version that a change made, and when it was sent
        self._broken: set[str] = set()
        self._rest: dict[str, dict[str, Any]] = {}
        self.taken: dict[str, float] = {}
        self.left_out: Counter[str] = Counter()
        self.wrong: list[str] = []

    def objects(self) -> dict[str, dict[str, Any]]:
        """Return what the operator applied, by kind and name."""
        mine = {k: v for k, v in self._live.items() if f"/{self.name}-" in k and not k.startswith("Pod/")}
        return {k: v for k, v in sorted(mine.items()) if entry_of(v, names.FIELD_MANAGER)}

    async def play(self, drift: Drift) -> None:
        """Make one change as another manager and wait until nothing is left of it."""
        text = drift.text(self.name)
        why = next((reason for pattern, reason in BY_DESIGN if re.search(pattern, text)), "")
        if drift.item in self._broken:
            why = "after one that did not come back"
        before = self._rest[drift.item]
        why = why or await self._change(before, drift)
        if why:
            self.left_out[why] += 1
            if why.startswith("?"):
                self.wrong.append(f"{text}: {why}")
            return
        while not self._back(drift.item, before):
            if time.monotonic() - self._sent_s > PATIENCE_S:
                self.wrong.append(f"{text}: not restored")
                self._broken.add(drift.item)
                return
            await asyncio.sleep(0.01)
        self.taken[text] = time.monotonic() - self._sent_s

    def _back(self, item: str, before: dict[str, Any]) -> bool:
        now = self._live.get(item)
        if now is None or int(now["metadata"]["resourceVersion"]) <= self._made:
            return False
        mine = entry_of(now, names.FIELD_MANAGER) == entry_of(before, names.FIELD_MANAGER)
        return mine and shown(now) == shown(before)

    def rests(self) -> None:
        """Take what is there for what must come back."""
        self._rest = self.objects()

    async def _change(self, before: dict[str, Any], drift: Drift) -> str:
        """Return "" once the server has another object, else why it has not."""
        said = ""
        for number in range(len(altered(before, drift))):
            try:
                answer = await self._put(drift, number)
            except ApiError as error:
                if error.code not in (400, 422):
                    raise
                said = error.message
                continue
            if shown(answer) != shown(before):
                self._made = int(answer["metadata"]["resourceVersion"])
                return ""
        found = [why for why, words in REFUSALS if words in said]
        return found[0] if found else f"? {said}" if said else "the same by default"

    async def _put(self, drift: Drift, number: int) -> dict[str, Any]:
        kind, _, name = drift.item.partition("/")
        path, who = path_of(BY_KIND[kind], self._namespace, name), {"fieldManager": "another"}
        while True:
            new, self._sent_s = altered(self._live[drift.item], drift)[number], time.monotonic()
            try:
                return dict(await self._judge.session.call("PUT", path, kind=kind, params=who, body=new))
            except ApiError as error:
                if error.code != 409:
                    raise
            await asyncio.sleep(0.05)  # a controller was there first


async def _ready(judge: Judge, journal: Journal, namespace: str) -> list[Desk]:
    """Make suspended systems, with a field of somebody else's on each of their objects."""
    desks = [Desk(judge, journal, namespace, f"desk-{n}") for n in range(SIDE)]
    for desk in desks:
        await judge.make(namespace, desk.name, SPEC)

    def settled() -> bool:
        systems = [journal.live[namespace].get(f"{names.KIND}/{desk.name}") for desk in desks]
        return all(
            s is not None and (s.get("status") or {}).get("observedGeneration") == s["metadata"]["generation"]
            for s in systems
        )

    async with asyncio.timeout(120):
        while not settled():
            await asyncio.sleep(0.1)
    for desk in desks:
        for item in desk.objects():
            kind, _, name = item.partition("/")
            body = {"metadata": {"labels": FOREIGN, "annotations": FOREIGN}}
            await judge.patch(path_of(BY_KIND[kind], namespace, name), body)

    def marked() -> bool:
        shown = [live["metadata"] for desk in desks for live in desk.objects().values()]
        seen = all(FOREIGN.items() <= (each.get(what) or {}).items() for each in shown for what in MARKS)
        return seen and time.monotonic() - journal.last_s[namespace] > QUIET_S

    async with asyncio.timeout(120):
        while not marked():
            await asyncio.sleep(0.1)
    for desk in desks:
        desk.rests()
    return desks


def _plans(desks: list[Desk]) -> list[dict[str, Drift]]:
    """Return every change of each system by its text; the systems are alike."""
    plans = []
    for desk in desks:
        every = (d for item, live in desk.objects().items() for d in drifts(item, live, names.FIELD_MANAGER))
        plans.append({drift.text(desk.name): drift for drift in every})
    assert all(plan.keys() == plans[0].keys() for plan in plans)
    return plans


@pytest.mark.usefixtures("leading")
async def test_every_owned_field_comes_back(namespace: str, report: Callable[[str, float], None]) -> None:
    """The whole object is as it was, and ours as it was; who else wrote into it keeps what is theirs."""
    async with opened(from_kubeconfig(os.environ["KUBECONFIG"])) as judge:
        journal = Journal()
        watching = [asyncio.create_task(each.run()) for each in journal.follow(judge.api, namespace)]
        try:
            desks = await _ready(judge, journal, namespace)
            plans = _plans(desks)
            known = sorted(plans[0])
            count = len(known) if DRIFTS == "all" else int(DRIFTS)
            todo = deque(Random(5).sample(known, count))

            async def work(desk: Desk, plan: dict[str, Drift]) -> None:
                while todo:
                    await desk.play(plan[todo.popleft()])

            await asyncio.gather(*map(work, desks, plans))
            theirs = [live["metadata"] for desk in desks for live in desk.objects().values()]
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
    _told(desks, known, count, report)
    assert [line for desk in desks for line in desk.wrong] == []
    assert all(FOREIGN.items() <= each[what].items() for each in theirs for what in MARKS)


def _told(desks: list[Desk], known: list[str], count: int, report: Callable[[str, float], None]) -> None:
    taken = sorted((s, text) for desk in desks for text, s in desk.taken.items())
    left_out: Counter[str] = Counter()
    for desk in desks:
        left_out += desk.left_out
    report("owned fields of a system", len({text.rpartition(" ")[0] for text in known}))
    report("ways to change one of them, or to take it away", len(known))
    report("of these tried", count)
    report("changes that were undone", len(taken))
    for why, times in sorted(left_out.items()):
        report(f"no drift: {why}", times)
    report("s until one was undone, median", round(taken[len(taken) // 2][0], 2))
    report(f"s until one was undone, slowest ({taken[-1][1]})", round(taken[-1][0], 2))
    report(f"undone later than {GOAL_S:g} s (goal: at most 0)", sum(s > GOAL_S for s, _ in taken))
