"""Copies of a system: other names and uids of the same length, everything else byte for byte."""

from __future__ import annotations

import pytest
from bench.etcd import Mould
from bench.operator_memory import RSS_MB, _kind, allowed, main

UIDS = ("0a1b2c3d-1111-4222-8333-444455556666", "ffffffff-9999-4888-8777-666655554444")


def test_a_copy_bears_its_own_names_and_uids_wherever_they_stand() -> None:
    value = f"k8s\0 memory-1-0 uid {UIDS[0]} owner {UIDS[1]} redis.memory-1-0.svc 0a1b2c3d".encode()
    mould = Mould([(b"/registry/secrets/memory-1-0/desk", value)], "memory-1-0", UIDS)
    casts = list(mould.cast(range(10, 12)))
    assert casts[0][0] == b"/registry/secrets/0000000010/desk"
    expected = value.replace(b"memory-1-0", b"0000000010")
    for uid in UIDS:
        expected = expected.replace(uid.encode(), b"0000000a" + uid[8:].encode())
    assert casts[0][1] == expected
    assert {len(value) for _, value in casts} == {len(value)}
    assert list(mould.keys(range(10, 12))) == [key for key, _ in casts]
    assert len({value for _, value in casts}) == 2


def test_the_kind_of_a_key_is_its_plural() -> None:
    assert _kind(b"/registry/services/specs/a/desk-redis") == "services"
    assert _kind(b"/registry/quantumtrading.io/quantumtradingsystems/a/desk") == "quantumtradingsystems"
    assert _kind(b"/registry/replicasets/a/desk-pads-1") == "replicasets"


def test_a_number_between_two_has_the_goal_of_the_larger() -> None:
    assert [allowed(RSS_MB, n) for n in (2, 1000, 1001, 10_000, 10_001)] == [120.0, 120.0, 200.0, 350.0, None]


def test_a_cluster_that_cannot_be_stopped_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    assert main(["--systems", "2"]) == 2
    assert "KUBECONFIG" in capsys.readouterr().err
