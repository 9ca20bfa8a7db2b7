"""Direct frames over ZeroMQ: one ROUTER for those who dial us, one DEALER to each peer, CURVE on both."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import zmq
from zmq.utils.monitor import recv_monitor_message

from qts_core.errors import ConfigError
from qts_messaging import codec
from qts_messaging.bus import Sink
from qts_messaging.keys import CurveKeys
from qts_messaging.seldom import Seldom
from qts_messaging.zap import Curtain

_log = logging.getLogger(__name__)
HWM = 1000
LINGER_MS = 200  # after our own drain: what libzmq still holds may leave, nothing waits for it
BIND_TRIES = 10  # 0.1 s apart
TURN = 256  # frames read before the loop gets its turn
EVENTS, POLLIN, DONTWAIT = int(zmq.EVENTS), int(zmq.POLLIN), int(zmq.DONTWAIT)  # plain: asked at every frame
Socket = zmq.Socket[bytes]


class ZeroMQ:
    """The direct wire of one process."""

    simulated = False

    def __init__(self, name: str, bind: str | None, peers: dict[str, str], keys: CurveKeys | None) -> None:
        self._name, self._bind, self._keys = name, bind, keys
        self._addresses = {peer: address for peer, address in peers.items() if peer != name}
        self._curtain = Curtain.shared()
        self._domain = self._curtain.domain()
        self._router: Socket | None = None
        self._dealers: dict[str, Socket] = {}
        self._monitors: dict[str, Socket] = {}
        self._connected: set[str] = set()
        self._callers: set[str] = set()  # peers heard on the ROUTER under their own name
        self._impostors: set[str] = set()  # names that somebody else's key has used there
        self._sink: Sink | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._again: dict[int, asyncio.Handle] = {}
        self._paused = False
        self._seldom = Seldom()
        self.handshakes_failed = 0

    # -- life ---------------------------------------------------------------------------------------
    async def start(self, sink: Sink) -> None:
        """Bind the ROUTER, dial every peer; ConfigError when the address is taken."""
        self._sink, self._loop = sink, asyncio.get_running_loop()
        if self._keys is not None:
            self._curtain.gate.admit(self._domain, self._keys.allowed())
        if self._bind is not None:
            self._router = await self._bound(self._bind)
            self._watch(self._router, self._read_router)
        for peer, address in self._addresses.items():
            dealer = self._open_dealer(peer, address)
            if dealer is not None:
                self._dealers[peer] = dealer
                self._watch(dealer, self._reader(peer))

    async def close(self) -> None:
        """Close every socket; what libzmq holds has 0.2 s to leave."""
        for handle in self._again.values():
            handle.cancel()
        for monitor in self._monitors.values():
            self._unwatch(monitor)
        for peer, dealer in self._dealers.items():
            self._unwatch(dealer)
            dealer.disable_monitor()
            self._monitors[peer].close(linger=0)
            dealer.close(linger=LINGER_MS)
        if self._router is not None:
            self._unwatch(self._router)
            self._router.close(linger=LINGER_MS)
        self._dealers, self._monitors, self._router = {}, {}, None
        self._connected.clear()
        self._curtain.gate.withdraw(self._domain)

    async def _bound(self, address: str) -> Socket:
        """Return the socket that others dial; a predecessor's port may take a moment to be free."""
        router = self._open_router()
        for left in range(BIND_TRIES, -1, -1):
            try:
                router.bind(address)
                break
            except zmq.ZMQError as error:
                if error.errno != zmq.EADDRINUSE or not left:
                    router.close(linger=0)
                    text = f"{address}: the port is taken; choose another port in zmq_ports"
                    raise ConfigError(text) from error
            await asyncio.sleep(0.1)
        return router

    def _open_router(self) -> Socket:
        """Make the socket that others dial."""
        router = self._curtain.context.socket(zmq.ROUTER)
        self._tune(router)
        router.setsockopt(zmq.ROUTER_MANDATORY, 1)
        router.setsockopt(zmq.ROUTER_HANDOVER, 1)  # a restarted peer takes its name over
        router.setsockopt(zmq.IDENTITY, self._name.encode())
        if self._keys is not None:
            router.curve_secretkey = self._keys.secret
            router.curve_publickey = self._keys.public
            router.curve_server = True
            router.setsockopt(zmq.ZAP_DOMAIN, self._domain)
            router.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)  # without an answering gate nobody gets in
        return router

    def _open_dealer(self, peer: str, address: str) -> Socket | None:
        """Dial one peer; without its public key it cannot be trusted and is left out."""
        server = () if self._keys is None else self._keys.peers.get(peer, ())
        if self._keys is not None and not server:
            _log.error("no public key of %s: it is not dialled", peer)
            return None
        dealer = self._curtain.context.socket(zmq.DEALER)
        self._tune(dealer)
        dealer.setsockopt(zmq.IDENTITY, self._name.encode())
        dealer.setsockopt(zmq.IMMEDIATE, 1)
        dealer.setsockopt(zmq.RECONNECT_IVL, 50)
        dealer.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
        if self._keys is not None:
            dealer.curve_secretkey = self._keys.secret
            dealer.curve_publickey = self._keys.public
            dealer.curve_serverkey = server[0]  # pyright: ignore[reportGeneralTypeIssues]
        monitor = dealer.get_monitor_socket(
            zmq.EVENT_HANDSHAKE_SUCCEEDED
            | zmq.EVENT_DISCONNECTED
            | zmq.EVENT_HANDSHAKE_FAILED_AUTH
            | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
        )
        self._monitors[peer] = monitor
        self._watch(monitor, self._monitor_reader(peer))
        dealer.connect(address)
        return dealer

    def _tune(self, socket: Socket) -> None:
        """Set what every socket has: bounds, no lingering, signs of life."""
        socket.setsockopt(zmq.SNDHWM, HWM)
        socket.setsockopt(zmq.RCVHWM, HWM)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.MAXMSGSIZE, codec.LIMIT)
        socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
        socket.setsockopt(zmq.HEARTBEAT_IVL, 1000)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 3000)

    # -- sending ------------------------------------------------------------------------------------
    @property
    def up(self) -> bool:
        """Tell whether the sockets are open."""
        return self._router is not None or bool(self._dealers)

    @property
    def refused(self) -> int:
        """Return how many connections were refused for their key, here and at those we dialled."""
        return self.handshakes_failed + self._curtain.gate.refused.get(self._domain, 0)

    def reachable(self, peer: str) -> bool:
        """Tell whether a connection that `send` would use stands."""
        return peer in self._connected or (peer not in self._dealers and peer in self._callers)

    def send(self, peer: str, frame: bytes) -> bool:
        """Hand a frame over without waiting: to whom we dial, or to who dialled us and cannot be dialled."""
        if self._loop is None:
            return False
        dealer = self._dealers.get(peer)
        if dealer is not None:  # its server key is proven; a routing id is only claimed
            return self._try(dealer, frame)
        if self._router is None or peer in self._impostors:
            return False
        return self._try(self._router, frame, peer)

    def _try(self, socket: Socket, frame: bytes, caller: str | None = None) -> bool:
        """Send without waiting; afterwards look at EVENTS again, as sending may have eaten the edge."""
        try:
            if caller is None:
                socket.send(frame, DONTWAIT)
            else:
                socket.send_multipart([caller.encode(), frame], DONTWAIT)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EHOSTUNREACH, zmq.ENOTSOCK, zmq.ETERM):
                _log.warning("sending failed: %s", error)
            if caller is not None:
                self._callers.discard(caller)
            return False
        if _readable(socket):
            self._soon(socket)
        return True

    # -- receiving ----------------------------------------------------------------------------------
    def _watch(self, socket: Socket, read: Callable[[], None]) -> None:
        """Read `socket` whenever its descriptor wakes."""
        assert self._loop is not None  # noqa: S101 - set in start
        self._loop.add_reader(socket.fileno(), read)
        self._loop.call_soon(read)

    def _unwatch(self, socket: Socket) -> None:
        if self._loop is not None and not socket.closed:
            self._loop.remove_reader(socket.fileno())

    def _soon(self, socket: Socket) -> None:
        """Read once more in the loop's next turn."""
        key = id(socket)
        if self._loop is None or key in self._again or socket.closed:
            return
        peer = next((p for p, dealer in self._dealers.items() if dealer is socket), None)
        read = self._read_router if peer is None else self._reader(peer)

        def turn() -> None:
            self._again.pop(key, None)
            read()

        self._again[key] = self._loop.call_soon(turn)

    def resume(self) -> None:
        """Read again after the inbox was full."""
        if self._paused:
            self._paused = False
            for socket in (self._router, *self._dealers.values()):
                if socket is not None:
                    self._soon(socket)

    def _read_router(self) -> None:
        """Take frames of those who dialled us; the routing id is the name the gate has proven."""
        router = self._router
        if router is not None:
            self._drain(router, None)

    def _reader(self, peer: str) -> Callable[[], None]:
        """Return what reads the connection to `peer`."""

        def read() -> None:
            dealer = self._dealers.get(peer)
            if dealer is not None:
                self._drain(dealer, peer)

        return read

    def _drain(self, socket: Socket, peer: str | None) -> None:
        """Read until nothing is left, a turn's worth, or no room."""
        sink = self._sink
        assert sink is not None  # noqa: S101 - set in start
        for _ in range(TURN):
            if not sink.room():
                self._paused = True
                return
            try:
                if not _readable(socket):
                    return
                self._take(sink, socket, peer)
            except zmq.Again:
                return
            except zmq.ZMQError as error:
                _log.warning("reading failed: %s", error)
                return
        self._soon(socket)

    def _take(self, sink: Sink, socket: Socket, peer: str | None) -> None:
        """Hand one message on with its proven sender; garbage of other shapes goes on to be counted."""
        claimed = b"" if peer is not None else socket.recv(DONTWAIT)
        frame = socket.recv(DONTWAIT, copy=False)
        body = b"" if frame.more else frame.bytes
        while frame.more:
            frame = socket.recv(DONTWAIT, copy=False)
        sink.arrived(body, self._caller(claimed.decode(errors="replace"), frame) if peer is None else peer)

    def _caller(self, claimed: str, frame: zmq.Frame) -> str:
        """Return who sent a frame to the ROUTER: the name of its key; claiming another's is noted."""
        if self._keys is None:
            self._callers.add(claimed)
            return claimed
        proven = str(frame.get("User-Id"))
        if proven == claimed:
            self._callers.add(claimed)
            self._impostors.discard(claimed)
        else:
            self._callers.discard(claimed)
            self._impostors.add(claimed)
        return proven

    # -- connections --------------------------------------------------------------------------------
    def _monitor_reader(self, peer: str) -> Callable[[], None]:
        """Return what follows the state of the connection to `peer`."""

        def read() -> None:
            monitor = self._monitors.get(peer)
            while monitor is not None and not monitor.closed and _readable(monitor):
                event = recv_monitor_message(monitor, zmq.DONTWAIT)["event"]
                self._connection(peer, event)

        return read

    def _connection(self, peer: str, event: int) -> None:
        """Take one event of a connection."""
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._connected.add(peer)
        else:
            self._connected.discard(peer)
            if event != zmq.EVENT_DISCONNECTED:
                self.handshakes_failed += 1
                if self._seldom.due(peer, time.monotonic()) is not None:
                    _log.warning("handshake with %s failed: keys of both sides do not match", peer)


def _readable(socket: Socket) -> bool:
    """Tell whether a frame waits."""
    return bool(int(socket.getsockopt(EVENTS)) & POLLIN)
