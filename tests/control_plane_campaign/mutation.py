"""The changes that a mutant may make: one node of the syntax tree of one module becomes another."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import msgspec

SOURCE = Path(__file__).parents[2] / "operator" / "src" / "qts_operator"
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
