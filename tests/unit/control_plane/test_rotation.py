"""Keys and passwords change: whoever takes up files when, nobody is ever locked out, and all end with the new."""

from __future__ import annotations

import base64
import itertools
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from qts_core import names
from qts_core.acl import RELOADER
from qts_core.roster import ROSTER
from qts_messaging.keys import CURVE_DIR, generation_of, load_curve
from qts_operator import rotation
from qts_operator.credentials import NEEDED, advanced, filled, fingerprint
from qts_operator.digests import child
from qts_operator.objects import desired
from qts_operator.objects.frame import Defaults, Frame
from qts_operator.plan import Rotate, plan
from qts_operator.resolve import resolve, touched
from qts_operator.snapshot import Child, Heard, Pod, Snapshot
from qts_operator.stages import PHASES, Stage, after, read
from qts_operator.testing import fields_of, merged

NS, NAME = "trading", "desk-1"
AGENTS = [w for w in ROSTER if w.enabled]
SECRETS = {names.CURVE_SECRET: f"{NAME}-curve", names.REDIS_SECRET: f"{NAME}-redis-auth"}
Files = dict[str, str]


def decoded(data: dict[str, str]) -> Files:
    return {name: base64.b64decode(text).decode() for name, text in data.items()}


class Stand:
    """Two Secrets as the server has them, and every pod with the files that its kubelet has brought it."""

    def __init__(self, *, older: bool = False) -> None:
        self.random, self.uids = Random(7), itertools.count(1)
        self.spec: dict[str, Any] = {}
        frame = self.frame()
        self.secrets: dict[str, dict[str, Any]] = {}
        self.applied: dict[tuple[str, str], Child] = {}
        for manifest in (m for m in desired(frame) if m["kind"] == "Secret"):
            live = filled(manifest, self.random.randbytes(NEEDED))
            if older:
                live["metadata"] = live["metadata"] | {"annotations": {}}
                live["data"] = {k: v for k, v in live["data"].items() if not k.startswith(RELOADER)}
            live["metadata"] = live["metadata"] | {"uid": live["metadata"]["name"], "resourceVersion": "1"}
            self.secrets[live["metadata"]["name"]] = live
        self.pods = tuple(
            Pod(
                namespace=NS,
                name=f"{NAME}-{part}-0",
                uid=part,
                version="1",
                agent=part,
                node="n",
                phase="Running",
            )
            for part in (*(w.name for w in AGENTS), names.REDIS_PART)
        )
        self.files: dict[str, dict[str, Files]] = {}
        for pod in self.pods:
            for secret in SECRETS.values():
                self.sync(pod.agent, secret)
        self.loaded = self.files[names.REDIS_PART][SECRETS[names.REDIS_SECRET]]["users.acl"]

    def sync(self, part: str, secret: str) -> None:
        """Let one kubelet bring one Secret."""
        self.files.setdefault(part, {})[secret] = decoded(self.secrets[secret]["data"])

    def load(self) -> None:
        """Let the side container reload."""
        self.loaded = self.files[names.REDIS_PART][SECRETS[names.REDIS_SECRET]]["users.acl"]

    def snapshot(self) -> Snapshot:
        children = {("Secret", n): child(live, "Secret") for n, live in self.secrets.items()}
        return Snapshot(
            namespace=NS,
            name=NAME,
            uid="u-1",
            generation=1,
            now=1e9,
            spec=self.spec,
            pods=getattr(self, "pods", ()),
            children=children | self.applied,
            heard={p.uid: self.heard(p) for p in self.pods},
        )

    def frame(self) -> Frame:
        bare = Snapshot(namespace=NS, name=NAME, uid="u-1", generation=1, now=1e9, spec=self.spec)
        return resolve(self.snapshot() if hasattr(self, "loaded") else bare, Defaults())[0]

    def heard(self, pod: Pod) -> Heard:
        """Answer as the process does: by the readers that agents have."""
        if pod.agent == names.REDIS_PART:
            return Heard(acl=fingerprint(self.loaded))
        wire = next(w.wire for w in AGENTS if w.name == pod.agent)
        password = self.files[pod.agent][SECRETS[names.REDIS_SECRET]][f"{wire}.password"]
        _, redis = generation_of(password, Path("x"))
        curve, accepted = self.curve(pod.agent)
        return Heard(credentials={"redis": redis, "curve": curve, "curve_accepted": accepted})

    def curve(self, part: str) -> tuple[int, int]:
        files = self.files[part][SECRETS[names.CURVE_SECRET]]
        wire = next(w.wire for w in AGENTS if w.name == part)
        newest = [
            max(generation_of(line, Path("x"))[1] for line in files[f"{w.wire}.pub"].splitlines())
            for w in AGENTS
        ]
        return generation_of(files[f"{wire}.key"], Path("x"))[1], min(newest)

    def turn(self) -> bool:
        """Let the operator make one pass over the Secrets; tell whether it wrote."""
        snapshot = self.snapshot()
        frame = resolve(snapshot, Defaults())[0]
        wrote = False
        for action in plan(desired(frame), touched(snapshot, frame), "u-1"):
            if isinstance(action, Rotate):
                name = action.manifest["metadata"]["name"]
                live = self.secrets[name]
                change = advanced(action.manifest, live["data"], self.random.randbytes(NEEDED))
                self.secrets[name] = merged(live, change)
                wrote = True
        return wrote

    def locked_out(self) -> list[str]:
        """Return who could not log in, or would not be heard by a peer, if all connected anew now."""
        found = []
        for one in AGENTS:
            word = self.files[one.name][SECRETS[names.REDIS_SECRET]][f"{one.wire}.password"].split()[0]
            line = next(text for text in self.loaded.splitlines() if text.startswith(f"user {one.wire} "))
            if fingerprint(word) not in {h[1:17] for h in line.split() if h.startswith("#")}:
                found.append(f"{one.name} at Redis")
            mine = self.own(one.name)
            for other in AGENTS:
                listed = self.files[other.name][SECRETS[names.CURVE_SECRET]][f"{one.wire}.pub"].split()
                if mine not in listed:
                    found.append(f"{one.name} at {other.name}")
        return found

    def own(self, part: str) -> str:
        """Return the public key of the secret key that a pod holds."""
        wire = next(w.wire for w in AGENTS if w.name == part)
        secret = self.files[part][SECRETS[names.CURVE_SECRET]][f"{wire}.key"].split()[0]
        return zmq.curve_public(secret.encode()).decode()


STEPS = [("operator", "")] + [
    (part, secret) for part in (*(w.name for w in AGENTS), "redis") for secret in SECRETS.values()
]
RAISED = {"redis": {"credentialsGeneration": 2}, "messaging": {"credentialsGeneration": 2}}


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from([*STEPS, ("load", "")]), max_size=60), st.booleans())
def test_nobody_is_ever_locked_out(order: list[tuple[str, str]], older: bool) -> None:
    """Operator, kubelets and side container act in any order; in the end all hold only the second generation."""
    stand = Stand(older=older)
    stand.spec = RAISED

    def act(who: str, secret: str) -> None:
        if who == "operator":
            stand.turn()
        elif who == "load":
            stand.load()
        else:
            stand.sync(who, secret)
        assert stand.locked_out() == []

    for who, secret in order:
        act(who, secret)
    for _ in range(8):
        for who, secret in [*STEPS, ("load", "")]:
            act(who, secret)
    assert {
        read(s["metadata"]["annotations"][names.ANNOTATION_CREDENTIALS]) for s in stand.secrets.values()
    } == {Stage(2)}
    assert not stand.turn()
    assert [t for t in stand.loaded.splitlines() if t.count("#") > 1] == []
    curve = decoded(stand.secrets[SECRETS[names.CURVE_SECRET]]["data"])
    assert {len(text.splitlines()) for name, text in curve.items() if name.endswith(".pub")} == {1}
    assert not [n for s in stand.secrets.values() for n in s["data"] if n.endswith(".next")]


@pytest.mark.parametrize("stage", sorted(rotation.TAKEN))
def test_the_law_sees_a_stage_that_does_not_wait(
    stage: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each wait is needed: without it somebody is locked out, or Redis says less than the Secret."""
    monkeypatch.setitem(rotation.TAKEN, stage, lambda _: "")
    assert any(_hurt(Random(seed)) for seed in range(20))


def _hurt(random: Random) -> bool:
    """Tell whether a random order of 200 acts breaks a law."""
    stand, name = Stand(), SECRETS[names.REDIS_SECRET]
    stand.spec = RAISED
    for _ in range(200):
        who, secret = random.choice([*STEPS[:1] * 6, *STEPS, ("load", "")])
        if who == "operator":
            stand.turn()
        elif who == "load":
            stand.load()
        else:
            stand.sync(who, secret)
        told = stand.secrets[name]["metadata"]["annotations"][names.ANNOTATION_CREDENTIALS]
        early = read(told) == Stage(2) and any(t.count("#") > 1 for t in stand.loaded.splitlines())
        if early or stand.locked_out():
            return True
    return False


def test_stages_are_read_back_and_end() -> None:
    """What is written is read, what is broken is the first generation; every change comes to its end."""
    for part, phases in PHASES.items():
        stage = Stage(3, phases[0])
        seen = [stage]
        while not stage.settled:
            assert read(stage.text()) == stage
            stage = after(part, stage)
            seen.append(stage)
        assert [s.phase for s in seen] == [*phases, "Settled"]
        assert read(stage.text()) == stage
    for broken in ("", "x", "0", "-1", "2 Sideways", "²"):
        assert read(broken) == Stage(1)


def test_a_new_system_starts_at_the_generation_it_names(frame_of, snapshot_of, tmp_path: Path) -> None:
    """Its first keys and passwords carry the number, as the agents' own reader tells."""
    frame = frame_of(RAISED)
    manifests = [m for m in desired(frame) if m["kind"] == "Secret"]
    files = {
        n: t for m in manifests for n, t in decoded(filled(m, Random(1).randbytes(NEEDED))["data"]).items()
    }
    folder = tmp_path / CURVE_DIR
    folder.mkdir()
    for name, text in files.items():
        if name.endswith((".key", ".pub")):
            (folder / name).write_text(text)
            (folder / name).chmod(0o600)
    keys = load_curve(tmp_path, "pads")
    assert (keys.generation, keys.accepted) == (2, 2)
    assert generation_of(files["pads.password"], Path("x"))[1] == 2
    assert rotation.under_way(frame, snapshot_of(RAISED)) == ""


def test_another_generation_mends_keys_that_somebody_changed(frame_of) -> None:
    """It is the remedy that an agent names: whichever file was changed, in the end all belong together."""
    (manifest,) = (m for m in desired(frame_of({})) if m["metadata"]["name"].endswith("-curve"))
    random = Random(3)
    for changed in ("qbmia.pub", "qbmia.key"):
        data = filled(manifest, random.randbytes(NEEDED))["data"]
        data[changed] = base64.b64encode(zmq.curve_keypair()[changed.endswith("key")]).decode()
        for phase in (*PHASES[names.CURVE_SECRET], "Settled"):
            notes = {names.ANNOTATION_CREDENTIALS: Stage(2, phase).text()}
            step = manifest | {"metadata": manifest["metadata"] | {"annotations": notes}}
            patch = advanced(step, data, random.randbytes(NEEDED))["data"]
            data = {name: text for name, text in (data | patch).items() if text is not None}
        files = decoded(data)
        for wire in {name.partition(".")[0] for name in files}:
            secret, generation = files[f"{wire}.key"].split()
            assert files[f"{wire}.pub"].split() == [zmq.curve_public(secret.encode()).decode(), generation]


def test_an_older_redis_is_replaced_once_when_its_passwords_change_first() -> None:
    """Revision 1 stays while nothing asks for it; it rolls only after its Secret holds what revision 2 mounts."""
    stand = Stand(older=True)
    frame = stand.frame()
    old = next(m for m in desired(frame) if m["kind"] == "StatefulSet")
    assert (
        len(old["spec"]["template"]["spec"]["containers"]) == 1
    )  # such a Secret has no password for the side
    live = old | {"metadata": old["metadata"] | {"uid": "u-redis", "resourceVersion": "1"}}
    live["metadata"]["managedFields"] = [
        {"manager": "qts-operator", "operation": "Apply", "fieldsV1": fields_of(old)}
    ]
    stand.applied[("StatefulSet", f"{NAME}-redis")] = child(live, "StatefulSet")
    assert containers(stand) == 1
    stand.spec = RAISED
    assert containers(stand) == 1
    assert stand.turn()
    assert containers(stand) == 2
    assert containers(stand) == 2


def containers(stand: Stand) -> int:
    made = next(m for m in desired(stand.frame()) if m["kind"] == "StatefulSet")
    return len(made["spec"]["template"]["spec"]["containers"])


def test_a_secret_that_is_gone_is_not_made_anew_while_pods_use_it() -> None:
    """The condition says which; without a running pod it is made."""
    stand = Stand()
    del stand.secrets[SECRETS[names.CURVE_SECRET]]
    frame = stand.frame()
    assert frame.withheld == {SECRETS[names.CURVE_SECRET]}
    assert [f.reason for f in frame.faults] == ["CredentialsMissing"]
    assert SECRETS[names.CURVE_SECRET] in frame.faults[0].message
    assert {m["metadata"]["name"] for m in desired(frame) if m["kind"] == "Secret"} == {
        SECRETS[names.REDIS_SECRET]
    }
    stand.pods = tuple(p for p in stand.pods if p.agent == names.REDIS_PART)
    assert stand.frame().withheld == frozenset()


def test_a_lost_file_is_named_and_stops_a_change() -> None:
    """What the field managers of a Secret list is compared with what pods mount."""
    stand = Stand()
    secret = stand.secrets[SECRETS[names.REDIS_SECRET]]
    fields = {"f:data": {f"f:{name}": {} for name in secret["data"] if name != "quasar.password"}}
    secret["metadata"]["managedFields"] = [{"manager": "kubectl", "fieldsV1": fields}]
    stand.spec = RAISED
    frame = stand.frame()
    assert [f.message.partition(";")[0] for f in frame.faults] == [
        "Secret desk-1-redis-auth lacks quasar.password"
    ]
    stand.turn()
    assert names.ANNOTATION_CREDENTIALS in secret["metadata"]["annotations"]
    assert read(
        stand.secrets[SECRETS[names.REDIS_SECRET]]["metadata"]["annotations"][names.ANNOTATION_CREDENTIALS]
    ) == Stage(1)


def test_who_is_waited_for_is_told() -> None:
    """Pods that are behind by name, and a workload whose pod is still to come."""
    stand = Stand()
    stand.spec = RAISED
    stand.turn()
    stand.pods = tuple(p for p in stand.pods if p.agent != "amos")
    text = rotation.under_way(stand.frame(), stand.snapshot())
    assert "desk-1-curve: generation 2: Accepting, waiting for desk-1-pads-0" in text
    assert "desk-1-amos (no pod yet)" in text
    assert "desk-1-redis-0 to load the access list" in text
    unplaced = msgspec.structs.replace(stand.pods[0], agent="amos", uid="new", name="amos-new", node="")
    stand.pods = (*stand.pods, unplaced)
    stand.heard = lambda pod: Heard(credentials={"curve_accepted": 2})  # type: ignore[method-assign]
    assert stand.frame().turns[names.CURVE_SECRET].stage == Stage(2, "Using")
