"""`qts generate`: write every file that is derived from code, or check that nothing differs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from qts_core.errors import ConfigError


def generate(*, check: Annotated[bool, Parameter(negative=())] = False, root: Path = Path()) -> int:
    """Write CRD, rights, chart schemas and manifests from the code; with --check only compare.

    Parameters
    ----------
    check
        Write nothing; exit 1 and name every file that differs.
    root
        The project's folder.
    """
    if not (root / "operator" / "pyproject.toml").is_file():
        raise ConfigError(
            f"--root: {root.resolve()} is not the project's folder; run this where Makefile lies"
        )
    from qts_operator.generate import files

    wanted = files()
    changed = differing(root, wanted)
    if check:
        for path in changed:
            print(f"{path}: differs from what the code says; run `make generate`")
        return 1 if changed else 0
    for path in changed:
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(wanted[path], encoding="utf-8")
        print(f"{path}: written")
    if not changed:
        print(f"{len(wanted)} files, nothing to change")
    return 0


def differing(root: Path, wanted: Mapping[str, str]) -> list[str]:
    """Return the paths whose file is missing or holds another text."""
    return [path for path, text in wanted.items() if _text(root / path) != text]


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
