"""Where the processes of a run keep compiled kernels and byte code."""

from __future__ import annotations

from pathlib import Path

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
