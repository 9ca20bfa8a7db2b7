"""What a bundle leaves out, and that it keeps to its size."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from qts_cli import support, support_bundle
from qts_cli.support_bundle import HIDDEN, Bundle, clean, hide
from qts_cli.support_explain import read
from qts_core.errors import ConfigError


def test_secrets_are_taken_out_and_the_rest_stays() -> None:
    """Variables, keys that name a secret, logins in addresses, the applied copy; references stay."""
    tree = {
        "metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "c", "note": "n"}},
        "spec": {
            "env": [{"name": "A", "value": "c"}, {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s"}}}],
            "password": "c",
            "url": "redis://user:c@host:1/0",
            "urlSecretRef": {"name": "s", "key": "url"},
            "secretName": "s",
            "list": [{"apiToken": "c"}],
        },
    }
    assert clean(tree) == {
        "metadata": {"annotations": {"note": "n"}},
        "spec": {
            "env": [
                {"name": "A", "value": HIDDEN},
                {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s"}}},
            ],
            "password": HIDDEN,
            "url": f"redis://{HIDDEN}@host:1/0",
            "urlSecretRef": {"name": "s", "key": "url"},
            "secretName": "s",
            "list": [{"apiToken": HIDDEN}],
        },
    }
    assert hide('{"password": "c", "user": "u"} token=c end') == (
        f'{{"password": "{HIDDEN}", "user": "u"}} token={HIDDEN} end'
    )
    assert hide("https://news/x?apikey=K&since=1: 500") == f"https://news/x?{HIDDEN} 500"
    assert hide("Authorization: Bearer K; api_key=K") == f"Authorization: {HIDDEN} api_key={HIDDEN}"


def test_a_bundle_keeps_to_its_size_and_an_altered_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The largest file goes first and is named; a checksum that differs is said."""
    monkeypatch.setattr(support_bundle, "LIMIT_BYTES", 20_000)
    bundle = Bundle()
    bundle.put("system.json", "{}")
    bundle.put("logs/large.log", os.urandom(40_000).hex())
    path = tmp_path / "b.tar.gz"
    assert bundle.write(path) == path.stat().st_size <= 20_000
    (held,) = read(path)
    assert held["system.json"] == {}
    assert list(held["index.json"]["missing"]) == ["logs/large.log"]
    (tmp_path / "c.tar.gz").write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ConfigError, match="not a support bundle"):
        read(tmp_path / "c.tar.gz")


_KUBECTL = """#!/bin/sh
case "$*" in
*"get deployments,pods -l app.kubernetes.io/name=quantum-trading-operator"*) cat "$(dirname "$0")/operator.json" ;;
*"logs operator-1 -c manager --tail=2000 --previous"*) echo "before it: password=c" ;;
*"-n qts-system logs operator-1 -c manager --tail=2000"*) echo "a pass ended" ;;
*"/namespaces/qts-system/pods/operator-1:9464/proxy/metrics"*) echo "qts_leader 1.0" ;;
*logs*|*proxy*) echo "not expected: $*" >&2; exit 1 ;;
*) echo '{"items": []}' ;;
esac
"""


async def test_the_operators_logs_and_metrics_are_in_the_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pods are found by their label in its own namespace; what ran there before is asked for too."""
    labels = {"app.kubernetes.io/name": "quantum-trading-operator"}
    pod = {
        "kind": "Pod",
        "metadata": {"namespace": "qts-system", "name": "operator-1", "labels": labels},
        "status": {"podIP": "10.0.0.1", "containerStatuses": [{"name": "manager", "restartCount": 1}]},
    }
    deployment = {"kind": "Deployment", "metadata": {"name": "operator"}}
    (tmp_path / "operator.json").write_text(json.dumps({"items": [deployment, pod]}))
    _answers(tmp_path, monkeypatch, _KUBECTL)
    bundle = await support_bundle.gather("ns", "desk", "qts-system")
    assert bundle.missing == {}
    assert bundle.files["logs/operator-1.manager.log"] == b"a pass ended\n"
    assert bundle.files["logs/operator-1.manager.previous.log"] == f"before it: password={HIDDEN}\n".encode()
    assert bundle.files["metrics/operator-1.txt"] == b"qts_leader 1.0\n"
    assert not [name for name in bundle.files if name.startswith("statusz")]


_AGENT = """#!/bin/sh
case "$*" in
*"get pods -l"*) cat "$(dirname "$0")/pods.json" ;;
*"/namespaces/ns/pods/desk-pads-1:8080/proxy/keptz"*) cat "$(dirname "$0")/kept.json" ;;
*"/namespaces/ns/pods/desk-pads-1:8080/proxy/statusz"*) cat "$(dirname "$0")/status.json" ;;
*logs*|*proxy/metrics*) echo "{}" ;;
*proxy*) echo "not expected: $*" >&2; exit 1 ;;
*) echo '{"items": []}' ;;
esac
"""


async def test_status_and_kept_rounds_of_every_agent_are_in_the_bundle_without_a_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever an error's text holds, no login or password of it is kept."""
    pod = {
        "kind": "Pod",
        "metadata": {"namespace": "ns", "name": "desk-pads-1", "labels": {"quantumtrading.io/agent": "pads"}},
        "status": {"podIP": "10.0.0.1"},
    }
    (tmp_path / "pods.json").write_text(json.dumps({"items": [pod]}))
    part = {
        "stage": "decide",
        "start_ns": 1,
        "duration_s": 0.5,
        "error": "redis://u:canary@host password=canary",
    }
    kept = {"agent": "pads", "rounds": [{"round_id": "r", "trace_id": "t", "why": "error", "stages": [part]}]}
    (tmp_path / "kept.json").write_text(json.dumps(kept))
    told = {"agent": "pads", "reasons": ["redis://u:canary@host does not answer"]}
    (tmp_path / "status.json").write_text(json.dumps(told))
    _answers(tmp_path, monkeypatch, _AGENT)
    bundle = await support_bundle.gather("ns", "desk", "qts-system")
    assert bundle.missing == {}
    told["reasons"] = [f"redis://{HIDDEN}@host does not answer"]
    assert json.loads(bundle.files["statusz/desk-pads-1.json"]) == told
    part["error"] = f"redis://{HIDDEN}@host password={HIDDEN}"
    assert json.loads(bundle.files["keptz/desk-pads-1.json"]) == kept
    assert not any(b"canary" in raw for raw in bundle.files.values())


_TWO = """#!/bin/sh
case "$*" in
-A*) echo "flags cannot be placed before plugin name: -A" >&2; exit 1 ;;
"get quantumtradingsystems.quantumtrading.io -A -o json"|"get quantumtradingsystems.quantumtrading.io -n one -o json") cat "$(dirname "$0")/systems.json" ;;
*"-n two get quantumtradingsystems.quantumtrading.io desk"*) echo "gone: NotFound" >&2; exit 1 ;;
*"-n one get quantumtradingsystems.quantumtrading.io desk"*) echo '{"metadata": {"namespace": "one", "name": "desk"}}' ;;
*) echo '{"items": []}' ;;
esac
"""


async def test_of_all_systems_each_has_a_folder_and_what_they_share_is_there_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that goes meanwhile is missing, and hinders nobody; each is explained with what all share."""
    systems = [{"metadata": {"namespace": space, "name": "desk"}} for space in ("one", "two")]
    (tmp_path / "systems.json").write_text(json.dumps({"items": systems}))
    _answers(tmp_path, monkeypatch, _TWO)
    bundle = await support_bundle.gather_all(None, "qts-system")
    assert bundle.missing == {"two/desk/system.json": "gone: NotFound"}
    own = {"children.json", "pods.json", "events.json"}
    assert {n for n in bundle.files if "/" in n} == {f"{s}/desk/{n}" for s in ("one", "two") for n in own} | {
        "one/desk/system.json"
    }
    bundle.write(tmp_path / "b.tar.gz")
    (held,) = read(tmp_path / "b.tar.gz")
    assert own | {"system.json", "nodes.json", "lease.json", "index.json"} <= held.keys()
    assert held["index.json"]["missing"] == {}


async def test_all_of_no_system_is_a_wrong_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "systems.json").write_text('{"items": []}')
    _answers(tmp_path, monkeypatch, _TWO)
    with pytest.raises(ConfigError, match="no system there"):
        await support_bundle.gather_all("one", "qts-system")


def test_where_no_cluster_answers_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive of nothing would be taken for a gathered one; what kubectl says last is the reason."""
    _answers(tmp_path, monkeypatch, "#!/bin/sh\necho noise >&2; echo 'connection refused' >&2; exit 1\n")
    for name, every, command in (("desk", False, "-n default"), (None, True, "-A")):
        with pytest.raises(ConfigError, match=rf"^connection refused; kubectl get qts {command} must work$"):
            support.support(name, every=every, output=tmp_path / "b.tar.gz")
    assert not (tmp_path / "b.tar.gz").exists()


@pytest.mark.parametrize("given", [(None, False), ("desk", True)])
def test_either_a_name_or_all(given: tuple[str | None, bool]) -> None:
    name, every = given
    with pytest.raises(ConfigError, match="either the NAME of a system or --all"):
        support.support(name, every=every)


def _answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Let this script be kubectl."""
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(text)
    kubectl.chmod(kubectl.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)


def test_a_plan_has_the_rest_of_the_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It had ten seconds, and a busy machine's bundle lacked plan.txt though it was gathered in fifteen."""
    given: list[float] = []
    clock, takes_s = [100.0], [55.0, 15.0]

    async def gather(*_: str) -> Bundle:
        clock[0] += takes_s.pop()
        return Bundle()

    async def plans(_bundle: Bundle, _namespace: str, left_s: float) -> None:
        given.append(left_s)

    monkeypatch.setattr(support.support_bundle, "gather", gather)
    monkeypatch.setattr(support, "_plans", plans)
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    for _ in range(2):
        assert support.support("desk", output=tmp_path / "b.tar.gz") == 0
    assert given == [45.0, 10.0]
