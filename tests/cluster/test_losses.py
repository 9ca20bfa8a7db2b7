"""A Ready system loses a pod of an agent, its Redis, a node: Ready says so, with the reason, and is true again."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.cluster.moments import Moment, first, told, watching
from tests.control_plane_campaign.judge import opened
from tests.control_plane_campaign.workloads import spec
from tests.kwok import PLAYED, every_pod

from qts_operator.cluster import SYSTEMS
from qts_operator.node_loss import LOST_S
from qts_operator.session import from_kubeconfig

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(900),
    pytest.mark.usefixtures("leading", "played_nodes"),
]
Tree = dict[str, Any]
PARTS = ("pads", "qbmia", "quasar", "amos", "market", "redis")
#: why Ready is False, and a word of its message
QUASAR = ({"AgentsNotReady"}, ["quasar"])
REDIS = ({"RedisNotReady"}, ["Redis is not ready any more"])
#: a pod of kwok's nodes starts at once, so the seconds of the design are all there is
MOST = "(goal: at most 10)"


class Losses:
    """One system in a namespace, what a watch shows of it, and what is done to it."""

    def __init__(self, kube: Any, namespace: str, until: Callable[..., Any], seen: list[Moment]) -> None:
        self.kube, self.namespace, self.until, self.seen = kube, namespace, until, seen

    def pods(self, part: str) -> list[Tree]:
        """Return the pods of a part that are not on their way out."""
        labels = f"app.kubernetes.io/component={part}"
        found = self.kube.get("-n", self.namespace, "pods", "-l", labels)["items"]
        return [p for p in found if "deletionTimestamp" not in p["metadata"]]

    def node(self, part: str) -> str:
        """Return where the pod of a part is."""
        (pod,) = self.pods(part)
        return str(pod["spec"]["nodeName"])

    def there(self, node: str) -> list[str]:
        """Return the parts on a node, any of which may be missed first."""
        return [part for part in PARTS if self.node(part) == node]

    def ready(self) -> bool:
        return self.kube.condition(self.namespace, "desk", "Ready")[0] == "True"

    def kill(self, part: str) -> None:
        """Let the pod of a part be gone at once, as with a process that nobody asked to end."""
        (pod,) = self.pods(part)
        self.kube.run(
            "-n", self.namespace, "delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force"
        )

    def drain(self, node: str) -> None:
        """Evict what runs on a node, as for its maintenance."""
        self.kube.run("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=60s")

    def die(self, node: str) -> None:
        """Let nobody play a node any more, as with a machine that lost its power."""
        self.kube.run("label", "node", node, "type-")

    def replaced(self, node: str) -> tuple[float, float]:
        """Kill a node; return seconds until Ready says so, and from then on until all runs on other ones."""
        there, since_s = self.there(node), time.monotonic()
        self.die(node)
        gone = self._first("False", since_s, "Ready says that a pod is lost")
        _, why, text = told(gone.live, "Ready")
        assert why in reasons(there)
        assert any(part in text for part in there), text
        back = self._first("True", gone.at_s, "Ready again")
        return round(gone.at_s - since_s, 1), round(back.at_s - gone.at_s, 1)

    def seconds(
        self, lose: Callable[[], None], why: set[str], words: list[str], spare: set[str]
    ) -> tuple[float, float]:
        """Lose something; return seconds until Ready says so, and from spare nodes on until it is true again.

        No node takes a pod in between: kwok starts one faster than anybody could see that it was missing.
        """
        self.kube.run("cordon", "-l", PLAYED)
        since_s = time.monotonic()
        lose()
        gone = self._first("False", since_s, f"Ready says {why}")
        _, reason, text = told(gone.live, "Ready")
        assert reason in why
        assert any(each in text for each in words), text
        room_s = time.monotonic()
        self.kube.run("uncordon", *spare)
        back = self._first("True", gone.at_s, "Ready again")
        return round(gone.at_s - since_s, 1), round(back.at_s - room_s, 1)

    def _first(self, status: str, since_s: float, what: str) -> Moment:
        def seen() -> Moment | None:
            return first(self.seen, since_s, lambda live: told(live, "Ready")[0] == status)

        found: Moment = self.until(seen, what)
        return found


async def test_what_is_lost_is_said_and_comes_back(
    kube: Any, namespace: str, until: Callable[..., Any], report: Callable[[str, float], None]
) -> None:
    """An agent, Redis, a node that is drained and one that dies; its pods are on other ones then."""
    async with opened(from_kubeconfig(os.environ["KUBECONFIG"])) as judge, every_pod(judge.api):
        await asyncio.to_thread(_lose, kube, namespace, until, report)


def _lose(kube: Any, namespace: str, until: Callable[..., Any], report: Callable[[str, float], None]) -> None:
    with watching(SYSTEMS, namespace) as seen:
        desk = Losses(kube, namespace, until, seen)
        kube.system(namespace, "desk", spec())
        until(desk.ready, "Ready")
        nodes = {n["metadata"]["name"] for n in kube.get("nodes", "-l", PLAYED)["items"]}
        told_of(report, "a killed agent", desk.seconds(lambda: desk.kill("quasar"), *QUASAR, nodes))
        node = desk.node("quasar")  # where Redis may not stand: it moves from no node that is lost
        told_of(report, "a killed Redis", desk.seconds(lambda: desk.kill("redis"), *REDIS, nodes - {node}))
        rest = nodes - {node, desk.node("redis")}
        told_of(
            report,
            "a drained node",
            desk.seconds(lambda: desk.drain(node), reasons(desk.there(node)), desk.there(node), rest),
        )
        assert node not in {desk.node(part) for part in PARTS}
        kube.run("uncordon", *nodes)
        _lose_node(desk, report)


def _lose_node(desk: Losses, report: Callable[[str, float], None]) -> None:
    """What ran on a node that died is somewhere else once the node counts as lost, and the status says why."""
    node = desk.node("quasar")
    assert desk.node("redis") != node
    said_s, back_s = desk.replaced(node)
    report("seconds from a killed node to Ready False, most of them Kubernetes'", said_s)
    report(
        f"seconds to Ready again, beyond the {LOST_S:g} after which a node is lost {MOST}",
        round(max(0.0, back_s - LOST_S), 1),
    )
    assert node not in {desk.node(part) for part in PARTS}
    status = desk.kube.get("-n", desk.namespace, "qts", "desk")["status"]
    (entry,) = (each for each in status["agentStatuses"] if each["name"] == "quasar")
    assert (entry["restarts"], entry["lastRestart"]["reason"]) == (1, "NodeLost")


def reasons(there: list[str]) -> set[str]:
    """Return what Ready may say of a node with these parts: of the feed, where that is missed first."""
    return {"FeedNotReady" if part == "market" else "AgentsNotReady" for part in there}


def told_of(report: Callable[[str, float], None], what: str, seconds: tuple[float, float]) -> None:
    report(f"seconds from {what} to Ready False {MOST}", seconds[0])
    report(f"seconds from room after {what} to Ready again {MOST}", seconds[1])
