"""The shell of PADS around a bus that carries nothing, on made-up bars: what the tests drive instead of a process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SpanExporter
from tests.unit.agents import pads_script

from qts_agents.cause import Cause
from qts_agents.decider import DeciderShell
from qts_agents.metrics import Metrics
from qts_agents.round_notes import RoundNotes
from qts_core.telemetry import Tracing
from qts_messaging.messages import DecisionResponse


def shell(folder: Path, exporter: SpanExporter | None = None) -> DeciderShell:
    """Return the shell around a bus that carries nothing and a compute that runs at once."""
    clock, tracing = iter(range(10**9, 10**18, 10**9)), Tracing("pads", 0.0, exporter, Resource.create({}))

    async def compute(work: Any, *arguments: Any) -> Any:
        return work(*arguments)

    async def nothing(*_: Any, **__: Any) -> list[Any]:
        return []

    def ignore(*_: Any, **__: Any) -> None:
        return None

    context: Any = SimpleNamespace(
        system=pads_script.system(),
        place=SimpleNamespace(state=folder, system_name="x"),
        compute=compute,
        bus=SimpleNamespace(publish=nothing, send=nothing, recall=nothing, peers=dict),
        log=SimpleNamespace(info=ignore, warning=ignore, error=ignore),
        health=SimpleNamespace(troubles={}, draining=False),
        now_ns=lambda: next(clock),
        tracing=tracing,
        notes=RoundNotes(tracing),
        clock=SimpleNamespace(monotonic_ns=lambda: next(clock)),
        metrics=Metrics(),
    )
    made = DeciderShell(context)
    made._inlet.window = ignore  # type: ignore[method-assign,assignment]
    made._measure = ignore  # type: ignore[method-assign]
    return made


async def warm(made: DeciderShell, closes: Any) -> None:
    """Let the board begin with 330 bars of history and all voters ready."""
    await made.begin()
    made._begun.set()
    ready = frozenset(made._context.system.voters())
    await made._take(Cause(None, 0), made.pads.on_peers, ready, 0)
    history: Any = [(pads_script.update(closes, seq, "snapshot"), None) for seq in range(330)]
    await made._on_history(history)


async def played(
    made: DeciderShell, rounds: Sequence[tuple[int, float]]
) -> tuple[list[DecisionResponse], list[bytes | None]]:
    """Play rounds with so many silent voters, each as long as given (s); return what was told, and how."""
    told, contexts, closes = list[DecisionResponse](), list[bytes | None](), pads_script.walk(380)
    context: Any = made._context
    now, left = [10**9], list(rounds)
    context.now_ns = context.clock.monotonic_ns = lambda: now[0]

    async def gather(requests: Any, *_: Any, trace: dict[str, bytes], **__: Any) -> list[Any]:
        silent, took_s = left.pop(0)
        now[0] += round(took_s * 1e9)
        replies = []
        for at, (peer, asked) in enumerate(requests.items()):
            said = pads_script.opinion(asked.round_id, peer, [[0.4, 0.3, 0.3]])
            body = DecisionResponse(asked.round_id, opinion=said)
            envelope = SimpleNamespace(trace=trace[peer], body=body) if at >= silent else None
            replies.append(
                SimpleNamespace(peer=peer, envelope=envelope, reason="" if envelope else "timeout")
            )
        return replies

    async def publish(message: Any, trace: bytes | None = None, **_: Any) -> None:
        if isinstance(message, DecisionResponse):
            told.append(message)
            contexts.append(trace)

    context.bus.gather, context.bus.publish = gather, publish
    await warm(made, closes)
    for seq in range(330, 380):
        if left:
            await made._on_bar(pads_script.update(closes, seq), context.tracing.root("publish market"))
            await asyncio.gather(*made._rounds)
            now[0] += 10**9
    await made.finish()
    return told, contexts
