"""Seeded errors in the pure part of the operator; tests and explorer must see each: does the harness see anything?

Each mutant changes one thing in one module of KILLERS. It runs in a process of its own, in which that module is
compiled from the changed source; it is killed when one of the module's tests, or a law of the explorer, fails.

    python -m tests.control_plane_campaign.mutants [--count 120] [--seed 1] [--module lease]
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib.abc
import importlib.util
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any, NamedTuple

import msgspec
import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "operator" / "src" / "qts_operator"
TESTS = ROOT / "tests" / "unit" / "control_plane"
#: which tests look at a module; True: the explorer looks too
KILLERS: dict[str, tuple[tuple[str, ...], bool]] = {
    "adopt": (("test_adopt",), False),
    "budget": (("test_restarts",), False),
    "cache": (("test_machines", "test_watch"), False),
    "circuit": (("test_gpu",), False),
    "expectations": (("test_machines",), False),
    "fields": (("test_fields", "test_plan"), True),
    "gang": (("test_gang",), False),
    "lease": (("test_machines", "test_leader"), False),
    "node_loss": (("test_node_loss", "test_restarts"), False),
    "plan": (("test_plan", "test_adopt"), True),
    "restarts": (("test_restarts", "test_node_loss"), False),
    "status": (("test_status", "test_adopt"), True),
    "steps": (("test_adopt", "test_node_loss", "test_reconcile"), True),
    "workqueue": (("test_machines",), False),
    "writes": (("test_machines", "test_adopt", "test_status", "test_plan"), True),
}
CPU_S = 60  # an error that makes a test run for ever is seen too
SWAPS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}


class Mutant(msgspec.Struct, frozen=True):
    """One change: the module, where, and what became of what."""

    module: str
    line: int
    was: str
    now: str
    source: str


def _compare(node: ast.AST) -> ast.AST | None:
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        return ast.Compare(node.left, [SWAPS[type(node.ops[0])]()], node.comparators)
    return None


def _boolean(node: ast.AST) -> ast.AST | None:
    if isinstance(node, ast.BoolOp):
        return ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    return None


def _negation(node: ast.AST) -> ast.AST | None:
    return node.operand if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not) else None


def _arithmetic(node: ast.AST) -> ast.AST | None:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        return ast.BinOp(node.left, ast.Sub() if isinstance(node.op, ast.Add) else ast.Add(), node.right)
    return None


def _constant(node: ast.AST) -> ast.AST | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        return ast.Constant(not node.value)
    return None


def _branch(node: ast.AST) -> ast.AST | None:
    if isinstance(node, ast.If):
        return ast.If(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)
    return None


def _omission(node: ast.AST) -> ast.AST | None:
    return ast.Pass() if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) else None


#: what is done to a node of the syntax tree; None: nothing to do here
OPERATORS: tuple[Callable[[ast.AST], ast.AST | None], ...] = (
    _compare,
    _boolean,
    _negation,
    _arithmetic,
    _constant,
    _branch,
    _omission,
)


class Site(NamedTuple):
    """Where a mutant is made: the node's number in its module's tree, and the number of the operator."""

    module: str
    node: int
    operator: int


def sites(module: str) -> list[Site]:
    """Return where each operator fits, in the order of the nodes."""
    tree = _tree(module)
    shapes = {
        id(n) for c in ast.walk(tree) if isinstance(c, ast.ClassDef) for k in c.keywords for n in ast.walk(k)
    }
    return [
        Site(module, number, which)
        for number, node in enumerate(ast.walk(tree))
        if id(node) not in shapes  # whether a struct is frozen changes nothing that it says
        for which, operator in enumerate(OPERATORS)
        if operator(node) is not None
    ]


def made(site: Site) -> Mutant:
    """Return the mutant of a site."""
    tree = copy.deepcopy(_tree(site.module))
    node = next(n for number, n in enumerate(ast.walk(tree)) if number == site.node)
    other = OPERATORS[site.operator](node)
    if other is None:
        raise LookupError("the operator does not fit this node")
    other = ast.fix_missing_locations(ast.copy_location(other, node))
    was, now = (ast.unparse(each).splitlines()[0] for each in (node, other))
    _replace(tree, node, other)
    return Mutant(site.module, getattr(node, "lineno", 0), was, now, ast.unparse(tree))


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse((SOURCE / f"{module}.py").read_text())


def _replace(tree: ast.AST, old: ast.AST, new: ast.AST) -> None:
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, name, new)
            elif isinstance(value, list):
                value[:] = [new if each is old else each for each in value]


class Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from another source."""

    def __init__(self, mutant: Mutant) -> None:
        self._name, self._source = f"qts_operator.{mutant.module}", mutant.source

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        """Answer for the module alone."""
        return importlib.util.spec_from_loader(fullname, self) if fullname == self._name else None

    def exec_module(self, module: ModuleType) -> None:
        """Run the changed source."""
        exec(compile(self._source, module.__name__, "exec"), module.__dict__)


def judged(drawn: list[Mutant], side: int) -> Iterator[tuple[Mutant, bool]]:
    """Yield each mutant and whether a test or a law sees it; `side` at a time, each in a process of its own.

    Most tests of machines wait more than they compute.
    """
    waiting, running = list(reversed(drawn)), {}
    while waiting or running:
        while waiting and len(running) < side:
            mutant = waiting.pop()
            running[_begun(mutant)] = mutant
        child, status = os.wait()
        yield running.pop(child), status != 0


def _begun(mutant: Mutant) -> int:
    """Return the process in which the tests look at the mutant; it ends with 0 when none sees it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
            signal.signal(signal.SIGXCPU, signal.SIG_DFL)
            silent = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silent, 1)
            os.dup2(silent, 2)
            sys.meta_path.insert(0, Changed(mutant))
            code = int(_fails(mutant.module))
        finally:
            os._exit(code)
    return child


def _fails(module: str) -> bool:
    """Tell whether something sees the mutant; the tests look first, as most of them need milliseconds."""
    files, explored = KILLERS[module]
    quiet = ["-x", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", "-p", "no:xdist", "--timeout=120"]
    seen = pytest.main([*quiet, *(str(TESTS / f"{name}.py") for name in files)]) != 0
    return seen or (explored and _lawless())


def _lawless() -> bool:
    from .explorer import Explorer, Found

    try:
        Explorer(faults=1, crashes=0, changes=0, actors=0).explore()
    except Found:
        return True
    return False


def sample(count: int, seed: int, modules: tuple[str, ...]) -> list[Mutant]:
    """Return `count` mutants drawn from all of the modules."""
    every = [site for module in modules for site in sites(module)]
    return [made(site) for site in Random(seed).sample(every, min(count, len(every)))]


def main() -> int:
    """Print the survivors and the share that was killed; 1 below the share that is asked for."""
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=shape)
    parser.add_argument("--count", type=int, default=120)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--module", default=",".join(KILLERS))
    parser.add_argument("--side", type=int, default=4, help="at a time")
    parser.add_argument("--share", type=float, default=0.9, help="what must be killed")
    given = parser.parse_args()
    modules = tuple(given.module.split(","))
    for name in modules:
        if name not in KILLERS:
            parser.error(f"--module: unknown {name}; known: {', '.join(KILLERS)}")
    if any(name.startswith("qts_operator") for name in sys.modules):
        raise SystemExit("the operator is imported already, so a mutant would not be")
    began, killed, drawn = time.monotonic(), 0, sample(given.count, given.seed, modules)
    for number, (mutant, dead) in enumerate(judged(drawn, given.side), 1):
        killed += dead
        if not dead:
            print(f"survives: {mutant.module}.py:{mutant.line}: {mutant.was} → {mutant.now}", flush=True)
        print(f"{number} of {len(drawn)}, {killed} killed", file=sys.stderr, flush=True)
    share = killed / len(drawn)
    told = {"mutants": len(drawn), "killed": killed, "share": round(share, 3), "seed": given.seed}
    print(json.dumps(told | {"seconds": round(time.monotonic() - began)}))
    return int(share < given.share)


if __name__ == "__main__":
    sys.exit(main())
