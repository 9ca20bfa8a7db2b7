"""How a ROUTER and a DEALER are opened: bounds, signs of life, CURVE, and one port for two keys."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from urllib.parse import urlsplit

import msgspec
import zmq

from qts_core.errors import ConfigError
from qts_messaging import codec
from qts_messaging.keys import CurveKeys

_log = logging.getLogger(__name__)
HWM = 1000
BACKLOG = 128
FRAME = 2 * codec.LIMIT  # beyond it libzmq ends the connection by the length alone; between, the codec counts
BIND_TRIES = 10  # 0.1 s apart
POLLIN = int(zmq.POLLIN)  # plain: asked at every frame
MONITORED = (  # of a line
    zmq.EVENT_CONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
)
MARK = b"~"  # between a name and its key in a routing id; not in the alphabet of keys
Socket = zmq.Socket[bytes]
Port = socket.socket


class Line(msgspec.Struct, eq=False):
    """One connection that we dial."""

    peer: str
    pair: tuple[bytes | None, bytes | None]  # own public key, server's key
    socket: Socket
    monitor: Socket
    endpoint: str = ""  # what the socket dials; "" while the peer's name has not been looked up
    left: str = ""  # what it dialled before: events of that may still come
    answered: bool = False  # somebody listens there
    connected: bool = False  # and has proved to be the peer
    idle_s: float | None = None  # since when it is neither wanted nor used
    since_s: float = 0.0  # when somebody answered last
    refused_s: float | None = None  # when its keys were refused; libzmq dials no more


class Router(msgspec.Struct, eq=False):
    """One socket that others dial, and the port it listens on."""

    public: bytes | None
    socket: Socket
    monitor: Socket
    port: Port
    dropped_s: float | None = None  # since when its key is no longer listed


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
    # who dials asks for signs of life; a ROUTER that asked would abort the process when a caller ends while
    # our queue is full: libzmq 4.3.5 beats on a connection it has given up (0009)
    dealer.setsockopt(zmq.HEARTBEAT_IVL, 1000)
    dealer.setsockopt(zmq.HEARTBEAT_TIMEOUT, 3000)
    dealer.setsockopt(zmq.HEARTBEAT_TTL, 3000)
    dealer.setsockopt(zmq.RECONNECT_IVL, 50)
    dealer.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
    if keys is not None and server is not None:
        dealer.curve_secretkey = keys.secret
        dealer.curve_publickey = keys.public
        dealer.curve_serverkey = server  # pyright: ignore[reportGeneralTypeIssues]
    return dealer


def tune(opened: Socket) -> None:
    """Set what every socket has: bounds, no lingering."""
    opened.setsockopt(zmq.SNDHWM, HWM)
    opened.setsockopt(zmq.RCVHWM, HWM)
    opened.setsockopt(zmq.LINGER, 0)
    opened.setsockopt(zmq.MAXMSGSIZE, FRAME)
    opened.setsockopt(zmq.TCP_KEEPALIVE, 1)


async def bound(address: str) -> Port:
    """Return a port that listens; a predecessor's port may take a moment to be free."""
    for left in range(BIND_TRIES, -1, -1):
        try:
            return listen(address)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not left:
                text = f"{address}: {error.strerror}; choose another port in zmq_ports"
                raise ConfigError(text) from error
        await asyncio.sleep(0.1)
    raise AssertionError  # the last try has raised


def readable(socket: Socket) -> bool:
    """Tell whether a frame waits; polling costs half of what asking for EVENTS does."""
    return bool(zmq.zmq_poll([(socket, POLLIN)], 0))


def failed(error: zmq.ZMQError) -> None:
    """Log why a frame was not taken, unless nobody stands there or its queue is full."""
    if error.errno not in (zmq.EAGAIN, zmq.EHOSTUNREACH, zmq.ENOTSOCK, zmq.ETERM):
        _log.warning("sending failed: %s", error)
