"""Direct frames over ZeroMQ: a ROUTER for those who dial us, a DEALER to each peer, CURVE on both.

While keys change there are two of each for a while: the old one ends when its key is no longer listed and
nothing needs it, so that no frame is under way on a connection that is closed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial

import zmq
from zmq.backend import Socket as BareSocket
from zmq.utils.monitor import recv_monitor_message

from qts_messaging.bus import Sink
from qts_messaging.keys import CurveKeys
from qts_messaging.refusals import KeyRefusals
from qts_messaging.zap import Curtain
from qts_messaging.zeromq_callers import Callers
from qts_messaging.zeromq_ends import PULSE_S, Ends
from qts_messaging.zeromq_names import Seeker
from qts_messaging.zeromq_refusals import Refused, stale
from qts_messaging.zeromq_sockets import (
    FRAME,
    MONITORED,
    Line,
    Port,
    Router,
    Socket,
    bound,
    failed,
    listen,
    open_dealer,
    open_router,
    readable,
)

_log = logging.getLogger(__name__)
LINGER_MS = 200  # after our own drain: what libzmq still holds may leave, nothing waits for it
TURN = 256  # frames read before the loop gets its turn
FEW = 3  # frames after each of which a reader looks for more; then an exception at the end costs less
GRACE_S = 3.0  # what was sent on an unwanted connection before its successor stood has arrived by then
OLD_ROUTER_S = 10.0  # after its key is dropped: peers have this long to be connected with the new one
LOOK_S = 0.01  # after sending to a peer that answers on our ROUTER
DONTWAIT = int(zmq.DONTWAIT)  # plain: asked at every frame
_send = BareSocket.send  # what zmq.Socket.send calls in the end


class ZeroMQ:
    """The direct wire of one process."""

    simulated = False

    def __init__(self, name: str, bind: str | None, peers: dict[str, str], keys: CurveKeys | None) -> None:
        self._name, self._bind, self._keys = name, bind, keys
        self._addresses = {peer: address for peer, address in peers.items() if peer != name}
        self._curtain = Curtain.shared()
        self._domain = self._curtain.domain()
        self._routers: list[Router] = []  # the newest first
        self._lines: dict[str, list[Line]] = {}  # the best key first
        self._seeker = Seeker(self._addresses, self._lines)
        self._dealers: dict[str, Socket] = {}  # the line in use
        self._connected: set[str] = set()
        self._ends = Ends(time.monotonic())
        self._callers = Callers(self._ends)
        self._pulse: asyncio.TimerHandle | None = None
        self._sink: Sink | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reads: dict[Socket, Callable[[], None]] = {}
        self._again: dict[Socket, asyncio.Handle] = {}
        self._looks: dict[Socket, asyncio.Handle] = {}
        self._paused = False
        self._refused = Refused(self._curtain.gate, self._domain, keys.remedy if keys else "")

    # -- life ---------------------------------------------------------------------------------------
    async def start(self, sink: Sink) -> None:
        """Bind the ROUTER, dial every peer; ConfigError when the address is taken."""
        self._sink, self._loop = sink, asyncio.get_running_loop()
        self._admit()
        if self._bind is not None:
            self._open_router(await bound(self._bind))
        for peer in self._addresses:
            self._dial(peer)
        self._seeker.start()
        self._beat()

    def _beat(self) -> None:
        """Let it be noticed when this process was held up."""
        assert self._loop is not None  # noqa: S101 - set in start
        self._ends.pulse(time.monotonic())
        self._pulse = self._loop.call_later(PULSE_S, self._beat)

    async def close(self) -> None:
        """Close every socket; what libzmq holds has 0.2 s to leave."""
        await self._seeker.close()
        if self._pulse is not None:
            self._pulse.cancel()
        for line in [line for lines in self._lines.values() for line in lines]:
            self._end(line.socket, line.monitor, LINGER_MS)
        for router in list(self._routers):
            self._shut(router)
        self._lines, self._dealers = {}, {}
        self._connected.clear()
        self._callers.clear()
        self._curtain.gate.withdraw(self._domain)

    def _admit(self) -> None:
        """Let the holders of listed keys connect and speak, and nobody else."""
        if self._keys is not None:
            allowed = self._keys.allowed()
            self._callers.admit(allowed)
            self._curtain.gate.admit(self._domain, allowed)

    def _open_router(self, port: Port) -> None:
        """Let others dial us with the keys of now."""
        keys = self._keys
        opened = open_router(self._curtain.context, self._name, keys, self._domain, port)
        monitor = opened.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_DISCONNECTED)
        router = Router(None if keys is None else keys.public, opened, monitor, port)
        self._routers.insert(0, router)
        self._watch(monitor, lambda: self._ended(monitor))
        self._watch(opened, partial(self._drain, opened, None))

    def _shut(self, router: Router) -> None:
        """Close a ROUTER and its port."""
        self._routers.remove(router)
        self._callers.forget(router.socket)
        router.port.close()
        self._end(router.socket, router.monitor, LINGER_MS)

    def _dial(self, peer: str) -> None:
        """Open what is missing of: a line for each key the peer may have now, with our own key of now."""
        keys, held = self._keys, self._lines.get(peer, [])
        servers = (None,) if keys is None else keys.peers.get(peer, ())
        if not servers:
            _log.error("no public key of %s: it is not dialled", peer)
        pairs = [(None if keys is None else keys.public, server) for server in servers]
        wanted = [
            next((li for li in held if li.pair == pair), None) or self._open(peer, pair) for pair in pairs
        ]
        self._lines[peer] = wanted + [line for line in held if line not in wanted]
        self._choose(peer)

    def _open(self, peer: str, pair: tuple[bytes | None, bytes | None]) -> Line:
        """Dial one peer with one pair of keys."""
        dealer = open_dealer(self._curtain.context, self._name, self._keys, pair[1])
        line = Line(peer, pair, dealer, dealer.get_monitor_socket(MONITORED))
        self._watch(line.monitor, lambda: self._events(line))
        self._watch(dealer, partial(self._drain, dealer, peer))
        self._seeker.dial(line)
        return line

    def _end(self, socket: Socket, monitor: Socket, linger_ms: int) -> None:
        """Close a socket and what tells of its connections."""
        self._unwatch(monitor)
        self._unwatch(socket)
        self._ends.release(socket)
        socket.disable_monitor()
        monitor.close(linger=0)
        socket.close(linger=linger_ms)

    def _choose(self, peer: str) -> None:
        """Send on the first line that stands; keep the last one in use while none does."""
        lines = self._lines[peer]
        best = next((line for line in lines if line.connected), None)
        if best is None:
            self._connected.discard(peer)
            if not lines:
                self._dealers.pop(peer, None)
            elif self._dealers.get(peer) not in [line.socket for line in lines]:
                self._dealers[peer] = lines[0].socket
        else:
            self._connected.add(peer)
            self._dealers[peer] = best.socket

    # -- keys ---------------------------------------------------------------------------------------
    def renew(self, keys: CurveKeys) -> None:
        """Use other keys from now on; what stands is kept until its successor stands. OSError: try again."""
        self._keys = keys
        if self._loop is None:  # it has not begun
            return
        self._admit()
        if self._bind is not None and self._routers[0].public != keys.public:
            self._open_router(listen(self._bind, self._routers[0].port))
        for peer in self._addresses:
            self._dial(peer)

    @property
    def settled(self) -> bool:
        """Tell whether everything that stands uses our newest key."""
        own = None if self._keys is None else self._keys.public
        used = [next((li for li in lines if li.connected), None) for lines in self._lines.values()]
        bound = not self._routers or self._routers[0].public == own
        return bound and all(line is None or line.pair[0] == own for line in used)

    def tidy(self, now_s: float) -> None:
        """Close what is no longer wanted, once its successor has stood for a while; call once a second."""
        keys = self._keys
        if keys is None:
            return
        own = keys.peers.get(self._name, (keys.public,))
        for router in self._routers[1:]:
            if router.public in own:
                router.dropped_s = None
            elif router.dropped_s is None:
                router.dropped_s = now_s
            elif now_s - router.dropped_s >= OLD_ROUTER_S and not self._paused:
                self._drain(router.socket, None)
                self._shut(router)
        for peer, lines in self._lines.items():
            pairs = [(keys.public, server) for server in keys.peers.get(peer, ())]
            for line in list(lines):
                if line.pair not in pairs:
                    self._retire(line, now_s)
                elif stale(line, now_s):
                    self._anew(line)

    def _retire(self, line: Line, now_s: float) -> None:
        """Close an unwanted line that has not been used for a while."""
        lines = self._lines[line.peer]
        if line.connected and self._dealers[line.peer] is line.socket:
            line.idle_s = None
        elif line.idle_s is None:
            line.idle_s = now_s
        elif now_s - line.idle_s >= GRACE_S and not self._paused:
            self._drain(line.socket, line.peer)
            lines.remove(line)
            self._end(line.socket, line.monitor, 0)
            self._choose(line.peer)

    # -- sending ------------------------------------------------------------------------------------
    @property
    def up(self) -> bool:
        """Tell whether the sockets are open."""
        return bool(self._routers or self._dealers)

    @property
    def refusals(self) -> KeyRefusals:
        """Return whom wrong keys keep apart from this process."""
        return self._refused.found(self._lines, self._connected)

    def reachable(self, peer: str) -> bool:
        """Tell whether a connection that `send` would use stands."""
        return peer in self._connected or (peer not in self._dealers and peer in self._callers)

    def send(self, peer: str, frame: bytes) -> bool:
        """Hand a frame over without waiting: to whom we dial, or to who dialled us and cannot be dialled."""
        dealer, loop = self._dealers.get(peer), self._loop
        if dealer is None:
            return self._send_back(peer, frame)
        try:  # its server key is proven; a routing id is only claimed
            _send(dealer, frame, DONTWAIT)
        except zmq.ZMQError as error:
            failed(error)
            return False
        if self._bind is None:  # sending may have eaten the edge: peers answer here
            if readable(dealer):
                self._soon(dealer)
        elif dealer not in self._looks and loop is not None:  # they answer on our ROUTER: one look is enough
            self._looks[dealer] = loop.call_later(LOOK_S, self._look, dealer)
        return True

    def _send_back(self, peer: str, frame: bytes) -> bool:
        """Send to a peer that dials us, where it was heard, else wherever it can be."""
        if self._loop is None:
            return False
        for router, routing in self._callers.ways_back(peer, self._routers, self._keys):
            try:
                router.send_multipart([routing, frame], DONTWAIT)
            except zmq.ZMQError as error:
                failed(error)
                if error.errno != zmq.EAGAIN:
                    self._callers.lost(peer)
                continue
            if readable(router):  # sending may have eaten the edge
                self._soon(router)
            return True
        return False

    def _look(self, socket: Socket) -> None:
        """Read what arrived while we sent."""
        self._looks.pop(socket, None)
        read = self._reads.get(socket)
        if read is not None and readable(socket):
            read()

    # -- receiving ----------------------------------------------------------------------------------
    def _watch(self, socket: Socket, read: Callable[[], None]) -> None:
        """Read `socket` whenever its descriptor wakes."""
        assert self._loop is not None  # noqa: S101 - set in start
        self._reads[socket] = read
        self._loop.add_reader(socket.fileno(), read)
        self._soon(socket)

    def _unwatch(self, socket: Socket) -> None:
        """Read a socket no more."""
        self._reads.pop(socket, None)
        for handles in (self._again, self._looks):
            handle = handles.pop(socket, None)
            if handle is not None:
                handle.cancel()
        if self._loop is not None and not socket.closed:
            self._loop.remove_reader(socket.fileno())

    def _soon(self, socket: Socket) -> None:
        """Read once more in the loop's next turn."""
        read = self._reads.get(socket)
        if self._loop is None or read is None or socket in self._again:
            return

        def turn() -> None:
            self._again.pop(socket, None)
            read()

        self._again[socket] = self._loop.call_soon(turn)

    def resume(self) -> None:
        """Read again after the inbox was full."""
        if self._paused:
            self._paused = False
            for socket in list(self._reads):
                self._soon(socket)

    def _drain(self, socket: Socket, peer: str | None) -> None:
        """Read until nothing is left or a turn's worth; from those who dial us while there is room.

        What comes on a line that beats must not wait (0009): the inbox drops and counts it where it is full.
        """
        sink, who = self._sink, self._callers.who
        assert sink is not None  # noqa: S101 - set in start
        for count in range(TURN):
            if peer is None and not sink.room():
                self._paused = True
                readable(socket)  # takes the signal, or the loop would be woken for it in every turn
                return
            try:
                claimed = b"" if peer is not None else socket.recv(DONTWAIT)
                frame = socket.recv(DONTWAIT, copy=False)
                body = frame.bytes
                while frame.more:  # garbage of other shapes goes on to be counted
                    body, frame = b"", socket.recv(DONTWAIT, copy=False)
                sink.arrived(body, who(socket, claimed, frame) if peer is None else peer)
                if count < FEW and not readable(socket):
                    return
                if count == 0:
                    sink.rush()
            except zmq.ZMQError as error:
                if error.errno != zmq.EAGAIN:
                    _log.warning("reading failed: %s", error)
                return
        self._soon(socket)

    # -- connections --------------------------------------------------------------------------------
    def _events(self, line: Line) -> None:
        """Follow the state of one line."""
        while not line.monitor.closed and readable(line.monitor):
            told = recv_monitor_message(line.monitor, zmq.DONTWAIT)
            event, of = told["event"], told["endpoint"].decode(errors="replace")
            if of == line.left != line.endpoint:
                continue  # it was on its way when the line moved on
            self._refused.follow(line, event, time.monotonic())
            stood, line.connected = line.connected, event == zmq.EVENT_HANDSHAKE_SUCCEEDED
            line.answered = event in (zmq.EVENT_CONNECTED, zmq.EVENT_HANDSHAKE_SUCCEEDED)
            self._choose(line.peer)
            if event == zmq.EVENT_CONNECTED:
                self._ends.hold(int(told["value"]), line.peer, line.socket)
            elif event == zmq.EVENT_DISCONNECTED:
                self._cut(int(told["value"]), proven=stood)
            elif event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL and stood:
                self._anew(line)  # libzmq would hold on to it for seconds

    def _anew(self, line: Line) -> None:
        """Dial with a new socket instead of one that has come to nothing."""
        self._lines[line.peer].remove(line)
        self._end(line.socket, line.monitor, 0)
        self._dial(line.peer)

    def _ended(self, monitor: Socket) -> None:
        """Count connections to our port of which libzmq takes no more, and which end within its time-out."""
        while not monitor.closed and readable(monitor):
            told = recv_monitor_message(monitor, zmq.DONTWAIT)
            if told["event"] == zmq.EVENT_DISCONNECTED:
                self._cut(int(told["value"]), proven=True)
            else:
                self._ends.doubt(time.monotonic())
                self._refused.caller()

    def _cut(self, descriptor: int, proven: bool) -> None:
        """Take the end of a connection; a frame that libzmq did not take in is told of like others."""
        peer = self._callers.ended(descriptor)
        if peer and proven and self._sink is not None:
            self._sink.offence("too_large", f"more than {FRAME} bytes were announced", peer)
