"""kopf's part of the operator: login, startup, cleanup, probes, and an event handler that only pokes.

`python -m qts_operator` starts the engine itself and runs kopf beside it in a supervised thread;
`kopf run -A -m qts_operator.handlers` lets kopf start and stop it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

import aiohttp
import kopf
import orjson
import structlog
from kopf._cogs.structs.bodies import RawBody

# kopf.operator takes these, but kopf does not name them
from kopf._core.reactor.inventory import ResourceMemories, ResourceMemory

from qts_core import names
from qts_operator import lines
from qts_operator.cluster import metadata_alone
from qts_operator.main import Engine
from qts_operator.session import Access, gathered, lines_of, tls

_log = structlog.get_logger("qts_operator.shell")
FIRST_S, LAST_S = 1.0, 60.0
GOODBYE_S = 2.0
#: how long one of kopf's 64 workers waits for more of its object; all others wait for it, with their events
IDLE_S = 0.05
#: how long our own watch has to show what kopf's has read: to kopf each event is a task, loggers and a patch
LATER_S = 0.25
NEWS_S = 1.0  # between two looks at kopf's watch: its word only matters where ours is silent
LOOK_S = 0.1  # between two looks whether the engine knows everything
Shows = Callable[[str, str, str], bool]  # namespace, name, version of a system


class NoDiffs(kopf.DiffBaseStorage):
    """Remembers nothing: to tell changes, kopf would copy each object at each event, and nobody asks it."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        """Return an empty state."""
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> None:
        """Return no former state."""

    def store(self, **_: Any) -> None:
        """Keep nothing."""


def configure(settings: kopf.OperatorSettings, *, owns: bool) -> None:
    """Switch off what kopf would write, lose or kill; the reasons are in the design, section 1."""
    settings.posting.enabled = False
    settings.persistence.diffbase_storage = NoDiffs()
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.networking.error_backoffs = (0.25, 1, 3)
    settings.networking.request_timeout = 15
    settings.networking.enforce_retry_after = True
    server_s = random.randint(240, 300)
    settings.watching.server_timeout = server_s
    settings.watching.client_timeout = server_s + 30
    settings.watching.chunk_size = 100
    settings.watching.initial_streaming = False
    settings.queueing.worker_limit = 64
    settings.queueing.idle_timeout = IDLE_S
    settings.execution.default_backoff = 5
    # kopf kills itself when it hangs while it stops, as it does when the API server goes and leaves a watch
    # open; as a thread it would take the engine with it
    settings.process.ultimate_exiting_timeout = 25 if owns else None


def registry_of(
    engine: Engine, *, owns: bool, registry: kopf.OperatorRegistry | None = None
) -> kopf.OperatorRegistry:
    """Return the handlers around `engine`, in `registry` if given; `owns`: kopf starts and stops it."""
    registry = registry or kopf.OperatorRegistry()

    @kopf.on.startup(registry=registry)
    async def _startup(settings: kopf.OperatorSettings, **_: Any) -> None:
        configure(settings, owns=owns)
        if owns:
            engine.start()

    @kopf.on.cleanup(registry=registry)
    async def _cleanup(**_: Any) -> None:
        if owns:
            await asyncio.to_thread(engine.stop)

    @kopf.on.login(registry=registry)
    async def _login(**_: Any) -> kopf.AiohttpSession:
        return _session(engine.options.access, engine.shows)

    @kopf.on.probe(registry=registry, id="engine")
    async def _probe(**_: Any) -> str:
        problem = engine.healthy()
        if problem:
            raise kopf.PermanentError(problem)
        return "ok"

    @kopf.on.event(names.GROUP, names.VERSION, names.PLURAL, registry=registry)
    async def _event(namespace: str | None, name: str | None, meta: kopf.Meta, **_: Any) -> None:
        if namespace and name:
            engine.told(namespace, name, meta.get("resourceVersion", ""))

    return registry


class Forgetful(ResourceMemories):
    """Remembers no object: there is nobody who would be told of its past."""

    async def recall(self, raw_body: RawBody, **given: Any) -> ResourceMemory:
        """Return what is known of an object: nothing."""
        given["ephemeral"] = True
        return await super().recall(raw_body, **given)


class News:
    """The body of a watch without what our own watch has shown: of that kopf has nothing to tell us.

    kopf goes on from the version of the last event or bookmark that it has read, so none is lost by it.
    """

    def __init__(self, response: aiohttp.ClientResponse, shows: Shows) -> None:
        self._response, self._content, self._shows = response, response.content, shows

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    async def iter_chunked(self, _: int) -> AsyncIterator[bytes]:
        """Yield lines; what kopf reads a body by."""
        async for line in lines_of(self._response, gather_s=NEWS_S):
            if not self._known(line):
                await gathered(self._response, LATER_S)
            if not self._known(line):
                yield line + b"\n"

    def _known(self, line: bytes) -> bool:
        try:
            told = lines.head(line)
        except ValueError:
            return False  # kopf has a word for it
        return told["type"] in ("ADDED", "MODIFIED") and shown(told["object"], self._shows)


def shown(live: Any, shows: Shows) -> bool:
    """Tell whether our own watch has shown an object as it is."""
    metadata = live.get("metadata", {})
    return shows(*[str(metadata.get(each, "")) for each in ("namespace", "name", "resourceVersion")])


class Slim(aiohttp.ClientResponse):
    """An answer without managed fields, nine tenths of what kopf would keep of each object of a list."""

    shows: Shows

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        """Read the head; the body of a watch is for News."""
        await super().start(connection)
        if "watch" in self.url.query and self.url.path.endswith(f"/{names.PLURAL}"):
            self.content = cast(aiohttp.StreamReader, News(self, self.shows))
        return self

    async def json(self, **_: Any) -> Any:
        """Return the decoded body; a list without what our own has shown."""
        told = orjson.loads(await self.read())
        if "items" in told:
            # a list of metadata that is empty comes as null, of which kopf would die
            told["items"] = [item for item in told["items"] or () if not shown(item, self.shows)]
            for item in told["items"]:
                item.get("metadata", {}).pop("managedFields", None)
        return told


class KopfLog(logging.Handler):
    """Says what kopf says as one line of ours, without the traceback that it adds to a refused list."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        _log.warning("kopf", level_of_kopf=record.levelname, said=record.getMessage())


def hear_kopf() -> None:
    """Let warnings of kopf's loggers stand in our log."""
    logger = logging.getLogger("kopf")
    logger.setLevel(logging.WARNING)
    logger.handlers[:] = [KopfLog()]
    logger.propagate = False


def told_by_loop(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Say in one line what a task of kopf's died of that kopf does not ask, such as a refused connection."""
    _log.warning("kopf", said=context["message"], error=repr(context.get("exception")))


class KopfThread:
    """kopf in a thread that is started again with back-off whenever it ends."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._stop = threading.Event()
        self._end: Callable[[], object] = lambda: None
        self._thread = threading.Thread(target=self._supervise, name="kopf", daemon=True)

    def start(self) -> None:
        """Start supervising."""
        self._thread.start()

    def leave(self) -> None:
        """Ask kopf to end, and go on."""
        self._stop.set()
        with suppress(RuntimeError):  # its loop is closed: it has ended
            self._end()

    def stop(self, timeout_s: float = GOODBYE_S) -> None:
        """End kopf and wait for it, not for long: it hangs while a watch is left open, and keeps nothing."""
        self.leave()
        self._thread.join(timeout_s)

    def _supervise(self) -> None:
        """Begin kopf when the engine knows everything: what both would list is told by ours alone."""
        while not self._engine.synced():
            if self._stop.wait(LOOK_S):
                return
        delay = FIRST_S
        while not self._stop.is_set():
            try:
                asyncio.run(self._run())
            except Exception as error:
                # kopf may die of a refused list; the engine does not need it to live
                _log.error("kopf ended", error=repr(error))
            if self._stop.wait(delay):
                return
            delay = min(LAST_S, delay * 2)

    async def _run(self) -> None:
        loop, flag = asyncio.get_running_loop(), asyncio.Event()
        loop.set_exception_handler(told_by_loop)
        # a loop waits for threading.Event in a thread, and one that closes waits for its threads: for ever
        self._end = partial(loop.call_soon_threadsafe, flag.set)
        if self._stop.is_set():
            return
        watched = self._engine.options.watched
        await kopf.operator(
            registry=registry_of(self._engine, owns=False),
            clusterwide=not watched,
            namespaces=watched,
            standalone=True,
            memories=Forgetful(),
            # kopf's own guess asks the password file, where a container's user does not stand
            identity=cast(Any, self._engine.options.identity),
            stop_flag=flag,
        )


async def _metadata_alone(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Ask for metadata: the handler reads no more, and kopf keeps what waits for one of its workers."""
    if request.url.path.endswith(f"/{names.PLURAL}"):
        request.headers.update(metadata_alone(listed="watch" not in request.url.query))
    return await handler(request)


def _session(access: Access, shows: Shows = lambda *_: False) -> kopf.AiohttpSession:
    """Return a session with the engine's credentials; the token file is read anew at each login.

    `shows` tells whether our own watch has shown a version of a system.
    """
    headers = {}
    token = access.token
    if access.token_file:
        token = Path(access.token_file).read_text(encoding="utf-8").strip()
    if token:
        headers["Authorization"] = f"Bearer {token}"
    connector = aiohttp.TCPConnector(limit=0, ssl=tls(access))
    answers = type("Answer", (Slim,), {"shows": staticmethod(shows)})
    session = aiohttp.ClientSession(
        connector=connector, headers=headers, middlewares=(_metadata_alone,), response_class=answers
    )
    return kopf.AiohttpSession(aiohttp_session=session, server=access.server)
