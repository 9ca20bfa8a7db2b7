"""The shell's hook for an agent that reads a document: read now and then, told when it is new."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from qts_agents import sources
from qts_agents.agent import Reader
from qts_agents.context import Context
from qts_core.errors import RemoteError

TROUBLE = "document"


class Documents:
    """Hands the agent its document; whatever is wrong with it is a trouble in plain words, never an end."""

    def __init__(self, context: Context, agent: Callable[[], Any]) -> None:
        self._context = context
        self._agent = agent  # asked each time: a state that did not fit is replaced by a fresh agent
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"document-{context.workload.name}")
        self._told: tuple[Any, bytes] = (None, b"")

    async def run(self) -> None:
        """Read for ever; an agent that reads nothing ends it at once."""
        while isinstance(agent := self._agent(), Reader):
            await self._context.clock.sleep(agent.period_s)
            await self.once()

    async def once(self) -> None:
        """Read the document, and tell the agent when it changed."""
        agent = self._agent()
        if not isinstance(agent, Reader):
            return
        loop = asyncio.get_running_loop()
        try:
            document = await loop.run_in_executor(self._pool, sources.read, agent.source)
        except RemoteError as error:
            self._note(str(error))
            return
        if self._told == (agent, document):
            return
        self._note(await self._context.compute(self._tell, agent, document))
        self._told = (agent, document)

    def close(self) -> None:
        """Wait for nothing that is still being read."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _tell(self, agent: Reader, document: bytes) -> str:
        try:
            return agent.on_document(document, self._context.now_ns())
        except Exception as error:  # the boundary: what cannot be understood must not end the process
            self._context.log.exception("document_failed", source=sources.named(agent.source))
            return f"{sources.named(agent.source)}: {type(error).__name__}: {error}"

    def _note(self, trouble: str) -> None:
        troubles = self._context.health.troubles
        if trouble and troubles.get(TROUBLE) != trouble:
            self._context.log.warning("document_trouble", trouble=trouble)
        if trouble:
            troubles[TROUBLE] = trouble
        else:
            troubles.pop(TROUBLE, None)
