"""What the cases of several alerts are made of."""

from __future__ import annotations

from typing import NamedTuple

SYSTEM = '{namespace="trading", system="desk"'
FEED, PADS = (f'qts_agent_state{SYSTEM}, agent="{a}", state="ready"}}' for a in ("market", "pads"))
OUTSIDE = f'qts_bars_from_outside{SYSTEM}, agent="pads"}}'
LEADERS = tuple(
    f'{SYSTEM}, pod="operator-{n}"' for n in (1, 2)
)  # one leads until the tenth minute, one since
MOVES = f"qts_system_progressing_seconds{SYSTEM}}}"


class Case(NamedTuple):
    """Series by name with promtool's values, all at one sample a minute unless `step`.

    `at`: when to look; `always`: what is quiet then was so from the beginning.
    """

    firing: dict[str, str]
    quiet: dict[str, str]
    edge: dict[str, str]
    at: str
    step: str = "1m"
    severity: str = ""
    always: bool = False


def one(series: str, firing: str, quiet: str, edge: str, at: str, step: str = "1m") -> Case:
    return Case({series: firing}, {series: quiet}, {series: edge}, at, step)


def handed_over(metric: str, bad: int, quiet: int, edge: int, at: str, more: str = "") -> Case:
    """Another operator leads since the tenth minute, and is first scraped a minute later."""

    def both(value: int) -> dict[str, str]:
        first, second = (f"{metric}{leader}{more}}}" for leader in LEADERS)
        return {first: f"{value}x9 stale", second: f"_x11 {value}x20"}

    return Case(both(bad), both(quiet), both(edge), at)


def starts(series: str, bad: str, well: str) -> Case:
    """Fires where a start takes too long; quiet where it ended well; at the edge it has its five minutes."""
    moves = ("0+60x20", "0+60x6 0x20", "1x5 0+60x20")
    three = zip((bad, well, bad), moves, strict=True)
    fires, ended, begins = ({series: each, MOVES: moved} for each, moved in three)
    return Case(fires, ended, begins, "10m")


def condition(kind: str, bad: int, at: str) -> Case:
    """Fires on `bad`; quiet on the other value; at the edge it is Unknown, which is neither."""
    series = f'qts_system_condition{SYSTEM}, type="{kind}"}}'
    return one(series, f"{bad}x60", f"{1 - bad}x60", "-1x60", at)


def dies(ends: int) -> str:
    """Return when a process says that it began, one sample a minute: up for one, away for five, then for good."""
    return " ".join([*(f"{60 + 360 * n} _x4" for n in range(ends)), f"{60 + 360 * ends}x40"])


def errors(failed: int, passes: str) -> dict[str, str]:
    total = 'qts_reconcile_total{result="ok"}'
    return {
        total: f"0+{10_000 - failed}{passes}",
        'qts_reconcile_total{result="error"}': f"0+{failed}{passes}",
    }


def stale(metric: str, limit: int) -> Case:
    """All are at work; the newest one came at 0 and is looked at later; at the edge it is as old as allowed."""
    at = f'{metric}{SYSTEM}, agent="pads"}}'
    running, fresh, exact = {FEED: "1x60", PADS: "1x60"}, {at: "0+60x60"}, {at: f"-{limit}+60x60"}
    return Case(running | {at: "0x60"}, running | fresh, running | exact, "10m")


def stale_degraded(metric: str) -> Case:
    """Who is degraded is at work; the age is PADS' and the feed's: a voter that begins anew changes nothing."""
    at, since = f"{metric}{SYSTEM}, agent=", {f'{metric}{SYSTEM}, agent="pads"}}': "0x60"}
    lame = {series.replace("ready", "degraded"): "1x60" for series in (FEED, PADS)}
    one_ended = {FEED.replace("ready", "ended"): "1x60", FEED: "0x60", PADS: "1x60"}
    feed_began = {FEED: "1x60", PADS: "1x60", f'{at}"market"}}': "0x8 580x60"}
    return Case(lame | since | {f'{at}"amos"}}': "0+60x60"}, one_ended | since, feed_began | since, "10m")


def stale_outside(metric: str) -> Case:
    """Bars come from outside, there is no feed; quiet once the last one came, and before PADS is at work."""
    at = {f'{metric}{SYSTEM}, agent="pads"}}': "0x60"}
    starts = {PADS.replace("ready", "starting"): "1x60", PADS: "0x60"}
    return Case(
        at | {PADS: "1x60", OUTSIDE: "1x60"},
        at | {PADS: "1x60", OUTSIDE: "0x60"},
        at | starts | {OUTSIDE: "1x60"},
        "10m",
    )


def drained(systems: int) -> dict[str, str]:
    """Of 50 systems the first ones changed one condition once in the last half hour."""
    series = 'qts_system_condition{namespace="trading", type="Ready", system="'
    return {f'{series}{n}"}}': "1x39 0x60" if n < systems else "1x60" for n in range(50)}
