"""Arguments for runs beside each other."""

from __future__ import annotations


def qts_arguments(ports: list[int], *settings: str) -> list[str]:
    """Return --set arguments: four ZeroMQ ports, one Redis port, and the settings given."""
    pads, qbmia, quasar, amos, redis = ports
    sets = [
        f"redis_url=redis://127.0.0.1:{redis}",
        f"zmq_ports.pads={pads}",
        f"zmq_ports.qbmia={qbmia}",
        f"zmq_ports.quasar={quasar}",
        f"zmq_ports.quantum_amos={amos}",
        "market.source=replay",
        "market.replay.dataset=eurusd_1h",
        *settings,
    ]
    return [part for text in sets for part in ("--set", text)]
