"""What an image's compiled kernels are used for, and when they are left alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qts_agents import baked

WHOLE = frozenset(baked.FEATURES.values()) | {"sse2", "avx512f"}


def test_only_a_processor_with_all_of_the_level_compiles_for_it() -> None:
    """One missing feature would end a process at its first kernel; what a person has set holds."""
    assert baked.target({}, WHOLE) == baked.TARGET
    for flag in baked.FEATURES.values():
        assert baked.target({}, WHOLE - {flag}) == {}
    assert baked.target({}, frozenset()) == {}
    assert baked.target({"NUMBA_CPU_NAME": "generic"}, WHOLE) == {}
    assert baked.target({"NUMBA_CPU_FEATURES": ""}, WHOLE) == {}


def test_kernels_are_taken_once_and_never_replaced(tmp_path: Path) -> None:
    """A cache keeps the kernels that it has; locks and tables of a machine stay where they are."""
    image, cache = tmp_path / "image" / "x_1", tmp_path / "cache" / "x_1"
    image.mkdir(parents=True)
    for name in ("a-1.py311.nbi", "a-1.py311.1.nbc", "b-2.py311.nbi", "b-2.py311.1.nbc", "b-2.py311.2.nbc"):
        (image / name).write_text(f"image {name}")
    (image / "b-2.py311.nbi.lock").touch()
    (image / "crossover-1.json").touch()
    cache.mkdir(parents=True)
    (cache / "a-1.py311.nbi").write_text("own")
    assert baked.take(image.parent, cache.parent) == 1
    assert baked.take(image.parent, cache.parent) == 0
    found = {path.name: path.read_text() for path in cache.iterdir()}
    data = {name: f"image {name}" for name in ("b-2.py311.nbi", "b-2.py311.1.nbc", "b-2.py311.2.nbc")}
    assert found == {"a-1.py311.nbi": "own"} | data


def test_without_a_place_each_process_compiles(tmp_path: Path) -> None:
    """No folder, no cache, or one that cannot be written: nothing is taken and nothing fails."""
    image = tmp_path / "image"
    image.mkdir()
    (image / "a.nbi").write_text("x")
    assert baked.prepare({}, None, str(tmp_path)) == {}
    assert baked.prepare({}, str(image), None) == {}
    assert baked.prepare({}, str(tmp_path / "none"), str(tmp_path)) == {}
    (tmp_path / "file").write_text("x")
    assert baked.take(image, tmp_path / "file") == 0


def test_the_flags_of_this_machine_are_read(tmp_path: Path, monkeypatch) -> None:
    """As Linux writes them; none where there is no such file."""
    text = "processor\t: 0\nmodel name\t: x\nflags\t\t: fpu avx2 fma\n\nprocessor\t: 1\nflags\t: fpu\n"
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(baked, "_PROCESSOR", tmp_path / "cpuinfo")
    assert baked.processor() == {"fpu", "avx2", "fma"}
    monkeypatch.setattr(baked, "_PROCESSOR", tmp_path / "none")
    assert baked.processor() == frozenset()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "folder"),
        (["--help"], "usage"),
        (["--folder"], "folder"),
        (["made", "padz"], "unknown workload 'padz'; give some of pads"),
        (["file"], "File exists; name one that can be written to"),
    ],
)
def test_what_is_no_folder_is_refused(
    tmp_path: Path, monkeypatch, capsys, arguments: list[str], message: str
) -> None:
    """Nothing is made of an option, of a workload that does not exist, or where a file stands."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as ended:
        baked.main(arguments)
    said = capsys.readouterr()
    assert ended.value.code == (0 if arguments == ["--help"] else 2)
    assert message in said.out + said.err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_kernel_that_two_builds_would_not_make_alike_is_named(tmp_path: Path) -> None:
    """As numba itself makes one: arithmetic of whole arrays; a loop is none."""
    program = """
import numba, numpy as np
def kernel(f): return numba.njit(cache=True)(f)
@kernel
def whole(x, out): out[:] = np.log(x)
@kernel
def loop(x, out):
    for k in range(len(x)): out[k] = np.log(x[k])
whole(np.ones(3), np.ones(3)), loop(np.ones(3), np.ones(3))
"""
    (tmp_path / "program.py").write_text(program)
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    subprocess.run([sys.executable, str(tmp_path / "program.py")], env=env, check=True)
    assert len(list((tmp_path / "cache").rglob("*.nbc"))) == 2
    assert baked.addressed(tmp_path / "cache") == ["program.whole"]
