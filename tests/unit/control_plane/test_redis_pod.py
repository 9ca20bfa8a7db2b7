"""Where the Redis of ours runs, and what its containers may take, as the resource says."""

from __future__ import annotations

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
