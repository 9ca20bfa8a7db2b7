"""What a proof came to: READERS find its numbers in what a command prints. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import msgspec

_SUMMARY = re.compile(r"(\d+) (passed|failed|skipped|errors?)\b")
_GOAL = re.compile(r"\(goal: at most ([\d.]+)\)$")  # ends the name of a number that a test measured
_MEASURED = re.compile(r"^ *(-?[\d,.]+|nan|inf) (\S.*)$")


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One run of one command: its exit code, what it took, and what it told."""

    command: str
    code: int
    seconds: float
    numbers: dict[str, str] = {}
    missed: tuple[str, ...] = ()  # goals that were not met, tests that were left out
    commit: str = ""


Told = tuple[dict[str, str], tuple[str, ...]]


def of_tests(printed: str) -> Told:
    """Read pytest's last line, and the numbers that tests measured."""
    lines = printed.splitlines()
    numbers: dict[str, str] = {}
    start = next((n for n, line in enumerate(lines) if re.fullmatch(r"=+ measured =+", line)), len(lines))
    for line in lines[start + 1 : -1]:  # the last line counts the tests
        found = _MEASURED.match(line)
        if found is None:
            break
        numbers[found[2]] = found[1]
    counts = {what: int(n) for n, what in _SUMMARY.findall(lines[-1] if lines else "")}
    told = ", ".join(f"{n} {what}" for what, n in counts.items())
    left_out = counts.get("skipped", 0)
    missed = [f"{left_out} tests left out"] if left_out else []
    missed += [name for name, value in numbers.items() if _above(name, value)]
    missed += [] if counts.get("passed") else ["no test passed"]
    return numbers | {"tests": told or "none"}, tuple(missed)


def _above(name: str, value: str) -> bool:
    goal = _GOAL.search(name)
    return goal is not None and float(value.replace(",", "")) > float(goal[1])


def of_figures(printed: str) -> Told:
    """Read the benchmarks' rows, one JSON object a line."""
    numbers, missed = {}, []
    for row in _objects(printed):
        goal = "" if row.get("goal") is None else f" (goal {row['goal']:g})"
        why = row.get("unmeasured")
        value = f"not measured: {why}" if why else f"{row['value']:g} {row['unit']}"
        beside = "" if row.get("ratio") is None else f"; {row['peer']} {row['peer_value']:.4g}"
        numbers[str(row["figure"])] = value + goal + beside
        if not row["ok"]:
            missed.append(str(row["figure"]))
    return numbers, tuple(missed) if numbers else ("no figure was printed",)


def of_last(printed: str) -> Told:
    """Read the last JSON object: the sum of a campaign or of mutants."""
    found = _objects(printed)
    if not found:
        return {}, ("nothing was counted",)
    told = found[-1]
    passed = told.get("missed")  # a death that never came shows nothing
    missed = (f"{passed} plans passed without their death",) if passed else ()
    return {key: json.dumps(value) for key, value in told.items()}, missed


def _objects(printed: str) -> list[dict[str, object]]:
    found = []
    for line in printed.splitlines():
        if line.startswith("{"):
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
    return found


READERS: dict[str, Callable[[str], Told]] = {"tests": of_tests, "figures": of_figures, "last": of_last}
