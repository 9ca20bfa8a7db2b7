"""What pods that kwok plays say at /statusz, and how the operator comes to ask it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_PLACE: dict[str, Any] = {
    "nodeSelector": {"type": "kwok"},
    "tolerations": [{"key": "kwok.x-k8s.io/node", "operator": "Exists", "effect": "NoSchedule"}],
}
AGENTS = ("pads", "qbmia", "quasar", "amos", "market")
#: a system whose pods land on kwok's nodes, and which has no Redis to wait for
SPEC: dict[str, Any] = {
    "agents": {name: dict(_PLACE) for name in AGENTS[:-1]},
    "market": dict(_PLACE),
    "redis": {"mode": "External", "url": "redis://x"},
}


@contextmanager
def speaking(address: str, told: dict[str, Any]) -> Iterator[None]:
    """Answer every question at `address` with what `told` holds then."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(told).encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer((address, 8080), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def running(kube: Any, namespace: str, agent: str) -> dict[str, Any]:
    """Return a running pod of an agent; {} while there is none."""
    pods = kube.get("-n", namespace, "pods", "-l", f"app.kubernetes.io/component={agent}")["items"]
    return next((p for p in pods if p["status"].get("phase") == "Running"), {})


def point(kube: Any, namespace: str, agent: str, address: str) -> None:
    """Make `address` that of an agent's pod."""
    pod = running(kube, namespace, agent)["metadata"]["name"]
    status = json.dumps({"status": {"podIP": address, "podIPs": [{"ip": address}]}})
    kube.run("-n", namespace, "patch", "pod", pod, "--subresource=status", "--type=merge", "-p", status)
