"""Two processes' buses in one program: a request and its answer, a broadcast, and what became of them."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from qts_core.spec import SYSTEM
from qts_messaging import examples
from qts_messaging.bus import BusOptions
from qts_messaging.messages import DecisionRequest, DecisionResponse, Envelope, PerformanceFeedback
from qts_messaging.open import open_bus


async def main() -> None:
    """Let pads ask qbmia, and tell everybody how it went."""
    system, state = SYSTEM(use_real_messaging=False), Path(tempfile.mkdtemp())
    pads, qbmia = (
        open_bus(system, BusOptions(name=name, system_name="demo", state=state)) for name in ("pads", "qbmia")
    )
    learned = asyncio.Event()

    async def answer(envelope: Envelope) -> None:
        await qbmia.reply(envelope, DecisionResponse("r-1", opinion=examples.vote()))

    async def learn(envelope: Envelope) -> None:
        learned.set()

    qbmia.subscribe(DecisionRequest, answer)
    qbmia.subscribe(PerformanceFeedback, learn)
    await pads.start()
    await qbmia.start()
    request = examples.messages()[0]
    reply = await pads.ask(request, "qbmia", timeout_s=1.0)
    print("answer:", reply.reason or type(reply.envelope.body).__name__ if reply.envelope else reply.reason)
    await pads.publish(examples.feedback())
    await asyncio.wait_for(learned.wait(), 1.0)
    await pads.close()
    await qbmia.close()
    print("mode:", pads.mode, "| unaccounted:", pads.accounts().unaccounted + qbmia.accounts().unaccounted)


if __name__ == "__main__":
    asyncio.run(main())
