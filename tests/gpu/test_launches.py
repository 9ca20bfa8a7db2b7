"""How often a device is asked, and what happens when it does not answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import numpy as np
import pytest
from tests.property import markets
from tests.property.kernel_cases import CASES, flat

from qts_agents.amos.agent import Amos
from qts_agents.columns import array
from qts_agents.context import Compute
from qts_agents.health import Health
from qts_agents.kernels import crossover, gpu, nash_gpu, permutation_gpu
from qts_agents.qbmia.agent import Qbmia
from qts_agents.quasar.agent import Quasar
from qts_core.clock import SystemClock
from qts_core.spec import SYSTEM

pytestmark = pytest.mark.gpu


def test_a_round_takes_one_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The games of a flat position and of an open one go together; the answer is the CPU's."""
    inner, shapes = nash_gpu.choose, []
    monkeypatch.setattr(
        nash_gpu,
        "choose",
        lambda games, cpu: shapes.append([a.shape for a, *_ in games]) or inner(games, cpu),
    )
    tape, settings = markets.synthetic(11, symbols=2, bars=420), SYSTEM(quantum_circuits=False)
    before = gpu.launches()
    gpu.allow(1)
    asked = markets.ask(Qbmia(settings), tape, 400, np.array([0.0, 1.0]))
    gpu.allow(gpu.NEVER)
    assert (gpu.launches() - before, asked.device) == (1, gpu.GPU)
    assert shapes == [[(8, 3, 4), (8, 4, 4)]]
    gpu.use(False)
    said = markets.ask(Qbmia(settings), tape, 400, np.array([0.0, 1.0]))
    np.testing.assert_allclose(array(asked.p), array(said.p), rtol=0.0, atol=1e-12)


@pytest.mark.parametrize(("agent", "form"), [(Quasar, "qtable_gpu.serve"), (Amos, "statevector_gpu.run")])
def test_an_opinion_says_what_computed_it(agent: type[Quasar] | type[Amos], form: str) -> None:
    """The table's and the circuit's device is in the answer, and the CPU where that computed it."""
    tape = markets.synthetic(11, symbols=2, bars=420)
    asked = []
    for wanted in (1, gpu.NEVER):
        gpu.use(True, gpu.NEVER)
        gpu.launch_from(form, wanted)
        made = agent(SYSTEM())
        if isinstance(made, Quasar):
            made._state.learner.converged = True  # only then the table is asked
        asked.append(markets.ask(made, tape, 400))
    assert [a.device for a in asked] == [gpu.GPU, gpu.CPU]
    np.testing.assert_allclose(array(asked[0].p), array(asked[1].p), rtol=0.0, atol=1e-12)


def test_work_for_a_message_asks_the_device_once() -> None:
    """What comes after the first batch is the CPU's, until the next message."""
    run = CASES["permutation.round_trips"](np.random.default_rng(8), 0)
    before = gpu.launches()

    def twice() -> int:
        run()
        run()
        return gpu.launches() - before

    compute = Compute("test", SystemClock(), Health("test"))
    assert [asyncio.run(awaited(compute, twice)) for _ in range(2)] == [1, 2]
    compute.close()
    assert twice() == 4  # elsewhere nobody counts


def test_waiting_for_the_device_is_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """One launch between two looks at a clock: the time between them."""
    times = iter((10.0, 10.25))
    before = gpu.launches(), gpu.waited_s()
    monkeypatch.setattr(gpu.time, "perf_counter", lambda: next(times))
    assert gpu.attempt(lambda: 7) == 7
    assert (gpu.launches() - before[0], gpu.waited_s() - before[1]) == (1, pytest.approx(0.25))


async def awaited(compute: Compute, work: Callable[[], int]) -> int:
    """Return what the compute thread answers."""
    return await compute(work)


def test_a_device_that_hangs_costs_its_patience_and_not_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU answers, the process stays there, and what the device says later changes nothing."""
    never, ended = threading.Event(), threading.Event()

    def hung(*_: object, out: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        never.wait(60.0)
        ended.set()
        return tuple(np.full_like(column, 7.0) for column in out)

    monkeypatch.setattr(permutation_gpu, "round_trips", hung)
    monkeypatch.setattr(gpu, "PATIENCE_S", 0.05)
    gpu.settle()
    run = CASES["permutation.round_trips"](np.random.default_rng(8), 0)
    ours = flat(run())
    assert gpu.device() == gpu.CPU
    assert gpu.why() == "TimeoutError: no answer within 0.05 s"
    kept = [a.copy() for a in ours]
    never.set()
    assert ended.wait(60.0)
    for a, b, c in zip(ours, kept, flat(run()), strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)


def test_the_device_is_timed_beside_the_cpu_and_its_error_ends_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every batch is timed there too; one that fails while it is timed is given up, and the CPU is chosen."""
    found = crossover.timings("permutation.round_trips", (2, 3))
    assert [t.rows for t in found] == [2, 3]
    assert all(np.isfinite(t.device) and t.device > 0.0 for t in found)

    def lost(*_: object, **__: object) -> None:
        raise OSError("the device has fallen off the bus")

    monkeypatch.setattr(permutation_gpu, "round_trips", lost)
    assert crossover.least(crossover.timings("permutation.round_trips", (2,))).device == crossover.NEVER
    assert "fallen off" in gpu.why()
