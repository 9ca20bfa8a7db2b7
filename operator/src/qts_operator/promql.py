"""PromQL that several alerts and panels share. Pure."""

from __future__ import annotations

BY = "by (namespace, system)"
WHERE = "{{ $labels.namespace }}/{{ $labels.system }}"
EACH = "by (namespace, system, agent)"
SHARE = "{{ $value | humanizePercentage }}"
SECONDS = "{{ $value | humanizeDuration }}"
_BUDGET = 0.001  # of all passes may fail
FAILED = 'qts_reconcile_total{result="error"}'


def burns(factor: float, *windows: str) -> str:
    """Return where more failed in each window than is left; `5m] offset 5m` is one that ended before."""
    shares = (f"sum(rate({FAILED}[{w})) / sum(rate(qts_reconcile_total[{w}))" for w in windows)
    return " and ".join(f"{share} > {factor * _BUDGET:g}" for share in shares)


def told(series: str) -> str:
    """Return what the operator tells of each system, whichever of its pods leads, or did a moment ago."""
    return f"max {BY} (last_over_time({series}[2m]))"


def condition(kind: str, value: int) -> str:
    """Return where the operator tells this of a condition: 1 True, 0 False."""
    series = f'qts_system_condition{{type="{kind}"}}'
    return f"{told(series)} == {value}"


MOVES = told("qts_system_progressing_seconds")
#: an ordinary start or roll-out, for as long as the operator gives it: what is missing then is on its way
STARTS = f"({MOVES} <= 300 > 0)"


def grown(metric: str, window: str) -> str:
    """Return by how much each series of a counter grew: exactly, also where it began, began anew or ended.

    increase() does not see the first value of a series, and guesses what lies beyond the scrapes.
    """
    now, before = f"last_over_time({metric}[{window}])", f"last_over_time({metric}[6h] offset {window})"
    return f"({now} - ({before} <= {now}) or {now})"


def restarts(by: str, process: str, window: str = "30m", most: int = 2) -> str:
    """Return how often a process was started again in its pod: one that is well between is Ready then.

    A new pod is a new series, so roll-outs and restarts by the operator do not count.
    """
    return f"max {by} (changes(process_start_time_seconds{{{process}}}[{window}])) > {most}"


def lacking(what: str, most: int) -> str:
    """Return how many rounds lacked `what` (votes, quorum), one after another up to the newest.

    Where it has been more than `most` for five minutes: rounds that are minutes apart are few in any window.
    """
    series = f'qts_rounds_lacking_in_a_row{{what="{what}"}}'
    return f"min_over_time(max {BY} ({series})[5m:]) > {most} and max {BY} ({series} offset 5m) > {most}"


def works(agent: str) -> str:
    """Return where a process is at work."""
    return f'max {BY} (qts_agent_state{{agent="{agent}", state=~"ready|degraded"}}) == 1'


def silence(metric: str, limit: str) -> str:
    """Return where nothing came for `limit` s since PADS and the feed are at work.

    Not of voters: one that restarts again and again would hide that nothing comes.
    """
    fed = f'({works("market")} or max {BY} (qts_bars_from_outside{{agent="pads"}}) == 1)'
    newest = f'max {BY} ({metric}{{agent=~"pads|market"}})'
    return f"(time() - {newest}) > {limit} and {fed} and {works('pads')}"
