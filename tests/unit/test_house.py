"""The house keeps its own rules: sizes, names, folders, and no stray operator package."""

from __future__ import annotations

import ast
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MEMBERS = ("core", "messaging", "agents", "operator", "cli")
SOURCES = sorted(path for member in MEMBERS for path in (ROOT / member / "src").rglob("*.py"))
FORBIDDEN = {"utils", "helpers", "common", "base", "manager", "types", "queue", "logging"}
#: modules that read or write nothing; architecture.md §4
PURE = [
    *(f"messaging/src/qts_messaging/{name}.py" for name in ("messages", "codec", "correlation", "outbox")),
    *(f"messaging/src/qts_messaging/{name}.py" for name in ("sequence", "accounts", "heartbeat")),
    *(f"agents/src/qts_agents/pads/{name}.py" for name in ("rounds", "members", "board", "actions")),
    "agents/src/qts_agents/market/bars.py",
    *(f"operator/src/qts_operator/{name}.py" for name in ("workqueue", "steps", "checks", "gpu", "fields")),
    *(f"operator/src/qts_operator/{name}.py" for name in ("plan", "status", "expectations", "snapshot")),
]
IMPURE = {"asyncio", "socket", "time", "random", "os", "zmq", "redis", "aiohttp", "kopf", "opentelemetry"}


def imports_of(path: Path) -> set[str]:
    """Return the top-level packages that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_function_stays_small(path: Path) -> None:
    """No function above 60 lines."""
    tree = ast.parse(path.read_text())
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = [f.name for f in functions if (f.end_lineno or 0) - f.lineno >= 60]
    assert long == []


def test_a_file_stays_small() -> None:
    """None above 400 lines, tests and benchmarks neither."""
    files = [*SOURCES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "bench").rglob("*.py")]
    assert [str(p.relative_to(ROOT)) for p in files if p.read_text().count("\n") > 400] == []


def test_no_module_has_the_name_of_a_drawer() -> None:
    """Names say what is inside."""
    assert [p for p in SOURCES if p.stem in FORBIDDEN] == []


def test_no_top_level_folder_is_a_package() -> None:
    """A package called operator would shadow the standard library's module."""
    assert list(ROOT.glob("*/__init__.py")) == []
    assert list((ROOT / "tests").rglob("__init__.py")) == []
    assert not (ROOT / "tests" / "operator").exists()


@pytest.mark.parametrize("name", PURE)
def test_a_pure_module_does_no_io(name: str) -> None:
    """What decides reads no clock, no socket and no environment."""
    assert imports_of(ROOT / name) & IMPURE == set()


def test_the_environment_is_read_in_three_places_only() -> None:
    """Settings enter once."""
    allowed = {"config.py", "telemetry.py", "__main__.py"}
    readers = [p for p in SOURCES if "os.environ" in p.read_text() or "getenv(" in p.read_text()]
    assert {p.name for p in readers} - allowed == set()


def test_members_are_pinned_to_each_other() -> None:
    """Wheels of two releases cannot be mixed."""
    for member in MEMBERS:
        project = tomllib.loads((ROOT / member / "pyproject.toml").read_text())["project"]
        ours = [d for d in project["dependencies"] if d.startswith(("qts-", "quantum-trading-system"))]
        assert all("==" in dependency for dependency in ours)


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=lambda p: p.stem)
def test_an_absolute_tolerance_stands_alone(path: Path) -> None:
    """numpy adds 10⁻⁷ or 10⁻⁵ of the value to `atol` unless `rtol` is given: ten digits would be seven."""
    calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
    wide = []
    for call in calls:
        given = {keyword.arg for keyword in call.keywords}
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        if name in ("assert_allclose", "allclose") and "atol" in given and "rtol" not in given:
            wide.append(call.lineno)
    assert wide == []


def file_of(module: str) -> Path | None:
    """Return the file of a module of ours, None for a package or somebody else's."""
    roots = [ROOT, *(ROOT / member / "src" for member in MEMBERS)]
    found = (root.joinpath(*module.split(".")).with_suffix(".py") for root in roots if module)
    return next((path for path in found if path.is_file()), None)


@cache
def bound(path: Path) -> set[str]:
    """Return every name that a file binds anywhere; more than those that can be imported, never fewer."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                names.add(node.name)
            case ast.Name(ctx=ast.Store()):
                names.add(node.id)
            case ast.alias():
                names.add(node.asname or node.name.split(".")[0])
    return names


@pytest.mark.parametrize("path", sorted((ROOT / "bench").rglob("*.py")), ids=lambda p: p.stem)
def test_what_a_benchmark_imports_from_us_is_there(path: Path) -> None:
    """A benchmark runs rarely: a function that moved away would be missed when the figure is needed."""
    lost = []
    for node in ast.walk(ast.parse(path.read_text())):
        source = file_of(node.module or "") if isinstance(node, ast.ImportFrom) else None
        if isinstance(node, ast.ImportFrom) and source is not None:
            lost += [alias.name for alias in node.names if alias.name not in bound(source)]
    assert lost == []
