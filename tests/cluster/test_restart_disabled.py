"""An agent that ended and is to stay down: what the condition tells a person to type starts it again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


@pytest.mark.parametrize("part", ["amos", "market"])
def test_the_command_of_the_condition_starts_what_ended_and_rolls_nothing(
    kube: Any, namespace: str, leading: Any, until: Callable[..., Any], part: str
) -> None:
    """The test says that a container has ended."""

    def deployments() -> dict[str, Any]:
        found = kube.get("-n", namespace, "deployments")["items"]
        return {each["metadata"]["name"].removeprefix("desk-"): each["spec"] for each in found}

    def pods() -> list[Any]:
        return list(kube.get("-n", namespace, "pods", "-l", f"app.kubernetes.io/component={part}")["items"])

    kube.system(namespace, "desk", {"config": {"autoRestartFailed": False}})
    until(lambda: pods(), "a pod")
    templates = {name: spec["template"] for name, spec in deployments().items()}
    ended = {"name": part, "ready": False, "restartCount": 1, "image": "x", "imageID": "x"}
    status = {"status": {"containerStatuses": [ended]}}

    def stays_down() -> bool:
        """Say it again until it is seen: where a node is, its kubelet says otherwise a moment later."""
        for pod in pods():
            told = ("patch", "pod", pod["metadata"]["name"], "--subresource=status", "--type=merge", "-p")
            kube.run("-n", namespace, *told, json.dumps(status), check=False)
        return bool(kube.condition(namespace, "desk", "Degraded")[1] == "RestartDisabled")

    until(stays_down, "it stays down")
    until(lambda: deployments()[part]["replicas"] == 0 and not pods(), "its pod is gone")
    _, _, message = kube.condition(namespace, "desk", "Degraded")
    command = shlex.split(message.partition("changes nothing else: kubectl ")[2])
    kube.run(*command)
    until(lambda: deployments()[part]["replicas"] == 1 and pods(), "it is started again")
    until(lambda: kube.condition(namespace, "desk", "Degraded")[0] == "False", "nothing needs a person")
    assert {name: spec["template"] for name, spec in deployments().items()} == templates
