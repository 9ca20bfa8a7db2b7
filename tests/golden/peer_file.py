"""The file of a peer's answers: a head that says how it was made, then one game a line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def write(file: Path, head: dict[str, Any], games: Iterable[dict[str, Any]]) -> None:
    """Write the answers so that a difference is a line's."""
    lines = ",\n".join(json.dumps(game, separators=(",", ":")) for game in games)
    file.write_text(f'{json.dumps(head)[:-1]}, "games": [\n{lines}\n]}}\n')
