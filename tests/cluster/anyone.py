"""A pod of an agent under a user that no image and no chart knows, and what it says of itself."""

from __future__ import annotations

import json

from tests.cluster.story import kubectl

#: what a process in its pod may do, and which compiled kernels its cache and its image hold
SELF = """
import errno, hashlib, json, os, pathlib

def kernels(folder):
    return sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in pathlib.Path(folder).rglob("*.nbc"))

def refused(path):
    try:
        open(path, "w")
    except OSError as error:
        return errno.errorcode[error.errno]

ids = next(line.split()[1:] for line in open("/proc/1/status") if line.startswith("Uid:"))
places = ("/opt/kernels/new", "/opt/app/new", "/new")
print(json.dumps({
    "uids": ids, "refused": [refused(place) for place in places],
    "cached": kernels("/var/cache/qts"), "baked": kernels("/opt/kernels"),
}))
"""
ANYONE, ANYONES_UID = "anyone", 61_234


def pod_of_anyone() -> str:
    """Return qbmia's pod as another user's, in the group of root: one that no image and no chart knows."""
    found = json.loads(kubectl("get", "pods", "-l", "quantumtrading.io/agent=qbmia", "-o", "json"))
    pod = found["items"][0]
    spec = {key: value for key, value in pod["spec"].items() if key != "nodeName"}
    user = {"runAsNonRoot": True, "runAsUser": ANYONES_UID, "runAsGroup": 0, "fsGroup": ANYONES_UID}
    labels = {k: v for k, v in pod["metadata"]["labels"].items() if k != "pod-template-hash"}
    spec["securityContext"] = pod["spec"]["securityContext"] | user
    metadata = {"name": ANYONE, "labels": labels}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
