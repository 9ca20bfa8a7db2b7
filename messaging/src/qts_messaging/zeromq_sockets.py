"""How a ROUTER and a DEALER are opened: bounds, signs of life, CURVE, and one port for two keys."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import zmq

from qts_messaging import codec
from qts_messaging.keys import CurveKeys

HWM = 1000
BACKLOG = 128
MARK = b"~"  # between a name and its key in a routing id; not in the alphabet of keys
Socket = zmq.Socket[bytes]
Port = socket.socket


def routing_id(name: str, public: bytes | None) -> bytes:
    """Return the id under which `name` dials: two keys of one name must not take each other's place."""
    return name.encode() + (b"" if public is None else MARK + public[:8])


def name_of(routing: bytes) -> str:
    """Return the name that a routing id claims."""
    return routing.partition(MARK)[0].decode(errors="replace")


def listen(address: str, beside: Port | None = None) -> Port:
    """Open a listening port; with `beside` share the port of that socket, which nobody else may.

    OSError when the port is taken. The kernel deals callers out to both sockets at random.
    """
    parts = urlsplit(address)
    host = parts.hostname or ""
    if beside is not None:
        beside.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    port = socket.create_server(
        (host, parts.port or 0), family=family, backlog=BACKLOG, reuse_port=beside is not None
    )
    port.setblocking(False)
    return port


def open_router(
    context: zmq.Context[Socket], name: str, keys: CurveKeys | None, domain: bytes, port: Port
) -> Socket:
    """Return the socket that others dial, on a port that listens already."""
    router = context.socket(zmq.ROUTER)
    tune(router)
    router.setsockopt(zmq.ROUTER_MANDATORY, 1)
    router.setsockopt(zmq.ROUTER_HANDOVER, 1)  # a restarted peer takes its name over
    router.setsockopt(zmq.IDENTITY, name.encode())
    if keys is not None:
        router.curve_secretkey = keys.secret
        router.curve_publickey = keys.public
        router.curve_server = True
        router.setsockopt(zmq.ZAP_DOMAIN, domain)
        router.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)  # without an answering gate nobody gets in
    router.setsockopt(zmq.USE_FD, port.dup().detach())  # libzmq closes its copy, we close ours
    host, number = port.getsockname()[:2]
    router.bind(f"tcp://{host}:{number}")
    return router


def open_dealer(
    context: zmq.Context[Socket], name: str, keys: CurveKeys | None, server: bytes | None
) -> Socket:
    """Return a socket that will dial the holder of the key `server`."""
    dealer = context.socket(zmq.DEALER)
    tune(dealer)
    dealer.setsockopt(zmq.IDENTITY, routing_id(name, None if keys is None else keys.public))
    dealer.setsockopt(zmq.IMMEDIATE, 1)
    dealer.setsockopt(zmq.RECONNECT_IVL, 50)
    dealer.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
    if keys is not None and server is not None:
        dealer.curve_secretkey = keys.secret
        dealer.curve_publickey = keys.public
        dealer.curve_serverkey = server  # pyright: ignore[reportGeneralTypeIssues]
    return dealer


def tune(opened: Socket) -> None:
    """Set what every socket has: bounds, no lingering, signs of life."""
    opened.setsockopt(zmq.SNDHWM, HWM)
    opened.setsockopt(zmq.RCVHWM, HWM)
    opened.setsockopt(zmq.LINGER, 0)
    opened.setsockopt(zmq.MAXMSGSIZE, codec.LIMIT)
    opened.setsockopt(zmq.TCP_KEEPALIVE, 1)
    opened.setsockopt(zmq.HEARTBEAT_IVL, 1000)
    opened.setsockopt(zmq.HEARTBEAT_TIMEOUT, 3000)
