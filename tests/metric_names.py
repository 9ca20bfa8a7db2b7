"""docs/metrics.md as tests read it, and what a registry exposes, in the same shape."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).parents[1] / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| ([^|]+) \|", re.MULTILINE)
#: what a scrape adds to every sample
TARGET = {
    "job",
    "instance",
    "pod",
    "namespace",
    "system",
    "agent",
    "le",
    "__name__",
    "alertname",
    "generation",
}
Names = dict[str, tuple[str, tuple[str, ...]]]


def documented(heading: str) -> Names:
    """Return the rows below one heading of the document: name → type and labels."""
    section = DOCUMENT.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = {}
    for name, kind, labels in ROW.findall(section):
        rows[name] = (kind, () if labels.strip() == "–" else tuple(labels.strip().split(", ")))
    return rows


def exposed(collectors: Iterable[Any]) -> Names:
    """Return what collectors declare, under the names that a scraper sees; the client's own are left out."""
    found: Names = {}
    for collector in collectors:
        declared = [collector] if hasattr(collector, "_labelnames") else list(collector.collect())
        for each in declared:
            name = getattr(each, "_name", None) or each.name
            kind = getattr(each, "_type", None) or each.type
            if not name.startswith("process_"):
                found[f"{name}_total" if kind == "counter" else name] = (kind, tuple(each._labelnames))
    return found


def unknown(query: str) -> set[str]:
    """Return the metrics and labels of a query that the document does not name."""
    names = documented("Operator") | documented("Agents and feed")
    plain = re.sub(r'"[^"]*"', "", query)
    found = set(re.findall(r"\b((?:qts|messaging|process|up)(?:_[a-z0-9_]+)?)\b", plain))
    process = {
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
        "process_start_time_seconds",
        "up",
    }
    suffixes = ("_bucket", "_count", "_sum")
    bare = {f: next((f.removesuffix(s) for s in suffixes if f.endswith(s)), f) for f in found}
    labels = {label for _, given in names.values() for label in given}
    wrong = {f for f, b in bare.items() if b not in names and f not in process and f not in labels}
    allowed = TARGET | {label for b in bare.values() for label in names.get(b, ("", ()))[1]}
    used = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=(?!=))", plain))
    for group in re.findall(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)", plain):
        used |= {label.strip() for label in group.split(",")}
    return wrong | (used - allowed)
