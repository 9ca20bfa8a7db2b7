"""Every kernel of the registry: each of its forms runs when it should, and all of them agree."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.property.kernel_cases import CASES, flat

import qts_agents
from qts_agents.kernels import backend, registry
from qts_agents.kernels.registry import KERNELS, PARTS, Kernel

pytestmark = pytest.mark.timeout(1200)  # compiling with a cold cache on a busy machine takes a minute
ROOT = Path(qts_agents.__file__).parent
ROUNDS = 5
TABLE = [pytest.param(kernel, id=kernel.entry) for kernel in KERNELS]


@pytest.fixture(autouse=True)
def compiled() -> Iterator[None]:
    """Leave the compiled kernels switched on."""
    backend.set_jit(True)
    yield
    backend.set_jit(True)


def watch(monkeypatch: pytest.MonkeyPatch, name: str, calls: list[str]) -> None:
    """Note in `calls` when the function of the table runs."""
    module, attribute = registry.place(name)
    inner = getattr(module, attribute)

    @functools.wraps(inner, updated=())
    def noted(*args: Any, **options: Any) -> Any:
        calls.append(name)
        return inner(*args, **options)

    monkeypatch.setattr(module, attribute, noted)


def on(jit: bool, run: Callable[[], Any]) -> list[np.ndarray]:
    """Return what a case computes with compiled or plain kernels."""
    backend.set_jit(jit)
    answer = flat(run())
    backend.set_jit(True)
    return answer


@pytest.mark.parametrize("kernel", TABLE)
def test_the_compiled_form_equals_the_reference(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """On random and nasty inputs within the stated tolerance, and each switch runs the form it names."""
    calls: list[str] = []
    for name in filter(None, (kernel.reference, kernel.cpu)):
        watch(monkeypatch, name, calls)
    for kind in range(ROUNDS):
        run = CASES[kernel.entry](np.random.default_rng([kind, len(kernel.entry)]), kind)
        calls.clear()
        ours = on(True, run)
        assert set(calls) == ({kernel.cpu} if kernel.cpu else set())
        calls.clear()
        plain = on(False, run)
        assert set(calls) == ({kernel.reference} if kernel.reference else set())
        assert ours
        for a, b in zip(ours, plain, strict=True):
            np.testing.assert_allclose(a, b, rtol=kernel.tolerance, atol=kernel.tolerance, err_msg=str(kind))


def test_every_kernel_has_a_case_and_every_case_a_kernel() -> None:
    """A row without inputs would not be tested."""
    assert sorted(CASES) == sorted(kernel.entry for kernel in KERNELS)


def test_every_file_with_a_kernel_has_a_row() -> None:
    """A file of the kernels' folder, or with a compiled function anywhere, that no row names is an error."""
    files = set((ROOT / "kernels").glob("*.py"))
    files |= {
        p
        for p in ROOT.rglob("*.py")
        if re.search(r"@(backend\.)?(parallel_)?kernel\b|cuda\.jit", p.read_text())
    }
    named = {ROOT / "kernels" / f"{part}.py" for part in (*PARTS, "__init__")}
    for kernel in KERNELS:
        for name in filter(None, (kernel.entry, kernel.reference, kernel.cpu)):
            function = registry.resolve(name)
            named.add(ROOT / f"{function.__module__.removeprefix('qts_agents.').replace('.', '/')}.py")
        if kernel.cuda:
            named.add(ROOT / "kernels" / f"{kernel.cuda.split('.')[0]}.py")
    assert sorted(str(p.relative_to(ROOT)) for p in files - named) == []
    assert sorted(str(p.relative_to(ROOT)) for p in named - files) == []


def test_the_table_is_whole() -> None:
    """Every row says where the algorithm is from; whatever has a compiled form has a plain one."""
    for kernel in KERNELS:
        assert kernel.paper, kernel.entry
        assert bool(kernel.reference) == bool(kernel.cpu), kernel.entry
        assert callable(registry.resolve(kernel.entry))
    assert len(registry.lines()) == len(KERNELS) + 1
