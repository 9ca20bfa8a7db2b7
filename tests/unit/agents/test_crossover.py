"""Which backend computes a batch: chosen by what was measured, kept, and used; no clock decides a test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qts_agents.kernels import backend, crossover, gpu, nash, permutation, pool, registry
from qts_agents.kernels.crossover import NEVER, Least, Timing

pytestmark = pytest.mark.timeout(1200)  # compiling with a cold cache on a busy machine takes a minute
ENTRY = permutation.ENTRY


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Forget what a test chose."""
    yield
    for entry in crossover.MADE:
        backend.share_from(entry, backend.MIN_PARALLEL_ROWS)
    gpu.use(False)
    backend.threads(False)


def test_the_least_rows_are_those_from_which_a_way_stays_ahead() -> None:
    """One lucky small batch does not count, and a device must beat both ways of the CPU."""
    inf = np.inf
    found = [Timing(16, 1.0, 0.9, inf), Timing(64, 2.0, 3.0, inf), Timing(256, 8.0, 5.0, inf)]
    assert crossover.least(found) == Least(threads=256)
    assert crossover.least(found[:2]) == Least()
    found = [Timing(16, 1.0, inf, 5.0), Timing(64, 4.0, 3.0, 3.5), Timing(256, 8.0, 5.0, 4.0)]
    assert crossover.least(found) == Least(threads=64, device=256)
    assert crossover.shown(Least(threads=64)) == {"threads": 64}


def test_what_was_measured_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the least rows one thread computes, from them on several; another kernel keeps its own number."""
    monkeypatch.setattr(backend._State, "threads", 2)
    monkeypatch.setattr(crossover, "timings", lambda _: [Timing(100, 2.0, 1.0, np.inf)])
    assert crossover.choose([ENTRY]) == {ENTRY: Least(threads=100)}
    parts: list[int] = []
    for rows in (99, 100):
        backend.each_part(lambda some: parts.append(len(some)), np.zeros(rows), entry=ENTRY)
    backend.each_part(lambda some: parts.append(len(some)), np.zeros(99), entry="another")
    assert (parts[0], sorted(parts[1:3]), sorted(parts[3:])) == (99, [50, 50], [49, 50])


def test_a_machine_is_measured_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What one process measured is read by the next; another machine, or other sources, begin anew."""
    asked: list[str] = []

    def timed(entry: str) -> list[Timing]:
        asked.append(entry)
        return [Timing(16, 1.0, 2.0, np.inf)]

    monkeypatch.setattr(crossover, "timings", timed)
    monkeypatch.setattr(crossover, "calm", lambda: True)
    first = crossover.choose([ENTRY], tmp_path / "cache")
    assert crossover.choose([ENTRY], tmp_path / "cache") == first == {ENTRY: Least()}
    assert asked == [ENTRY]
    crossover.choose([ENTRY, nash.ENTRY], tmp_path / "cache")
    assert asked == [ENTRY, nash.ENTRY]
    monkeypatch.setattr(backend, "sources", lambda: "other sources")
    crossover.choose([ENTRY], tmp_path / "cache")
    assert asked == [ENTRY, nash.ENTRY, ENTRY]


def test_what_a_busy_machine_shows_is_not_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """All agents of a first start compile beside each other; the next start measures anew."""
    monkeypatch.setattr(crossover, "timings", lambda _: [Timing(16, 1.0, 2.0, np.inf)])
    monkeypatch.setattr(os, "getloadavg", lambda: (float(os.cpu_count() or 1), 0.0, 0.0))
    assert crossover.choose([ENTRY], tmp_path) == {ENTRY: Least()}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": 1}'])
def test_a_table_that_cannot_be_read_or_written_is_measured(
    content: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A broken file is replaced; a place that is no folder leaves each process to itself."""
    monkeypatch.setattr(crossover, "timings", lambda _: [Timing(16, 2.0, 1.0, np.inf)])
    monkeypatch.setattr(crossover, "calm", lambda: True)
    path = tmp_path / f"crossover-{crossover.machine()}.json"
    path.write_bytes(content)
    assert crossover.choose([ENTRY], tmp_path) == {ENTRY: Least(threads=16)}
    assert b"16" in path.read_bytes()
    assert crossover.choose([ENTRY], path / "below") == {ENTRY: Least(threads=16)}


@pytest.mark.parametrize("entry", sorted(crossover.MADE))
def test_every_measured_kernel_can_be_timed(entry: str) -> None:
    """Each way that is there takes some time, nothing is compiled twice, and the choice is as before."""
    backend.threads(True)
    backend.share_from(entry, 77)
    found = crossover.timings(entry, (2,))
    before = backend.compiles()
    assert [t.rows for t in crossover.timings(entry, (2, 3))] == [2, 3]
    assert backend.compiles() == before
    assert (entry in crossover.compiled()) == (entry in crossover.SHARED)  # there is no device here
    assert found[0].one > 0.0
    assert np.isfinite(found[0].threads) == (entry in crossover.SHARED and backend.thread_count() > 1)
    assert found[0].device == np.inf
    assert (backend.least_rows(entry), gpu.least_rows(crossover.FORMS[entry].cuda)) == (77, NEVER)


def test_a_measured_kernel_has_a_row_with_both_forms() -> None:
    """Whatever can go to a device is measured, and nothing else; what goes to threads is compiled."""
    forms: dict[str, Any] = crossover.FORMS
    assert sorted(forms) == sorted(crossover.MADE) == sorted(k.entry for k in registry.KERNELS if k.cuda)
    assert all(forms[entry].cpu for entry in crossover.SHARED)


def test_what_only_a_device_could_share_is_measured_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A start without a device times and imports what it did; with one, what was compiled or is numpy's alone."""
    asked: list[str] = []
    resolve = registry.resolve

    def noted(name: str) -> Any:
        asked.append(name)
        return object() if name == "ewa._match" else resolve(name)  # never compiled

    monkeypatch.setattr(registry, "resolve", noted)
    assert set(crossover.compiled()) <= set(crossover.SHARED)
    assert sorted(asked) == sorted(crossover.FORMS[entry].cpu for entry in crossover.SHARED)
    pool.warm_up()
    monkeypatch.setattr(gpu, "device", lambda: gpu.GPU)
    found = crossover.compiled()
    assert {"pool.lmsr_pool", "prospect.prospect_value"} <= set(found)
    assert "ewa.regret_match" not in found
