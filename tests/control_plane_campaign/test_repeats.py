"""Repeats see a test that fails by chance, and the order that shows it; a hundred are `make evidence`'s."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from . import repeats

BY_ORDER = """
import pytest

SEEN = []


@pytest.mark.parametrize("n", range(4))
def test_first(n):
    SEEN.append(n)
    assert SEEN[0] != 3
"""


def _told(files: list[Path], monkeypatch, capsys, *words: str) -> tuple[int, dict]:
    monkeypatch.setattr(repeats, "fast", lambda: [str(each) for each in files])
    monkeypatch.setattr(sys, "argv", ["repeats", *words])
    code = repeats.main()
    return code, json.loads(capsys.readouterr().out.splitlines()[-1])


def test_a_test_that_fails_in_some_orders_is_named_with_its_seed(tmp_path, monkeypatch, capsys) -> None:
    """The seed alone brings the failure back."""
    file = tmp_path / "test_by_order.py"
    file.write_text(BY_ORDER)
    code, told = _told([file], monkeypatch, capsys, "--count", "12")
    assert (code, told["runs"], told["tests"]) == (1, 12, 4)
    seeds = {each["seed"] for each in told["failures"]}
    assert 0 < len(seeds) < 12
    seed = str(min(seeds))
    code, told = _told([file], monkeypatch, capsys, "--count", "1", "--seed", seed)
    assert (code, told["failed"] > 0) == (1, True)


@pytest.mark.parametrize("text", ["def test_it(: pass", "import os\ndef test_it(): os._exit(0)", ""])
def test_what_does_not_run_has_not_passed(tmp_path, monkeypatch, capsys, text: str) -> None:
    """A file that cannot be read, a process that ends in a test, and no test at all."""
    file = tmp_path / "test_it.py"
    file.write_text(text)
    code, _ = _told([file], monkeypatch, capsys, "--count", "1")
    assert code == 1


def test_the_fast_tier_leaves_out_files_that_exist() -> None:
    files = [Path(each).stem.removeprefix("test_") for each in repeats.fast()]
    folder = repeats.TESTS / repeats.UNIT
    assert len(files) > 30
    assert not set(files) & set(repeats.SLOW)
    assert all((folder / f"test_{name}.py").is_file() for name in repeats.SLOW)


def test_a_count_below_one_is_refused(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["repeats", "--count", "0"])
    with pytest.raises(SystemExit) as ended:
        repeats.main()
    assert ended.value.code == 2
    assert "--count: 0 is below 1" in capsys.readouterr().err
