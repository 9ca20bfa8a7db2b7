"""What differs between two texts, in two columns."""

from __future__ import annotations

import difflib

WIDTH = 58
LINES = 40


def columns(left: str, right: str) -> str:
    """Return the differing lines of two texts side by side, at most LINES of them; "" when they are equal."""
    one, other = left.splitlines(), right.splitlines()
    rows = []
    for tag, a, b, c, d in difflib.SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        for i in range(max(b - a, d - c)):
            was = one[a + i] if a + i < b else ""
            now = other[c + i] if c + i < d else ""
            rows.append(f"{was[:WIDTH]:{WIDTH}} | {now[:WIDTH]}")
    if not rows:
        return ""
    return "\n".join([f"{'reference':{WIDTH}} | plan", *rows[:LINES]])
