"""Durable messages over Redis Streams: one group an agent, handled then acknowledged; the market snapshot."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from redis.exceptions import ResponseError

from qts_messaging import snapshot
from qts_messaging.backlog import Backlog
from qts_messaging.bus import Sink
from qts_messaging.dead_letters import AGAIN, FIELD
from qts_messaging.ending import end, for_ever
from qts_messaging.eviction import LOOK_S, evicts
from qts_messaging.in_hand import OK, InHand
from qts_messaging.reading_groups import make_groups
from qts_messaging.reconnect import Backoff
from qts_messaging.redis_connection import AWAY, SOCKET_TIMEOUT_S, accepted, shut
from qts_messaging.redis_line import Command
from qts_messaging.redis_names import RedisNames, writer
from qts_messaging.redis_refusals import Refusals
from qts_messaging.stored import Stored
from qts_messaging.trespass import Trespass, astray, entries
from qts_messaging.trimming import trim_all

_log = logging.getLogger(__name__)
COUNT, BLOCK_MS = 64, 1000
CLAIM_IDLE_MS = 5_000
PAGE = 256  # of what was given and not acknowledged, taken up at once
CLAIM_S, TRIM_S = 2.5, 10.0
ACK_S = 0.02
DELIVERIES = 5
RENEW_STEPS = 100  # of 50 ms: how long the reader may take to end its wait
Fields = dict[bytes, bytes] | None


class RedisStreams:
    """The durable wire of one process."""

    def __init__(
        self,
        connect: Callable[[float], Any],
        names: RedisNames,
        senders: Sequence[str],
        trims: bool,
        gone: frozenset[str] = frozenset(),
    ) -> None:
        self._connect, self._names, self._name, self._trims = connect, names, names.name, trims
        self._gone = gone
        self._own = names.stream(names.name)
        self._others = tuple(dict.fromkeys(names.stream(each) for each in senders if each != names.name))
        self._keys = (self._own, *self._others)
        self._commands: Any = None
        self._tasks: list[asyncio.Task[None]] = []
        self._hand = InHand(names.name, names.dead)
        self._stored = Stored(self._own)
        self._run_id = b""
        self._starts = 0  # of the server, noticed: what was asked before one may be answered by the former
        self.wiped = False
        self._reading: Any = None  # the client that waits for new entries
        self._turn = False  # it shall log in anew
        self._sink: Sink | None = None
        self._trespass = Trespass(names.name)
        self._refused = Refusals()
        self.up = False
        self.evicts = ""
        self.claimed = 0
        self.backlog: dict[str, Backlog] = {}
        self.trimmed: dict[str, int] = {}

    @property
    def refuses(self) -> dict[str, str]:
        """Return kind → what the server refuses, in plain words."""
        return self._refused.found

    @property
    def dead_letters(self) -> int:
        """Return how many entries no handler of ours could take."""
        return self._hand.dead_letters

    # -- life ---------------------------------------------------------------------------------------
    async def start(self, sink: Sink) -> None:
        """Begin to read, acknowledge, claim and reconnect, in the background."""
        self._sink = sink
        runs = (functools.partial(self._read, sink), self._acknowledge, functools.partial(self._keep, sink))
        self._tasks = [asyncio.create_task(for_ever(run)) for run in runs]

    async def close(self) -> None:
        """Acknowledge what was handled and end."""
        await end(self._tasks)
        while self.up and self._hand.waiting and await self._flush():
            pass
        self.up = False
        await shut(self._commands)

    async def renew(self) -> None:
        """Log in anew on both connections; the old ones end after what they are doing."""
        if not self._tasks:  # it has not begun, and will log in with what is new by then
            return
        fresh = await accepted(self._connect(SOCKET_TIMEOUT_S))
        before, self._commands = self._commands, fresh
        reading, self._turn = self._reading, True
        try:
            for _ in range(RENEW_STEPS):
                if self._reading is not reading:
                    break
                await asyncio.sleep(0.05)
            await asyncio.sleep(SOCKET_TIMEOUT_S)  # commands under way end
        finally:
            await shut(before)

    async def _client(self) -> Any:
        """Return the command client."""
        if self._commands is None:
            self._commands = self._connect(SOCKET_TIMEOUT_S)
        return self._commands

    async def _keep(self, sink: Sink) -> None:
        """Hold the connection, look after our own stream, trim if that is our duty."""
        backoff, trimmed_at, claimed_at, looked_at = Backoff(), 0.0, 0.0, 0.0
        loop, greeted = asyncio.get_running_loop(), (None, 0)
        while True:
            try:
                client = await self._client()
                await client.ask(("PING",))
                if not self.up or greeted != (client, client.lines):
                    greeted = (client, client.lines)
                    await self._greet(client)
                    self.up = True
                    backoff.reset()
                    await self._pending(client, sink, (self._own,))
                if loop.time() - claimed_at >= CLAIM_S and sink.room():
                    claimed_at = loop.time()
                    await self._claim(client, sink, (self._own,))
                await self._own_words(client, sink)
                if self._trims and loop.time() - trimmed_at >= TRIM_S:
                    trimmed_at = loop.time()
                    self.backlog = await trim_all(client, self._keys, self.trimmed, self._gone)
                if loop.time() - looked_at >= LOOK_S:
                    looked_at = loop.time()
                    self.evicts = await evicts(client)
                self._refused.over("keep")
                await asyncio.sleep(0.5)
            except AWAY as error:
                self._miss(error)
                self._lost("keep", error)
                await asyncio.sleep(backoff.next(random.random()))

    def _miss(self, error: BaseException) -> None:
        """Note that what we stored is gone where a group of ours is."""
        self.wiped = (str(error).startswith("NOGROUP") and self._stored.forget()) or self.wiped

    def _lost(self, part: str, error: BaseException) -> None:
        """Note that the server is away or refuses."""
        if self._refused.note(part, error) and self.up:
            _log.warning("streams are away: %.200s", error)
        self.up = False

    @contextlib.contextmanager
    def _minding(self, part: str) -> Iterator[None]:
        """Note whether `part` succeeds; who is away or refuses ends the block, and no more."""
        try:
            yield
        except AWAY as error:
            self._lost(part, error)
        else:
            self._refused.over(part)

    async def _greet(self, client: Any) -> None:
        """Make the groups; find out whether the server forgot what we stored."""
        run_id = await self._run(client)
        if self._run_id and run_id != self._run_id:
            self._starts += 1
            self.wiped = await self._stored.lost(client) or self.wiped
            self._hand.doubt()
        self._run_id = run_id
        await make_groups(client, self._keys, self._name)

    async def _run(self, client: Any) -> bytes:
        """Return what tells one start of the server from another."""
        return str((await client.info("server")).get("run_id", "")).encode()

    # -- writing ------------------------------------------------------------------------------------
    async def append(self, batch: Sequence[tuple[str, bytes]]) -> bool:
        """Store (topic, frame) in order; False when that is not certain (the ids make a second try safe)."""
        with self._minding("store"):
            client, starts = await self._client(), self._starts
            stored = await client.ask(*(("XADD", self._own, "*", FIELD, frame) for _, frame in batch))
            if starts != self._starts:  # by a server that is gone, and may have taken it with it
                return False
            self._stored.note(stored)
            return True
        return False

    # -- reading ------------------------------------------------------------------------------------
    async def _read(self, sink: Sink) -> None:
        """Read for ever: first what this name was given and never acknowledged, then what is new.

        Who reads a stream also claims in it, with the same client: no answer to a read comes after that to a
        later claim, whose entry may be handled and acknowledged by then. Begins anew with the server.
        """
        backoff, loop = Backoff(), asyncio.get_running_loop()
        while True:
            self._turn = False
            client = self._reading = self._connect(BLOCK_MS / 1000 + SOCKET_TIMEOUT_S)
            try:
                await self._greet(client)
                starts = self._starts
                await self._trespass.begin(client, self._others)
                await self._pending(client, sink, self._others)
                backoff.reset()
                looked = loop.time()
                while not self._turn and starts == self._starts:
                    await self._next(client, sink)
                    self._refused.over("read")
                    if loop.time() - looked >= CLAIM_S:
                        looked = loop.time()
                        await self._look(client, sink)
                        await self._claim(client, sink, self._others)
                continue
            except ResponseError as error:
                if self._refused.note("read", error):  # once: it is tried again as long as it is refused
                    _log.warning("groups are made again: %.200s", error)
                self._miss(error)
            except AWAY as error:
                self._refused.note("read", error)
                _log.debug("stream reader: %s", error)
            finally:
                await shut(client)
            await asyncio.sleep(backoff.next(random.random()))

    async def _next(self, client: Any, sink: Sink) -> None:
        """Read one batch of new entries; wait while the inbox is full."""
        while not sink.room():
            await asyncio.sleep(0.01)
        if not self._others:
            await asyncio.sleep(BLOCK_MS / 1000)
            return
        for key, found in await self._new(client, self._others, ("BLOCK", BLOCK_MS)):
            self._trespass.took(key, len(found))
            self._hand_over(key, found, sink)

    async def _new(
        self, client: Any, keys: Sequence[str], wait: Command = ()
    ) -> list[tuple[str, list[tuple[bytes, Fields]]]]:
        """Return (key, entries) of what our group has not been given yet."""
        starts = self._starts
        group: Command = ("XREADGROUP", "GROUP", self._name, self._name, "COUNT", COUNT)
        (answer,) = await client.ask((*group, *wait, "STREAMS", *keys, *(">" for _ in keys)))
        found = [(key.decode(), [_entry(each) for each in entries]) for key, entries in answer or ()]
        for key, some in found:
            self._given(starts, key, some)
        return found

    def _given(self, starts: int, key: str, found: Sequence[tuple[bytes, Fields]]) -> None:
        """Doubt what was given in answer to a question that may have gone to a former start of the server."""
        if starts != self._starts:
            self._hand.doubt((key, entry) for entry, _ in found)

    async def _look(self, client: Any, sink: Sink) -> None:
        """Notice that another was given messages in our group, and handle them all the same."""
        for stolen in await self._trespass.look(client, self._others):
            astray_now = await astray(client, self._name, stolen)
            count = stolen.count - len(astray_now - self._hand.of(stolen.key))
            if count > 0:
                text = f"read in our group of {stolen.key} under the name {', '.join(stolen.by) or 'our own'}"
                sink.offence("trespass", text, stolen.by[0] if stolen.by else "", count)
            found = await entries(client, stolen)
            self._hand.doubt((stolen.key, entry) for entry, _ in found)
            self._hand_over(stolen.key, found, sink)

    async def _own_words(self, client: Any, sink: Sink) -> None:
        """Read what we stored ourselves, now and then: for the sake of dead letters that are driven again.

        Who waited for it would be woken by each of its own messages, while it waits for that to be stored.
        """
        while sink.room():
            found = [entry for _, some in await self._new(client, (self._own,)) for entry in some]
            self._hand_over(self._own, found, sink)
            if len(found) < COUNT:
                return

    async def _pending(self, client: Any, sink: Sink, keys: Sequence[str]) -> None:
        """Take up what an earlier process of this name was given; what failed five times goes to `dead`."""
        for key in keys:
            after = "-"
            while page := await client.xpending_range(key, self._name, after, "+", PAGE, self._name):
                while not sink.room():
                    await asyncio.sleep(0.01)
                await self._take_up(client, key, page, 0, sink)
                after = f"({page[-1]['message_id'].decode()}"

    async def _claim(self, client: Any, sink: Sink, keys: Sequence[str]) -> None:
        """Take over entries another consumer of our group has left for 5 s."""
        pipe = client.pipeline(transaction=False)
        for key in keys:
            pipe.xpending_range(key, self._name, "-", "+", COUNT, idle=CLAIM_IDLE_MS)
        for key, idle in zip(keys, await pipe.execute(), strict=True):
            self.claimed += await self._take_up(client, key, idle, CLAIM_IDLE_MS, sink)

    async def _take_up(self, client: Any, key: str, waiting: Any, idle_ms: int, sink: Sink) -> int:
        """Claim what is not in our hands; hand it over again, or to the dead letters after five deliveries.

        What is in our hands stays so: its acknowledgement may be under way, and a claim of what was cut ends
        its delivery.
        """
        times = {each["message_id"]: int(each["times_delivered"]) for each in waiting}
        if not (taken := [entry for entry in times if (key, entry) not in self._hand]):
            return 0
        starts = self._starts
        found = await client.xclaim(key, self._name, self._name, idle_ms, taken)
        self._given(starts, key, found)
        self._trespass.took_up(key, waiting, found)
        for entry, fields in found:
            if times[entry] >= DELIVERIES:
                self._hand.take(key, entry)(f"delivered {times[entry]} times, never handled")
            else:
                self._hand_over(key, [(entry, fields)], sink)
        return len(found)

    def _hand_over(self, key: str, found: Any, sink: Sink) -> None:
        """Give entries to the sink; each is acknowledged when it has ended."""
        for entry, fields in found:
            if (key, entry) in self._hand:
                continue
            done = self._hand.take(key, entry)
            frame, again = (fields or {}).get(FIELD, b""), (fields or {}).get(AGAIN)
            if (again is None) == (key == self._own):
                done(OK)  # our own words; a dead letter that failed elsewhere
            elif again is None:
                sink.arrived(frame, writer(key), done)
            else:  # nobody else may write to our stream
                sink.again(frame, done)

    async def _acknowledge(self) -> None:
        """Acknowledge in batches what was handled, a moment later: more comes with it."""
        some = self._hand.some
        while True:
            await some.wait()
            await asyncio.sleep(ACK_S)
            some.clear()
            if not await self._flush():
                await asyncio.sleep(0.2)
                some.set()

    async def _flush(self) -> bool:
        """Send acknowledgements that wait; False where they should be tried again later."""
        run = self._run_id
        try:
            client = await self._client()
            missing = await self._hand.acknowledge(client)
            if missing > 0 and self._sink and await self._run(client) == run:
                self._sink.offence("trespass", "acknowledged in our group by another", "", missing)
        except ResponseError as error:
            if str(error).startswith("NOGROUP"):
                return True
            if self._refused.note("acknowledge", error):
                _log.error("acknowledging failed: %.200s", error)
            return False
        except AWAY as error:
            self._lost("acknowledge", error)
            return False
        self._refused.over("acknowledge")
        return True

    # -- market snapshot ----------------------------------------------------------------------------
    async def remember(self, bodies: Sequence[bytes]) -> bool:
        """Append to the market snapshot, of 4,096 entries or 64 MiB."""
        with self._minding("snapshot"):
            await snapshot.remember(await self._client(), self._names.market, bodies)
            return True
        return False

    async def recall(self, count: int) -> list[bytes]:
        """Return the newest entries of the market snapshot, oldest first; [] when out of reach."""
        found: list[bytes] = []
        with self._minding("snapshot"):
            async for body in snapshot.newest(await self._client(), self._names.market, count):
                found.append(body)
        return found[::-1]

    async def forget(self) -> None:
        """Empty the market snapshot."""
        with self._minding("snapshot"):
            await (await self._client()).delete(self._names.market)


def _entry(given: Any) -> tuple[bytes, Fields]:
    """Return an entry's id and fields; None for an entry that was cut meanwhile."""
    entry, fields = given
    return entry, None if fields is None else dict(zip(fields[::2], fields[1::2], strict=True))
