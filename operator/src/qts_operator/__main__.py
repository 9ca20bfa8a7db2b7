"""`python -m qts_operator`: arguments and environment to Options, then the engine with kopf beside it."""

from __future__ import annotations

import argparse
import gc
import os
import queue
import signal
import socket
import sys
from functools import partial
from pathlib import Path

import msgspec

from qts_core.allocator import one_heap, short_tls_buffers
from qts_core.errors import ConfigError
from qts_core.telemetry import open_logs, open_tracing
from qts_operator.main import Engine, Options
from qts_operator.middleware import Pace
from qts_operator.objects.frame import Defaults
from qts_operator.objects.pod_monitors import labels_of
from qts_operator.serving import check
from qts_operator.session import Access, from_kubeconfig, in_cluster, tls
from qts_operator.tracing import RATIO

COLLECT_AFTER = 10_000  # objects more than were freed, between two collections; Python's own: 700
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def parser() -> argparse.ArgumentParser:
    """Return the arguments; every one has an environment variable beside it."""
    env, defaults = os.environ, Defaults()
    out = argparse.ArgumentParser(prog="qts-operator", description="Operator of QuantumTradingSystem")
    add = out.add_argument
    add("--kubeconfig", default=env.get("KUBECONFIG"), help="default: the pod's ServiceAccount")
    add("--server", default=env.get("QTS_API_SERVER"), help="URL of the API server, with --token-file")
    add("--token-file", default=env.get("QTS_TOKEN_FILE"))
    add("--ca-file", default=env.get("QTS_CA_FILE"))
    add("--namespace", default=env.get("QTS_NAMESPACE", defaults.namespace), help="namespace of the Lease")
    add("--watch", default=env.get("QTS_WATCH_NAMESPACES", ""), help="namespaces, comma-separated; all")
    add("--agent-image", default=env.get("QTS_AGENT_IMAGE", defaults.agent))
    add("--agent-gpu-image", default=env.get("QTS_AGENT_GPU_IMAGE", defaults.agent_gpu))
    add("--redis-image", default=env.get("QTS_REDIS_IMAGE", defaults.redis))
    add(
        "--monitor-labels",
        default=env.get("QTS_MONITOR_LABELS", ""),
        help="key=value, comma-separated: by which a Prometheus selects the PodMonitors of systems",
    )
    add("--identity", default=env.get("POD_NAME") or f"{socket.gethostname()}-{os.getpid()}")
    add("--http-port", type=_port, default=env.get("QTS_HTTP_PORT", "8080"), help="0: none")
    add("--metrics-port", type=_port, default=env.get("QTS_METRICS_PORT", "9464"), help="0: none")
    add("--host", default=env.get("QTS_BIND", "0.0.0.0"))  # noqa: S104 - probes come from the kubelet
    add(
        "--per-object",
        default=env.get("QTS_METRICS_PER_OBJECT", "true"),
        choices=("true", "false"),
        help="metrics that carry a system's name",
    )
    usual = Pace()
    for name, default, text in (
        ("requests-in-flight", usual.in_flight, "to the API server at once"),
        ("requests-per-second", usual.a_second, "to the API server"),
        ("request-burst", usual.burst, "that may be sent faster than that after a rest"),
    ):
        given = env.get(f"QTS_{name.replace('-', '_').upper()}", f"{default:g}")
        add(f"--{name}", type=_count, default=given, help=text)
    add("--log-level", default=env.get("QTS_LOG_LEVEL", "info"))
    add("--no-kopf", action="store_true", help="the engine alone, for tests")
    return out


def _whole(text: str, allowed: range, wanted: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) in allowed):
        raise argparse.ArgumentTypeError(f"{text!r}; give {wanted}")
    return int(text)


_count = partial(_whole, allowed=range(1, sys.maxsize), wanted="a whole number above 0")
_port = partial(_whole, allowed=range(65_536), wanted="a port, or 0 for none")


def options_of(given: argparse.Namespace) -> Options:
    """Return the options; ConfigError for a wrong label, or when there is no way to the API server."""
    watched = tuple(n.strip() for n in given.watch.split(",") if n.strip())
    return Options(
        access=msgspec.structs.replace(_access(given), pace=_pace(given)),
        identity=given.identity,
        namespace=given.namespace,
        watched=watched,
        nodes=not watched,
        defaults=Defaults(
            agent=given.agent_image,
            agent_gpu=given.agent_gpu_image,
            redis=given.redis_image,
            namespace=given.namespace,
            monitor_labels=labels_of(given.monitor_labels),
        ),
        host=given.host,
        http_port=given.http_port,
        metrics_port=given.metrics_port,
        per_object=given.per_object == "true",
    )


def _pace(given: argparse.Namespace) -> Pace:
    return Pace(
        in_flight=given.requests_in_flight, a_second=given.requests_per_second, burst=given.request_burst
    )


def of_the_pod() -> Access:
    """Return the access of this pod's ServiceAccount; ConfigError outside a cluster."""
    env = os.environ
    return in_cluster(
        ACCOUNT, env.get("KUBERNETES_SERVICE_HOST", ""), env.get("KUBERNETES_SERVICE_PORT", "443")
    )


def _access(given: argparse.Namespace) -> Access:
    if given.server:
        return Access(server=given.server.rstrip("/"), token_file=given.token_file, ca_file=given.ca_file)
    if given.kubeconfig:
        return from_kubeconfig(given.kubeconfig)
    return of_the_pod()


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT."""
    given = parser().parse_args(arguments)
    try:
        options = options_of(given)
        tls(options.access)
        check("--http-port", options.host, options.http_port)
        check("--metrics-port", options.host, options.metrics_port)
    except ConfigError as error:
        print(f"qts-operator: {error}", file=sys.stderr)  # noqa: T201 - before logs exist
        return error.exit_code
    one_heap()  # before there are threads
    short_tls_buffers()
    log = open_logs("operator", "operator", given.log_level)
    # the interrupted thread may hold an Event's lock itself; this queue may be put to anywhere
    told: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda which, _: told.put(which))
    tracing = open_tracing("operator", "", None, RATIO)
    engine = Engine(options, tracing=tracing)
    engine.start()
    kopf = None
    if not given.no_kopf:
        _spare_kopf_the_client()
        from qts_operator.shell import KopfThread, hear_kopf

        hear_kopf()
        kopf = KopfThread(engine)
        kopf.start()
    _spare_collections()
    log.info("operator started", identity=options.identity, watched=list(options.watched) or "all")
    while not _waited(told):
        if not engine.alive():
            log.error("the engine ended")
            return 1
    if kopf is not None:
        kopf.leave()
    engine.stop()
    tracing.close()
    if kopf is not None:
        kopf.stop()
    return 0


def _spare_kopf_the_client() -> None:
    """Tell kopf that the official client is not here: where it is, kopf loads all its models for type hints.

    That is 21 MB and a second of every start in a pod. Only a kubeconfig needs the client, and has loaded it
    by now. None is Python's own sign for a module that is not to be found.
    """
    sys.modules.setdefault("kubernetes", None)  # type: ignore[arg-type]


def _spare_collections() -> None:
    """Take what is loaded out of the collector's sight, and let it look rarely: passes leave few cycles.

    With its defaults it took a sixth of the processor time, in pauses in which no pass went on.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


def _waited(told: queue.SimpleQueue[int]) -> bool:
    """Wait a second for a signal; tell whether one came."""
    try:
        told.get(timeout=1.0)
    except queue.Empty:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
