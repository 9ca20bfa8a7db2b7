"""A seeded handful of mutants is seen; `python -m tests.control_plane_campaign.mutants` judges a hundred and more."""

from __future__ import annotations

import ast
import json
import subprocess
import sys

import pytest

from .mutants import KILLERS, TESTS, sample
from .mutation import SOURCE, made, sites


@pytest.mark.parametrize("module", KILLERS)
def test_every_mutant_is_another_module_that_compiles(module: str) -> None:
    """Each differs from the source and from every other in what it does; the files that look at it exist."""
    clean = ast.unparse(ast.parse((SOURCE / f"{module}.py").read_text()))
    found = [made(site) for site in sites(module)]
    assert found
    for mutant in found:
        assert mutant.source != clean
        compile(mutant.source, module, "exec")
    files, _ = KILLERS[module]
    assert all((TESTS / f"{name}.py").is_file() for name in files)


def test_a_sample_is_the_same_for_the_same_seed() -> None:
    assert sample(5, 1, ("lease",)) == sample(5, 1, ("lease",)) != sample(5, 2, ("lease",))


@pytest.mark.timeout(400)
def test_mutants_of_the_election_are_seen() -> None:
    """Six changes of who may write; all but one of them fail a test."""
    command = [sys.executable, "-m", "tests.control_plane_campaign.mutants", "--module", "lease"]
    more = ["--count", "6", "--seed", "3", "--share", "0.8"]
    done = subprocess.run([*command, *more], capture_output=True, text=True, timeout=380)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["mutants"] == 6
