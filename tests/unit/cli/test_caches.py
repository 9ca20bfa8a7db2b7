"""Where the processes of a run keep compiled kernels and byte code."""

from __future__ import annotations

from pathlib import Path

import pytest

from qts_cli import warm
from qts_cli.run import cached

CACHE = Path("cache")


def test_byte_code_is_kept_for_who_wants_none_beside_the_sources() -> None:
    """Without it every start reads numba anew; Python's own switch to keep none is taken to mean the sources."""
    env = cached({"PYTHONDONTWRITEBYTECODE": "1", "HOME": "home"}, CACHE)
    numba, python = str(CACHE / "numba"), str(CACHE / "python")
    assert env == {"HOME": "home", "NUMBA_CACHE_DIR": numba, "PYTHONPYCACHEPREFIX": python}


def test_places_that_are_named_stay() -> None:
    """A caller's own folders win, and without the switch Python keeps its byte code where it always does."""
    own = {"NUMBA_CACHE_DIR": "numba", "PYTHONPYCACHEPREFIX": "python"}
    assert cached(own | {"PYTHONDONTWRITEBYTECODE": "x"}, CACHE) == own
    assert cached({}, CACHE) == {"NUMBA_CACHE_DIR": str(CACHE / "numba")}
    assert cached({"PYTHONDONTWRITEBYTECODE": ""}, CACHE) == cached({}, CACHE)


def test_kernels_of_other_sources_are_cold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled files alone tell nothing: sources, numba and what runs must be those that were ready once."""
    assert not warm.is_warm(tmp_path, ["pads"])
    (tmp_path / "kernel.1.nbc").touch()
    assert not warm.is_warm(
        tmp_path, ["pads"]
    )  # of another version, or a run that was ended while it compiled
    warm.stamp(tmp_path, ["pads", "amos"]).touch()
    assert warm.is_warm(tmp_path, ["amos", "pads"])
    assert not warm.is_warm(tmp_path, ["pads", "quasar"])
    with monkeypatch.context() as patched:
        patched.setattr(warm, "version", lambda _: "0.1")
        assert not warm.is_warm(tmp_path, ["pads", "amos"])
    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", lambda _: b"other source")
        assert not warm.is_warm(tmp_path, ["pads", "amos"])
    (tmp_path / "kernel.1.nbc").unlink()
    assert not warm.is_warm(tmp_path, ["pads", "amos"])  # somebody emptied the cache
