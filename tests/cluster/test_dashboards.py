"""Every panel of the operator's dashboard, asked of a real Prometheus over operators on a real API server."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.prometheus_server import broken_rules, filled, firing, needs_prometheus, scraping

from qts_operator.dashboards import GPU, OPERATOR

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900), needs_prometheus]


def test_operators_answer_every_panel(kube, namespace, operator, until, tmp_path: Path) -> None:
    """Leader and standby are scraped while a system is created: no empty panel, no broken rule, no false alarm."""
    pair = [operator(), operator(lead=False)]
    targets = [
        {"targets": [f"127.0.0.1:{o.metrics}"], "labels": {"pod": f"operator-{n}"}}
        for n, o in enumerate(pair)
    ]

    def ours(query: str) -> list[dict]:
        """A system of a test before this one may be on its way out still."""
        return [s for s in server.query(query) if s["metric"]["namespace"] == namespace]

    jobs = [{"job_name": "qts-operator", "honor_labels": True, "static_configs": targets}]
    with scraping(tmp_path, jobs) as server:
        server.until(lambda: len(server.query("qts_leader")) == 2, what="both are scraped")
        kube.system(namespace, "desk", {"agents": {"quasar": {"gpu": {"mode": "Preferred"}}}})
        until(lambda: kube.status(namespace, "desk").get("observedGeneration") == 1, "applied")
        filled(server, OPERATOR)
        ((asked,),) = [p.queries.values() for p in GPU if p.title == "GPUs held"]
        (waits,) = server.until(lambda: ours(asked), what="a rate needs two scrapes")
        assert (waits["metric"]["agent"], waits["value"][1]) == ("quasar", "0")
        assert broken_rules(server) == []
        # a busy machine misses scrapes, and then nothing is there for a second
        (leaders,) = server.until(lambda: server.query("sum(qts_leader)"), what="leaders")
        assert leaders["value"][1] == "1"
        ready = 'qts_system_condition{type="Ready"}'
        # the system's own namespace, not that of the operator's pod
        (system,) = server.until(lambda: ours(ready), what="the system's condition")
        assert system["metric"]["system"] == "desk"
        wrong = {
            "QtsOperatorDown",
            "QtsNoLeader",
            "QtsTwoLeaders",
            "QtsMissedEvents",
            "QtsReconcileErrorsBurn",
        }
        assert firing(server) & wrong == set()
