"""The series of every alert: those that fire it, those that leave it quiet, and the threshold itself."""

from __future__ import annotations

from typing import NamedTuple

from qts_operator.alerts import THRESHOLDS

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


def _one(series: str, firing: str, quiet: str, edge: str, at: str, step: str = "1m") -> Case:
    return Case({series: firing}, {series: quiet}, {series: edge}, at, step)


def _handed_over(metric: str, bad: int, quiet: int, edge: int, at: str, more: str = "") -> Case:
    """Another operator leads since the tenth minute, and is first scraped a minute later."""

    def both(value: int) -> dict[str, str]:
        first, second = (f"{metric}{leader}{more}}}" for leader in LEADERS)
        return {first: f"{value}x9 stale", second: f"_x11 {value}x20"}

    return Case(both(bad), both(quiet), both(edge), at)


def _starts(series: str, bad: str, well: str) -> Case:
    """Fires where a start takes too long; quiet where it ended well; at the edge it has its five minutes."""
    moves = ("0+60x20", "0+60x6 0x20", "1x5 0+60x20")
    three = zip((bad, well, bad), moves, strict=True)
    fires, ended, begins = ({series: each, MOVES: moved} for each, moved in three)
    return Case(fires, ended, begins, "10m")


def _condition(kind: str, bad: int, at: str) -> Case:
    """Fires on `bad`; quiet on the other value; at the edge it is Unknown, which is neither."""
    series = f'qts_system_condition{SYSTEM}, type="{kind}"}}'
    return _one(series, f"{bad}x60", f"{1 - bad}x60", "-1x60", at)


def _dies(ends: int) -> str:
    """Return when a process says that it began, one sample a minute: up for one, away for five, then for good."""
    return " ".join([*(f"{60 + 360 * n} _x4" for n in range(ends)), f"{60 + 360 * ends}x40"])


def _errors(failed: int, passes: str) -> dict[str, str]:
    total = 'qts_reconcile_total{result="ok"}'
    return {
        total: f"0+{10_000 - failed}{passes}",
        'qts_reconcile_total{result="error"}': f"0+{failed}{passes}",
    }


def _stale(metric: str, limit: int) -> Case:
    """All are at work; the newest one came at 0 and is looked at later; at the edge it is as old as allowed."""
    at = f'{metric}{SYSTEM}, agent="pads"}}'
    running, fresh, exact = {FEED: "1x60", PADS: "1x60"}, {at: "0+60x60"}, {at: f"-{limit}+60x60"}
    return Case(running | {at: "0x60"}, running | fresh, running | exact, "10m")


def _stale_degraded(metric: str) -> Case:
    """Who is degraded is at work; the age is PADS' and the feed's: a voter that begins anew changes nothing."""
    at, since = f"{metric}{SYSTEM}, agent=", {f'{metric}{SYSTEM}, agent="pads"}}': "0x60"}
    lame = {series.replace("ready", "degraded"): "1x60" for series in (FEED, PADS)}
    one_ended = {FEED.replace("ready", "ended"): "1x60", FEED: "0x60", PADS: "1x60"}
    feed_began = {FEED: "1x60", PADS: "1x60", f'{at}"market"}}': "0x8 580x60"}
    return Case(lame | since | {f'{at}"amos"}}': "0+60x60"}, one_ended | since, feed_began | since, "10m")


def _stale_outside(metric: str) -> Case:
    """Bars come from outside, there is no feed; quiet once the last one came, and before PADS is at work."""
    at = {f'{metric}{SYSTEM}, agent="pads"}}': "0x60"}
    starts = {PADS.replace("ready", "starting"): "1x60", PADS: "0x60"}
    return Case(
        at | {PADS: "1x60", OUTSIDE: "1x60"},
        at | {PADS: "1x60", OUTSIDE: "0x60"},
        at | starts | {OUTSIDE: "1x60"},
        "10m",
    )


def _drained(systems: int) -> dict[str, str]:
    """Of 50 systems the first ones changed one condition once in the last half hour."""
    series = 'qts_system_condition{namespace="trading", type="Ready", system="'
    return {f'{series}{n}"}}': "1x39 0x60" if n < systems else "1x60" for n in range(50)}


_NO_ROOM = f'qts_messages_stored_nowhere_total{SYSTEM}, agent="pads"}}'
_DEGRADED = f'qts_agent_state{SYSTEM}, agent="pads", state="degraded"}}'
_STARTED = f'process_start_time_seconds{SYSTEM}, agent="pads", pod="desk-pads-1"}}'
_RESTARTS = f'qts_agent_restarts_total{SYSTEM}, agent="amos", reason="PodFailed"}}'
_BEFORE = _RESTARTS.replace("agent=", 'pod="operator-1", agent=')
_LEADS_EAST, _LEADS_WEST = (f'qts_leader{{namespace="{n}"}}' for n in ("east", "west"))
_PASSES = {result: f'qts_reconcile_total{{result="{result}"}}' for result in ("ok", "error")}
_STATUSES = 'qts_writes_total{kind="QuantumTradingSystem", op="status"}'
_READY, _PAUSED = f'qts_system_condition{SYSTEM}, type="Ready"}}', f"qts_system_paused{SYSTEM}}}"
_REDIS = f'qts_system_condition{SYSTEM}, type="RedisReady"}}'
_SILENCE = f'qts_peer_heartbeat_age_seconds{SYSTEM}, agent="pads", peer="quasar"}}'
_SLOW = 'qts_api_request_duration_seconds_bucket{verb="GET", kind="Pod", code="200", le="'
_WRITES = 'qts_writes_total{kind="Deployment", op="apply"}'
_ROUNDS = f'qts_rounds_total{SYSTEM}, agent="pads", outcome="'
_HELD = f'qts_system_gpu_seconds_total{SYSTEM}, agent="quasar"}}'
_LAUNCHES = f'qts_gpu_launches_total{SYSTEM}, agent="quasar"}}'
CASES: dict[str, Case] = {
    "QtsOperatorDown": _one('up{job="qts-operator"}', "0x20", "1x20", "0x4 1x16", "15m"),
    "QtsNoLeader": _one("qts_leader", "0x20", "1x20", "1x20", "10m"),
    "QtsTwoLeaders": _one("qts_leader", "2x20", "1x20", "1x20", "10m"),
    # two installations of namespaces of their own: one without a leader, one with two
    "QtsNoLeader of two": Case(
        {_LEADS_EAST: "0x20", _LEADS_WEST: "1x20"},
        {_LEADS_EAST: "1x20", _LEADS_WEST: "1x20"},
        {_LEADS_EAST: "0x20", _LEADS_EAST.replace("}", ', pod="b"}'): "1x20", _LEADS_WEST: "1x20"},
        "10m",
    ),
    "QtsTwoLeaders of two": Case(
        {_LEADS_EAST: "1x20", _LEADS_EAST.replace("}", ', pod="b"}'): "1x20", _LEADS_WEST: "1x20"},
        {_LEADS_EAST: "1x20", _LEADS_WEST: "1x20"},
        {_LEADS_EAST: "1x20", _LEADS_EAST.replace("}", ', pod="b"}'): "0x20", _LEADS_WEST: "1x20"},
        "10m",
    ),
    # one system whose passes fail; an API server that was away for a minute; two failed passes
    "QtsReconcileErrorsBurn small": Case(
        {_PASSES["ok"]: "0+1x60", _PASSES["error"]: "0x20 6+1x40"},
        {_PASSES["ok"]: "0+100x60", _PASSES["error"]: "0x30 600x30"},
        {_PASSES["ok"]: "0+1x60", _PASSES["error"]: "0x25 1x5 2x30"},
        "34m",
        severity="page",
    ),
    "QtsReconcileErrorsBurn small ticket": Case(
        {_PASSES["ok"]: "0+6x90", _PASSES["error"]: "0x80 11x10"},
        {_PASSES["ok"]: "0+6x90", _PASSES["error"]: "0x80 1x10"},
        {_PASSES["ok"]: "0+6x90", _PASSES["error"]: "0x80 10x10"},
        "83h",
        "1h",
        "ticket",
    ),
    "QtsReconcileErrorsBurn": Case(
        _errors(200, "x90"), _errors(10, "x90"), _errors(144, "x90"), "80m", severity="page"
    ),
    "QtsReconcileErrorsBurn ticket": Case(
        _errors(20, "x90"), _errors(0, "x90"), _errors(10, "x90"), "83h", "1h", "ticket"
    ),
    "QtsQueueStuck": _one("qts_queue_oldest_age_seconds", "61x20", "0x20", "60x20", "10m"),
    "QtsHotLoop": Case(
        {_WRITES: "0+12x60", "qts_spec_changes_total": "5x60"},
        {_WRITES: "0+12x60", "qts_spec_changes_total": "0x39 1x30"},
        {_WRITES: "0+6x60", "qts_spec_changes_total": "5x60"},
        "55m",
    ),
    # drained nodes and a pod that comes back slowly change conditions: ten statuses of each change are no loop
    "QtsHotLoop of statuses": Case(
        {_STATUSES: "0+12x60", _READY: "1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 " * 4},
        {_STATUSES: "0+12x60"} | _drained(40),
        {_STATUSES: "0+6x60"},
        "55m",
    ),
    "QtsHotLoop of statuses in a fleet": Case(
        {_STATUSES: "0+12x60"} | _drained(30),
        {_STATUSES: "0+6x60"} | _drained(0),
        {_STATUSES: "0+12x60"} | _drained(36),
        "55m",
    ),
    "QtsWatchStale": _one(
        'qts_reflector_last_event_age_seconds{kind="Pod"}', "141x20", "3x20", "140x20", "10m"
    ),
    "QtsMissedEvents": _one(
        'qts_reflector_missed_events_total{kind="Pod"}', "0x5 1x20", "0x20", "7x20", "10m"
    ),
    "QtsAccessDenied": _one('qts_reflector_denied_total{kind="Node"}', "0x5 1x20", "0x20", "7x20", "10m"),
    "QtsAccessDenied first": _one(
        'qts_reflector_denied_total{kind="Event"}', "_x5 1x20", "_x20", "7x20", "10m"
    ),
    "QtsApiSlow": Case(
        {f'{_SLOW}1.0"}}': "0+90x40", f'{_SLOW}2.0"}}': "0+100x40", f'{_SLOW}+Inf"}}': "0+100x40"},
        {f'{_SLOW}0.5"}}': "0+100x40", f'{_SLOW}1.0"}}': "0+100x40", f'{_SLOW}+Inf"}}': "0+100x40"},
        {f'{_SLOW}0.5"}}': "0x40", f'{_SLOW}1.0"}}': "0+99x40", f'{_SLOW}+Inf"}}': "0+100x40"},
        "30m",
    ),
    "QtsCrdOutdated": _one("qts_crd_outdated", "1x20", "0x20", "0x20", "10m"),
    # the edge: exactly 100 MB a day
    "QtsOperatorMemoryGrowth": _one(
        'process_resident_memory_bytes{job="qts-operator"}',
        "1e8+200000x600",
        "1e8x600",
        "1e8+69444x600",
        "540m",
    ),
    # who takes the lead grows once: one of 1,000 systems, one of ten times as many
    "QtsOperatorMemoryGrowth once": _one(
        'process_resident_memory_bytes{job="qts-operator"}',
        "1e8+200000x900",
        "81.3e6x300 105.9e6x600",
        "81.3e6x300 330e6x600",
        "650m",
    ),
    "QtsTelemetryDropped": _one("qts_spans_dropped_total", "0x5 1x20", "0x20", "7x20", "10m"),
    "QtsSystemNotReady": Case(
        {f'qts_system_condition{SYSTEM}, type="Ready"}}': "0x20"},
        {
            f'qts_system_condition{SYSTEM}, type="Ready"}}': "0x20",
            f'qts_system_condition{SYSTEM}, type="Suspended"}}': "1x20",
        },
        {f'qts_system_condition{SYSTEM}, type="Ready"}}': "-1x20"},
        "15m",
    ),
    "QtsSystemDegraded": _condition("Degraded", 1, "10m"),
    # a person paused it and edited it, and all runs on; at the edge a pod was lost and came back
    "QtsSystemNotReady paused": Case(
        {_READY: "0x30", _PAUSED: "1x10 stale"},
        {_READY: "0x30", _PAUSED: "1x30"},
        {_READY: "0x30", _PAUSED: "1x10 stale _x9 1x10"},
        "25m",
    ),
    "QtsSystemNotReady handed over": _handed_over("qts_system_condition", 0, 1, -1, "15m", ', type="Ready"'),
    "QtsRolloutStuck": _one(f"qts_system_progressing_seconds{SYSTEM}}}", "901x20", "0x20", "900x20", "10m"),
    "QtsRolloutStuck handed over": _handed_over("qts_system_progressing_seconds", 901, 0, 900, "10m"),
    # looked at between two scrapes: exactly three are three
    "QtsAgentRestarting": _one(_RESTARTS, "0+1x30", "2x40", "0x5 1 2 3x40", "30m30s"),
    # as the operator tells it: no series before the first restart; it may see several between two scrapes
    "QtsAgentRestarting first": _one(_RESTARTS, "_x10 2 3 4x20", "_x10 1x30", "_x10 2 3x30", "30m30s"),
    # another operator leads since; what its predecessor counted still counts, and no more than once
    "QtsAgentRestarting handed over": Case(
        {_BEFORE: "_x5 1 2 2x5 _x40", _RESTARTS: "_x15 1 2x40"},
        {_BEFORE: "4x15 _x40", _RESTARTS: "_x15 1x40"},
        {_BEFORE: "7x5 8x5 _x40", _RESTARTS: "_x15 1 2x40"},
        "30m30s",
    ),
    "QtsAgentRestarting anew": _one(_RESTARTS, "9x60 2 4x20", "9x60 0x20", "9x60 1 2 3x20", "75m30s"),
    # it works for a minute and is away for five, as after five ends; a look ahead of the third end is quiet
    "QtsProcessRestarting": _one(_STARTED, _dies(5), _dies(1), _dies(2), "30m"),
    "QtsOperatorRestarting": _one(
        'process_start_time_seconds{job="qts-operator", namespace="trading", pod="a"}',
        _dies(5),
        _dies(1),
        _dies(2),
        "30m",
    ),
    "QtsProcessDegraded": Case(
        {_DEGRADED: "1x30"},
        {_DEGRADED: "1x30", f'qts_bus_mode{SYSTEM}, agent="pads", mode="simulated"}}': "1x30"},
        {_DEGRADED: "1x10 0 1x14"},
        "25m",
    ),
    "QtsGpuWasted": Case(
        {_HELD: "0+60x60", _LAUNCHES: "0x5 9x60"},  # what was timed at the start is long ago
        {_HELD: "0+60x60", _LAUNCHES: "0x45 1x20"},  # one launch is use
        {_HELD: "0+54x60", _LAUNCHES: "9x60"},  # exactly nine tenths of the time: a change of pods
        "50m",
    ),
    "QtsGpuWasted scraped": Case(
        {_HELD: "0+120x60", _LAUNCHES: "9x60"},
        {_HELD: "0+60x60"},  # nobody scrapes this agent
        {_LAUNCHES: "9x60", _HELD.replace("quasar", "amos"): "0+60x60"},  # it is another that holds one
        "50m",
    ),
    "QtsGpuUnavailable": _condition("GPUAvailable", 0, "20m"),
    "QtsRedisDown": _condition("RedisReady", 0, "10m"),
    "QtsRedisDown starts": _starts(_REDIS, "0x20", "0x6 1x20"),
    "QtsRedisRefuses": _one(
        f'qts_redis_refuses{SYSTEM}, agent="pads", kind="memory"}}', "1x20", "0x20", "0x9 1x1 0x20", "12m"
    ),
    "QtsRedisRefuses loading": Case(
        {f'qts_redis_refuses{SYSTEM}, agent="{a}", kind="rights"}}': "1x20" for a in ("pads", "amos")},
        {f'qts_redis_refuses{SYSTEM}, agent="pads", kind="memory"}}': "1x20", _REDIS: "0x20"},
        {f'qts_redis_refuses{SYSTEM}, agent="pads", kind="loading"}}': "1x20"},  # it ends by itself
        "12m",
    ),
    "QtsPeerSilent": _one(
        f'qts_peer_heartbeat_age_seconds{SYSTEM}, agent="pads", peer="quasar"}}',
        "31x20",
        "1x20",
        "30x20",
        "10m",
    ),
    "QtsPeerSilent starts": _starts(_SILENCE, "0+60x20", "0+60x6 1x20"),
    "QtsFeedStalled": _stale("qts_bar_last_timestamp_seconds", THRESHOLDS["FEED_STALLED_SECONDS"]),
    "QtsFeedStalled degraded": _stale_degraded("qts_bar_last_timestamp_seconds"),
    "QtsFeedStalled outside": _stale_outside("qts_bar_last_timestamp_seconds"),
    "QtsDecisionStale": _stale("qts_decision_last_timestamp_seconds", THRESHOLDS["DECISION_STALE_SECONDS"]),
    "QtsDecisionStale degraded": _stale_degraded("qts_decision_last_timestamp_seconds"),
    "QtsDecisionStale outside": _stale_outside("qts_decision_last_timestamp_seconds"),
    "QtsRoundsExpiring": Case(
        {f'{_ROUNDS}complete"}}': "0+90x60", f'{_ROUNDS}expired"}}': "0+10x60"},
        {f'{_ROUNDS}complete"}}': "0+100x60", f'{_ROUNDS}expired"}}': "0+1x60"},
        {f'{_ROUNDS}complete"}}': "0+95x60", f'{_ROUNDS}expired"}}': "0+5x60"},
        "40m",
    ),
    # a voter that pulls its image for four minutes or five, and one that needs longer
    "QtsRoundsExpiring starts": Case(
        {f'{_ROUNDS}no_quorum"}}': "0+6x8 48x30", f'{_ROUNDS}complete"}}': "0x8 0+6x30"},
        {f'{_ROUNDS}no_quorum"}}': "0+6x4 24x30", f'{_ROUNDS}complete"}}': "0x4 0+6x30"},
        {f'{_ROUNDS}no_quorum"}}': "0+6x5 30x30", f'{_ROUNDS}complete"}}': "0x5 0+6x30"},
        "11m",
        always=True,
    ),
    "QtsNoQuorum": _one(f'{_ROUNDS}no_quorum"}}', "0+2x20", "9x20", "0x8 3x3", "10m"),
    "QtsNoQuorum starts": Case(
        {f'{_ROUNDS}no_quorum"}}': "0+2x20", MOVES: "0+60x20"},
        {f'{_ROUNDS}no_quorum"}}': "0+2x6 12x20", MOVES: "1+60x4 290x2 0x20"},
        {f'{_ROUNDS}no_quorum"}}': "0+2x20", MOVES: "0x5 1+60x20"},
        "10m",
    ),
    # what ended with the start in its five minutes or later; what goes on is told five minutes after it
    "QtsNoQuorum after a start": Case(
        {f'{_ROUNDS}no_quorum"}}': "0+2x6 12x20", MOVES: "0+60x6 0x20"},
        {f'{_ROUNDS}no_quorum"}}': "0+2x4 8x20", MOVES: "1+60x4 0x20"},
        {f'{_ROUNDS}no_quorum"}}': "0+2x5 10x20", MOVES: "0+60x5 0x20"},
        "8m",
        always=True,
    ),
    "QtsNoQuorum since a start": Case(
        {f'{_ROUNDS}no_quorum"}}': "0+2x30", MOVES: "1+60x4 0x30"},
        {f'{_ROUNDS}no_quorum"}}': "0+2x5 10x30", MOVES: "1+60x4 0x30"},
        {f'{_ROUNDS}no_quorum"}}': "0x4 0+2x30", MOVES: "0x4 1+60x4 0x30"},
        "10m",
    ),
    "QtsMessagesLost": Case(
        {f'qts_dead_letters_total{SYSTEM}, agent="pads"}}': "0x5 1x20"},
        {
            f'qts_dead_letters_total{SYSTEM}, agent="pads"}}': "0x20",
            f'qts_messages_unaccounted_total{SYSTEM}, agent="amos"}}': "0x20",
            f'qts_durable_missing{SYSTEM}, agent="amos"}}': "2x5 0x20",  # found after all
        },
        # what was put aside before this process was first asked is no news
        {f'qts_messages_unaccounted_total{SYSTEM}, agent="amos"}}': "3x20"},
        "10m",
    ),
    "QtsMessagesLost missing": _one(
        f'qts_durable_missing{SYSTEM}, agent="amos"}}', "0x5 2x20", "0x20", "3x20", "10m"
    ),
    # of those who heard it nobody misses it
    "QtsMessagesLost spool": _one(_NO_ROOM, "_x6 1x20", "0x20", "3x30", "10m"),
    "QtsStreamBehind": _one(
        f'qts_stream_lag_seconds{SYSTEM}, agent="pads", reader="amos"}}',
        "86401x30",
        "2x30",
        "86400x30",
        "20m",
    ),
    "QtsAlertUnconfirmed": _one(
        f'qts_alerts_unconfirmed_total{SYSTEM}, agent="pads"}}', "0x5 1x20", "0x20", "7x20", "10m"
    ),
    "QtsRotationStuck": Case(
        {f'qts_config_generation{SYSTEM}, agent="{a}"}}': f"{v}x30" for a, v in (("pads", 7), ("amos", 8))},
        {f'qts_config_generation{SYSTEM}, agent="{a}"}}': f"{v}x30" for a, v in (("pads", 7), ("amos", 7))},
        # others differ, but for less than the time that a mounted file needs
        {
            f'qts_config_generation{SYSTEM}, agent="pads"}}': "7x30",
            f'qts_config_generation{SYSTEM}, agent="amos"}}': "8x8 7x30",
        },
        "20m",
    ),
}
