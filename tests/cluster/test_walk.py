"""The whole system on a real cluster: charts in, decisions out, faults healed, nothing left behind.

The tests of this file are steps of one story on one cluster; they run in the order they stand in.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.anyone import ANYONE, ANYONES_UID, SELF, pod_of_anyone
from tests.cluster.conftest import ACCOUNT
from tests.cluster.story import (
    CHARTS,
    NAME,
    NAMESPACE,
    OPERATOR,
    PATIENCE_S,
    TAG,
    allocatable,
    complete_rounds,
    condition,
    eventually,
    install_operator,
    kubectl,
    patch,
    restarts,
    run,
    said,
    settled,
    statusz,
    system,
)

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]
ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "cluster" / "cluster"
AGENTS, ADDED = ("pads", "qbmia", "quasar", "amos"), ("prediction", "sentiment")
#: a web server for the file that `sentiment` reads; its image is one that the cluster has anyway
HEADLINES = """
apiVersion: v1
kind: Pod
metadata: {{name: headlines, labels: {{app: headlines}}}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: headlines
      image: localhost/qts-operator:{tag}
      command: [sh, -c, "mkdir -p /tmp/h && exec python -m http.server 8000 -d /tmp/h"]
      readinessProbe: {{tcpSocket: {{port: 8000}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {{name: headlines}}
spec: {{selector: {{app: headlines}}, ports: [{{port: 8000}}]}}
"""
IDLE_S = int(os.environ.get("QTS_TEST_IDLE_S", "60"))


@pytest.fixture(scope="module", autouse=True)
def installed(kube: Any) -> Iterator[None]:
    """Install both charts once, remove them at the end; the definition is there already, and is served."""
    install_operator(kube)
    run(
        "helm", "upgrade", "--install", NAME, str(CHARTS / "quantum-trading-system"),
        "-n", NAMESPACE, "--create-namespace", "--set", f"name={NAME},test.image=localhost/qts-operator:{TAG}",
        "--set-json", 'spec.config={"decisionInterval": 2, "marketUpdateInterval": 0.5}',
    )  # fmt: skip
    yield
    run("helm", "uninstall", NAME, "-n", NAMESPACE, check=False)
    run("helm", "uninstall", "operator", "-n", OPERATOR, check=False)
    run("kubectl", "delete", "namespace", NAMESPACE, OPERATOR, "--wait=false", check=False)


def test_01_both_charts_bring_up_four_of_four() -> None:
    """`kubectl get qts` shows 4/4 and True."""
    eventually(settled, 600, "4/4 and Ready")
    row = [NAME, "True", "4/4"]
    eventually(lambda: kubectl("get", "qts", NAME, "--no-headers").split()[:3] == row, PATIENCE_S, "the row")


def test_015_helm_test_says_that_all_is_well() -> None:
    """Both charts' tests run in pods of their own, with rights of their own, and leave nothing."""
    assert "Succeeded" in run("helm", "test", "operator", "-n", OPERATOR, "--timeout", "3m")
    assert "Succeeded" in run("helm", "test", NAME, "-n", NAMESPACE, "--timeout", "3m")
    left = ("kubectl", "get", "pods,serviceaccounts,roles", "-A", "-o", "name")
    eventually(lambda: "-test" not in run(*left), PATIENCE_S, "nothing of the tests left")


def test_02_decisions_are_made_on_the_real_data() -> None:
    """PADS in the cluster publishes decisions about EUR/USD."""

    decision = eventually(lambda: statusz("pads")["board"]["decision"], PATIENCE_S, "a decision")
    assert "EUR/USD" in json.dumps(decision)
    eventually(lambda: statusz("pads")["bus_mode"] == "connected", PATIENCE_S, "connected")
    assert said("market")["feed"]["source"].startswith("dataset:eurusd_1h")


def test_02_qts_status_shows_the_system_and_its_processes() -> None:
    """Conditions and every process's own words, over the user's kubectl."""
    command = (sys.executable, "-m", "qts_cli", "status", "-n", NAMESPACE, NAME)
    ready = dict.fromkeys((*AGENTS, "market"), "ready")

    def told() -> bool:
        tree = json.loads(run(*command, "--json"))
        states = {name: answer["state"] for name, answer in tree["processes"].items()}
        return tree["status"]["agents"] == "4/4" and states == ready

    eventually(told, PATIENCE_S, "4/4, and five processes that say so")
    text = run(*command)
    assert "Ready" in text
    assert "quasar" in text


def test_03_a_deleted_pod_comes_back() -> None:
    """The Deployment replaces it, and the status says so."""
    before = kubectl("get", "pods", "-l", "quantumtrading.io/agent=qbmia", "-o", "name").split()
    kubectl("delete", *before, "--wait=false")

    def replaced() -> bool:
        pods = kubectl("get", "pods", "-l", "quantumtrading.io/agent=qbmia", "-o", "name").split()
        return bool(pods) and not set(pods) & set(before) and settled()

    eventually(replaced, 400, "a new qbmia pod and 4/4")


def test_03_a_spare_stands_by_and_takes_over() -> None:
    """Of two pods of an agent one works; when it goes the other one does, and peers reach it."""

    def states() -> dict[str, str]:
        pods = kubectl("get", "pods", "-l", "quantumtrading.io/agent=qbmia", "-o", "name").split()
        return {pod: statusz("qbmia", pod).get("state", "") for pod in pods}

    def both() -> dict[str, str] | None:
        now = states()
        return now if sorted(now.values()) == ["ready", "standby"] and settled() else None

    patch({"agents": {"qbmia": {"replicas": 2}}})
    pods = eventually(both, 400, "a spare")
    works, spare = sorted(pods, key=pods.__getitem__)  # ready, standby
    kubectl("delete", works, "--wait=false")
    eventually(lambda: states().get(spare) == "ready", PATIENCE_S, "the spare at work")

    before = complete_rounds()
    eventually(lambda: complete_rounds() >= before + 3, PATIENCE_S, "rounds in which all answered")
    assert said("qbmia", spare)["messages"]["delivered"] > 0
    patch({"agents": {"qbmia": {"replicas": 1}}})
    eventually(lambda: list(states().values()) == ["ready"] and settled(), 400, "one pod again")


def test_035_any_user_on_a_read_only_root_decides_too() -> None:
    """A pod of the image under a user it does not know takes over, votes, and compiles nothing."""
    works = kubectl("get", "pods", "-l", "quantumtrading.io/agent=qbmia", "-o", "name").split()
    kubectl("create", "-f", "-", stdin=pod_of_anyone())
    eventually(lambda: statusz("qbmia", ANYONE).get("state") == "standby", PATIENCE_S, "a spare of anyone's")
    kubectl("delete", *works, "--wait=false")
    eventually(lambda: statusz("qbmia", ANYONE).get("state") == "ready", PATIENCE_S, "anyone's pod at work")

    at_work, before = said("qbmia", ANYONE), complete_rounds()
    eventually(lambda: complete_rounds() >= before + 3, PATIENCE_S, "rounds in which all answered")
    later = said("qbmia", ANYONE)
    assert later["messages"]["delivered"] > at_work["messages"]["delivered"]
    assert later["compiles"] == at_work["compiles"] > 0

    (told,) = eventually(
        lambda: [json.loads(kubectl("exec", ANYONE, "--", "python", "-c", SELF))],
        PATIENCE_S,
        "what it may do",
    )
    assert told["uids"] == [str(ANYONES_UID)] * 4
    assert told["refused"] == ["EROFS"] * 3
    assert told["baked"]  # no kernel was compiled here: all came with the image
    assert set(told["cached"]) <= set(told["baked"])
    kubectl("delete", "pod", ANYONE, "--wait=false")
    eventually(settled, 400, "4/4 again")


def test_04_a_killed_process_is_restarted_in_its_pod() -> None:
    """The kubelet restarts the container; 4/4 again."""

    before = restarts("agent=quasar")

    def restarted() -> bool:
        # by pod: what an older one had counted goes with it
        return any(count > before.get(uid, 0) for uid, count in restarts("agent=quasar").items())

    said("quasar")  # a pod in which nothing can be run could not be killed either
    kill = "import os, signal; os.kill(1, signal.SIGTERM)"
    kubectl("exec", f"deploy/{NAME}-quasar", "--", "python", "-c", kill, check=False)
    eventually(lambda: restarted() and settled(), 400, "a restart and 4/4")


def test_05_a_changed_board_weight_reaches_the_agents() -> None:
    """`kubectl apply` of other weights is what PADS decides with."""
    board = {"qar": 0.2, "qstar": 0.35, "antifragility": 0.2, "consensus": 0.15, "adaptability": 0.1}
    before = said("pads")["config_digest"]
    patch({"config": {"boardMembers": board}})

    def reached() -> bool:
        text = kubectl("exec", f"deploy/{NAME}-pads", "--", "cat", "/etc/qts/system.json", check=False)
        told = json.loads(text) if text else {}  # weights at their defaults are not in the file
        new = statusz("pads").get("config_digest", before)
        return told.get("board_members") == board and new != before and settled()

    eventually(reached, 400, "the new weights in PADS")


def votes() -> dict[str, list[float] | None]:
    """Return what each seat said in the newest decision, None where it was silent."""
    symbols = (statusz("pads").get("board", {}).get("decision") or {}).get("symbols", {})
    return dict(next(iter(symbols.values()), {}).get("votes", {}))


def write_headline(time_: str, score: float) -> None:
    """Put one headline where the server of headlines serves it, whole at once."""
    line = json.dumps({"time": time_, "symbol": "EUR/USD", "score": score})
    write = "cat > /tmp/h/new && mv /tmp/h/new /tmp/h/headlines.jsonl"

    def written() -> bool:
        kubectl("exec", "-i", "headlines", "--", "sh", "-c", write, stdin=line)
        return True

    eventually(written, PATIENCE_S, "a headline in its pod")


def test_052_two_more_agents_are_switched_on_and_vote() -> None:
    """6/6: `prediction` votes; `sentiment` is silent until a fresh headline lies at its source, then it votes."""
    kubectl("apply", "-f", "-", stdin=HEADLINES.format(tag=TAG))
    kubectl("wait", "--for=condition=Ready", "pod/headlines", "--timeout=300s")
    write_headline("2015-01-01T00:00:00Z", -0.9)  # long before the market's time: no input
    # two hours of the market pass each second here: a headline of its year stays fresh for the whole test
    told = {
        "source": "http://headlines:8000/headlines.jsonl",
        "periodS": 1,
        "freshH": 9000,
        "halfLifeH": 9000,
    }
    on = {name: {"enabled": True} for name in ADDED}
    patch({"agents": on, "config": {"sentiment": told}})
    eventually(lambda: settled(6), 600, "6/6 and Ready")

    def both_seats() -> dict[str, Any] | None:
        seats = votes()
        return seats if seats["prediction"] and "sentiment" in seats else None

    assert eventually(both_seats, PATIENCE_S, "a vote of prediction")["sentiment"] is None
    assert "document" not in json.dumps(said("sentiment")["reasons"])
    write_headline("2017-01-01T00:00:00Z", -0.9)

    def down() -> bool:
        vote = votes()["sentiment"]
        return vote is not None and vote[2] > vote[0]

    eventually(down, PATIENCE_S, "a vote of sentiment for the side that the headline is on")


def test_054_switched_off_again_it_is_four_of_four() -> None:
    """Nothing of the two is left, and the others decide on."""
    patch({"agents": dict.fromkeys(ADDED), "config": {"sentiment": None}})
    eventually(settled, 400, "4/4 again")
    chosen = f"quantumtrading.io/system={NAME},quantumtrading.io/agent in ({','.join(ADDED)})"
    kinds = "deploy,svc,netpol,pdb,pods"
    eventually(lambda: not kubectl("get", kinds, "-l", chosen, "-o", "name").strip(), 300, "nothing of them")
    eventually(lambda: (seats := votes()) and not set(ADDED) & set(seats), PATIENCE_S, "the usual seats")
    kubectl("delete", "pod,service", "headlines", "--wait=false")


#: what Redis has refused since it started, asked for by PADS with the password that it uses now
REFUSALS = f"""
import json, os, redis
word = open(os.environ["QTS_SECRETS"] + "/redis/pads.password").read().split()[0]
with redis.Redis("{NAME}-redis", username="pads", password=word, protocol=2) as server:
    print(json.dumps({{kind: str(told) for kind, told in server.info("errorstats").items()}}))
"""


def failed_commands() -> dict[str, str]:
    """Return the errors that Redis has answered with, by kind; a group that is there already is none."""
    ask = ("exec", f"deploy/{NAME}-pads", "--", "python", "-c", REFUSALS)
    (told,) = eventually(lambda: [json.loads(kubectl(*ask))], PATIENCE_S, "an answer of Redis")
    return {kind: count for kind, count in told.items() if "BUSYGROUP" not in kind}


def accounts() -> dict[str, Any]:
    """Return the sums of `qts messages` over the processes as they are now."""
    command = (sys.executable, "-m", "qts_cli", "messages", "-n", NAMESPACE, NAME, "--json")
    return dict(eventually(lambda: json.loads(run(*command, check=False)), PATIENCE_S, "the books"))


def test_056_keys_and_passwords_change_under_load(report: Callable[[str, float], None]) -> None:
    """A new generation of both within 5 minutes: rounds go on, no command fails, no frame is refused or lost."""

    def taken() -> bool:
        told = [statusz(name).get("credentials", {}) for name in (*AGENTS, "market")]
        return all((t.get("redis"), t.get("curve")) == (2, 2) for t in told) and settled()

    pods, failed = restarts(f"system={NAME}"), failed_commands()
    rounds, seen = complete_rounds(), accounts()
    began = time.monotonic()
    patch({"redis": {"credentialsGeneration": 2}, "messaging": {"credentialsGeneration": 2}})
    eventually(taken, 900, "generation 2 of keys and passwords in every process")
    seconds = time.monotonic() - began
    assert complete_rounds() >= rounds + 5
    assert failed_commands() == failed
    assert restarts(f"system={NAME}") == pods
    now = accounts()
    assert now["refused"] == seen["refused"]
    lost = now["lost"].get("gap", 0) - seen["lost"].get("gap", 0)
    assert lost == 0
    report("seconds until all processes used new keys and passwords (goal: at most 300)", round(seconds, 1))
    report("messages sent meanwhile", now["sent"] - seen["sent"])
    report("of these lost on their way", lost)


def test_06_gpu_required_without_a_gpu_stays_pending_and_says_why() -> None:
    """The status names the agent, what it needs and what there is."""
    patch({"agents": {"quasar": {"gpu": {"mode": "Required", "count": 1}}}})
    eventually(lambda: condition("GPUAvailable")["reason"] == "NoGPUNodes", PATIENCE_S, "NoGPUNodes")
    message = "quasar needs 1 nvidia.com/gpu; none of 1 nodes offers it"
    eventually(lambda: condition("GPUAvailable")["message"] == message, PATIENCE_S, message)
    eventually(lambda: condition("Ready")["status"] == "False", PATIENCE_S, "not Ready")
    phases = "{.items[*].status.phase}"
    pods = ("get", "pods", "-l", "quantumtrading.io/agent=quasar", "-o", f"jsonpath={phases}")
    eventually(lambda: "Pending" in kubectl(*pods), PATIENCE_S, "a Pending quasar pod")


def test_07_with_gpus_it_runs() -> None:
    """Two devices on the node: the pod starts and the status says where."""
    if not SHARED.exists():
        pytest.skip("only the shared cluster can make a node report GPUs")
    run(str(SHARED), "gpus", "2")
    eventually(lambda: condition("GPUAvailable")["reason"] == "Allocated" and settled(), 400, "Allocated")
    eventually(lambda: system()["status"]["gpus"] == "1/1", PATIENCE_S, "1/1")
    # give the device back first: a running pod keeps what it holds when a node loses it
    patch({"agents": {"quasar": {"gpu": None}}})
    eventually(lambda: condition("GPUAvailable")["reason"] == "NotRequested" and settled(), 400, "CPU again")
    run(str(SHARED), "gpus", "0")
    # the kubelet follows some seconds later; until then the scheduler still places pods there
    eventually(lambda: allocatable() in ("", "0"), PATIENCE_S, "a node without devices")


def test_08_preferred_falls_back_to_the_cpu() -> None:
    """Without a device the agent runs on the CPU, is Ready, and the status says why."""
    patch({"agents": {"quasar": {"gpu": {"mode": "Preferred", "count": 1, "fallbackAfter": "10s"}}}})
    eventually(lambda: condition("GPUAvailable")["reason"] == "FallbackToCPU" and settled(), 400, "fallback")
    patch({"agents": {"quasar": {"gpu": None}}})
    eventually(settled, 400, "4/4 on the CPU")


def test_09_at_rest_nothing_is_written() -> None:
    """The audit log counts no write of the operator while nothing changes."""
    if not SHARED.exists():
        pytest.skip("only the shared cluster keeps an audit log")

    def written(since_s: float) -> list[str]:
        counted = run(str(SHARED), "writes", "--since", str(int(since_s)), "--user", ACCOUNT)
        return [line for line in counted.splitlines() if ACCOUNT in line and "leases" not in line]

    assert written(3600), "what the operator has made is counted"
    time.sleep(15)
    eventually(lambda: not written(15), 300, "a rest: the test before has just changed something")
    start = time.monotonic()
    time.sleep(IDLE_S)
    assert written(time.monotonic() - start) == []


def test_10_deleting_the_resource_leaves_nothing() -> None:
    """Owner references remove every object of the system."""
    kubectl("delete", "qts", NAME, "--wait=true")
    kinds = "deploy,sts,svc,cm,secret,sa,netpol,pdb,pods"
    label = f"quantumtrading.io/system={NAME}"
    eventually(lambda: not kubectl("get", kinds, "-l", label, "-o", "name").strip(), 300, "nothing left")
