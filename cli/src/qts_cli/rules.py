"""Rules of a resource that one field alone cannot tell, evaluated without a cluster as for a new resource.

The definition has them in CEL (`qts_core.cel`), and Google's own CEL evaluates them here. Kubernetes adds
`sum` to the language; the rest that the rules use is CEL's. Rules about changes (`oldSelf`) are left to the
API server, which alone knows what was before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from cel_expr_python import cel
from cel_expr_python.ext.ext_optional import ExtOptional

from qts_core.crd import crd

Tree = dict[str, Any]


def broken(resource: Tree) -> str:
    """Return path and message of the first rule that a new resource breaks, "" when it keeps all.

    Each value has to be of its field's type already: a rule looks at nothing else.
    """
    for path, message in _broken(_schema(), _defaulted(_schema(), resource), ""):
        return f"{path}: {message}" if path else message
    return ""


@cache
def _schema() -> Tree:
    return dict(crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"])


def _broken(node: Tree, value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield path and message of each rule that a value breaks, or one below it."""
    for told in node.get("x-kubernetes-validations", ()):
        # who breaks a rule gives false, who cannot be judged by it an error: the API server refuses both
        if "oldSelf" not in told["rule"] and not _holds(told["rule"], value):
            yield path, told["message"]
    for step, inner, below in _parts(node, value):
        yield from _broken(inner, below, f"{path}{step}".removeprefix("."))


def _parts(node: Tree, value: Any) -> Iterator[tuple[str, Tree, Any]]:
    """Yield what a value is made of: the step of a path, its schema and the value."""
    if isinstance(value, list):
        for i, item in enumerate(value):
            yield f"[{i}]", node.get("items", {}), item
    if isinstance(value, dict):
        known, others = node.get("properties", {}), node.get("additionalProperties")
        for key, item in value.items():
            inner = known.get(key, others)
            if isinstance(inner, dict):
                yield f".{key}", inner, item


def _defaulted(node: Tree, value: Any) -> Any:
    """Return a value with its defaults, as the API server stores it; null is as good as left out."""
    if isinstance(value, list):
        return [_defaulted(node.get("items", {}), item) for item in value]
    if not isinstance(value, dict):
        return value
    known, others = node.get("properties", {}), node.get("additionalProperties")
    given = {key: inner["default"] for key, inner in known.items() if "default" in inner}
    given |= {key: item for key, item in value.items() if item is not None}
    return {
        key: _defaulted(inner, item) if isinstance(inner := known.get(key, others), dict) else item
        for key, item in given.items()
    }


def _holds(rule: str, value: Any) -> bool:
    return _compiled(rule).eval(data={"self": value}).plain_value() is True


@cache
def _compiled(rule: str) -> Any:
    return _language().compile(rule)


@cache
def _language() -> Any:
    """Return CEL with what Kubernetes and its optional values add to it, as far as the rules use it."""
    any_list = cel.Type.List(cel.Type.DYN)
    overload = cel.Overload(
        "list_sum", return_type=cel.Type.DOUBLE, parameters=[any_list], is_member=True, impl=_sum
    )
    return cel.NewEnv(
        variables={"self": cel.Type.DYN},
        extensions=[ExtOptional()],
        functions=[cel.FunctionDecl("sum", [overload])],
    )


def _sum(values: Sequence[float]) -> float:
    return float(sum(values))
