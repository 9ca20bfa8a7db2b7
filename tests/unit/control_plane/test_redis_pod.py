"""Where the Redis of ours runs, and what its containers may take, as the resource says."""

from __future__ import annotations

import pytest

from qts_operator.objects import redis


def test_redis_runs_where_the_resource_says(frame_of) -> None:
    """On a cluster whose nodes are all tainted no other field lets it start."""
    bare = redis.template(frame_of())["spec"]
    where = {
        "nodeSelector": {"pool": "data"},
        "tolerations": [{"key": "pool", "operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
        "priorityClassName": "high",
    }
    assert not where.keys() & bare.keys()
    assert redis.template(frame_of({"redis": where}))["spec"] == bare | where


def test_the_container_beside_redis_has_resources_of_its_own(frame_of) -> None:
    """What is left out of them is not asked for, as of Redis itself."""
    more = {"acl": {"resources": {"limits": {"memory": "1024Mi"}}}, "resources": {"limits": {"cpu": "2"}}}
    server, side = redis.template(frame_of({"redis": more}))["spec"]["containers"]
    assert (server["name"], server["resources"]) == ("redis", {"limits": {"cpu": "2"}})
    assert (side["name"], side["resources"]) == ("acl", {"limits": {"memory": "1Gi"}})
    bare = redis.template(frame_of({"redis": {"acl": {"resources": {}}}}))["spec"]["containers"][1]
    assert "resources" not in bare


@pytest.mark.parametrize(
    ("limits", "most"),
    [
        ({"memory": "256Mi"}, ["--maxmemory", "201326592"]),
        ({"memory": "1.5G", "cpu": "1"}, ["--maxmemory", "1125000000"]),
        ({"cpu": "1"}, []),
        ({}, []),
    ],
)
def test_redis_refuses_writes_before_its_kernel_kills_it(
    frame_of, limits: dict[str, str], most: list[str]
) -> None:
    """Three quarters of its limit; 0 would be no bound, and without a limit there is none."""
    server = redis.template(frame_of({"redis": {"resources": {"limits": limits}}}))["spec"]["containers"][0]
    args = server["args"]
    assert args[args.index("--proto-max-bulk-len") + 2 :] == most
