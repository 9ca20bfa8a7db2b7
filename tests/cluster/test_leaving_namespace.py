"""A namespace on its way out that a pod holds up: what is missing there cannot be made, and one try a pass says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.cluster.conftest import counted

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
HELD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "held", "finalizers": ["example.com/held"]},
    "spec": {"containers": [{"name": "held", "image": "localhost/absent:0", "imagePullPolicy": "Never"}]},
}
#: what the server refused, Events among it, of which each pass tries a few; and a pass that ended with a refusal
REFUSED = 'qts_api_requests_total{code="403"'
EVENTS = f'{REFUSED},kind="Event"'
PASS = 'qts_reconcile_total{reason="NamespaceTerminating",result="refused"'


def test_one_write_a_pass_is_refused(
    kube: Any, namespace: str, leading: Any, until: Callable[..., Any]
) -> None:
    """Six Services are gone, perhaps more by then, and each pass finds out with the first of them."""
    kube.run("-n", namespace, "create", "-f", "-", given=HELD)
    kube.system(namespace, "desk")
    until(lambda: kube.applied(namespace), "applied")
    kube.run("delete", "namespace", namespace, "--wait=false")
    try:
        until(lambda: kube.get("namespace", namespace)["status"]["phase"] == "Terminating", "terminating")
        kube.run("-n", namespace, "delete", "service", "--all")

        def reason() -> str:
            told: str = kube.condition(namespace, "desk", "Ready")[1]
            return told

        until(lambda: reason() == "NamespaceTerminating", "said in the status")
        # there may be no second one: the namespace's controller deletes the system itself as well
        until(lambda: leading.counted(PASS) >= 1, "a pass that ended so")
        told = leading.told()  # one answer: between two of them more may be refused
        refused, passes = counted(told, REFUSED) - counted(told, EVENTS), counted(told, PASS)
        # of a pass that is under way the refusal may be counted, and not the pass
        assert 1 <= refused <= passes + 1
    finally:
        freed = json.dumps({"metadata": {"finalizers": None}})
        kube.run("-n", namespace, "patch", "pod", "held", "--type=merge", "-p", freed)
