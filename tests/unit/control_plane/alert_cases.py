"""The series of every alert: those that fire it, those that leave it quiet, and the threshold itself."""

from __future__ import annotations

from tests.unit.control_plane.alert_series import (
    MOVES,
    SYSTEM,
    Case,
    condition,
    dies,
    drained,
    errors,
    handed_over,
    one,
    stale,
    stale_degraded,
    stale_outside,
    starts,
)

from qts_operator.alerts import THRESHOLDS

_NO_ROOM = f'qts_messages_stored_nowhere_total{SYSTEM}, agent="pads"}}'
_DEGRADED = f'qts_agent_state{SYSTEM}, agent="pads", state="degraded"}}'
_STARTED = f'process_start_time_seconds{SYSTEM}, agent="pads", pod="desk-pads-1"}}'
_RESTARTS = f'qts_agent_restarts_total{SYSTEM}, agent="amos", reason="PodFailed"}}'
_BEFORE = _RESTARTS.replace("agent=", 'pod="operator-1", agent=')
_LEADS_EAST, _LEADS_WEST = (f'qts_leader{{namespace="{n}"}}' for n in ("east", "west"))
_WON = 'qts_lease_transitions_total{{namespace="trading", pod="{}"}}'
_PASSES = {result: f'qts_reconcile_total{{result="{result}"}}' for result in ("ok", "error")}
_STATUSES = 'qts_writes_total{kind="QuantumTradingSystem", op="status"}'
_READY, _PAUSED = f'qts_system_condition{SYSTEM}, type="Ready"}}', f"qts_system_paused{SYSTEM}}}"
_REDIS = f'qts_system_condition{SYSTEM}, type="RedisReady"}}'
_SILENCE = f'qts_peer_heartbeat_age_seconds{SYSTEM}, agent="pads", peer="quasar"}}'
_SLOW = 'qts_api_request_duration_seconds_bucket{verb="GET", kind="Pod", code="200", le="'
_WRITES = 'qts_writes_total{kind="Deployment", op="apply"}'
_ROUNDS = f'qts_rounds_total{SYSTEM}, agent="pads", outcome="'
_LACKING = f'qts_rounds_lacking_in_a_row{SYSTEM}, agent="pads", what="votes"}}'
_NO_QUORUM = _LACKING.replace("votes", "quorum")
_HELD = f'qts_system_gpu_seconds_total{SYSTEM}, agent="quasar"}}'
_LAUNCHES = f'qts_gpu_launches_total{SYSTEM}, agent="quasar"}}'
CASES: dict[str, Case] = {
    "QtsOperatorDown": one('up{job="qts-operator"}', "0x20", "1x20", "0x4 1x16", "15m"),
    "QtsNoLeader": one("qts_leader", "0x20", "1x20", "1x20", "10m"),
    "QtsLeaderFlaps": Case(
        {_WON.format(p): "0x10 1x5 2x5 3x40" for p in "ab"},
        {_WON.format("a"): "3x60", _WON.format("b"): "_x50 1x20"},
        {_WON.format(p): "0x10 1x5 2x45" for p in "ab"},
        "60m",
    ),
    "QtsTwoLeaders": one("qts_leader", "2x20", "1x20", "1x20", "10m"),
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
        errors(200, "x90"), errors(10, "x90"), errors(144, "x90"), "80m", severity="page"
    ),
    "QtsReconcileErrorsBurn ticket": Case(
        errors(20, "x90"), errors(0, "x90"), errors(10, "x90"), "83h", "1h", "ticket"
    ),
    "QtsQueueStuck": one("qts_queue_oldest_age_seconds", "61x20", "0x20", "60x20", "10m"),
    "QtsHotLoop": Case(
        {_WRITES: "0+12x60", "qts_spec_changes_total": "5x60"},
        {_WRITES: "0+12x60", "qts_spec_changes_total": "0x39 1x30"},
        {_WRITES: "0+6x60", "qts_spec_changes_total": "5x60"},
        "55m",
    ),
    # drained nodes and a pod that comes back slowly change conditions: ten statuses of each change are no loop
    "QtsHotLoop of statuses": Case(
        {_STATUSES: "0+12x60", _READY: "1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 " * 4},
        {_STATUSES: "0+12x60"} | drained(40),
        {_STATUSES: "0+6x60"},
        "55m",
    ),
    "QtsHotLoop of statuses in a fleet": Case(
        {_STATUSES: "0+12x60"} | drained(30),
        {_STATUSES: "0+6x60"} | drained(0),
        {_STATUSES: "0+12x60"} | drained(36),
        "55m",
    ),
    "QtsWatchStale": one(
        'qts_reflector_last_event_age_seconds{kind="Pod"}', "141x20", "3x20", "140x20", "10m"
    ),
    "QtsMissedEvents": one(
        'qts_reflector_missed_events_total{kind="Pod"}', "0x5 1x20", "0x20", "7x20", "10m"
    ),
    "QtsAccessDenied": one('qts_reflector_denied_total{kind="Node"}', "0x5 1x20", "0x20", "7x20", "10m"),
    "QtsAccessDenied first": one(
        'qts_reflector_denied_total{kind="Event"}', "_x5 1x20", "_x20", "7x20", "10m"
    ),
    "QtsApiSlow": Case(
        {f'{_SLOW}1.0"}}': "0+90x40", f'{_SLOW}2.0"}}': "0+100x40", f'{_SLOW}+Inf"}}': "0+100x40"},
        {f'{_SLOW}0.5"}}': "0+100x40", f'{_SLOW}1.0"}}': "0+100x40", f'{_SLOW}+Inf"}}': "0+100x40"},
        {f'{_SLOW}0.5"}}': "0x40", f'{_SLOW}1.0"}}': "0+99x40", f'{_SLOW}+Inf"}}': "0+100x40"},
        "30m",
    ),
    "QtsCrdOutdated": one("qts_crd_outdated", "1x20", "0x20", "0x20", "10m"),
    # the edge: exactly 100 MB a day
    "QtsOperatorMemoryGrowth": one(
        'process_resident_memory_bytes{job="qts-operator"}',
        "1e8+200000x600",
        "1e8x600",
        "1e8+69444x600",
        "540m",
    ),
    # who takes the lead grows once: one of 1,000 systems, one of ten times as many
    "QtsOperatorMemoryGrowth once": one(
        'process_resident_memory_bytes{job="qts-operator"}',
        "1e8+200000x900",
        "81.3e6x300 105.9e6x600",
        "81.3e6x300 330e6x600",
        "650m",
    ),
    "QtsTelemetryDropped": one("qts_spans_dropped_total", "0x5 1x20", "0x20", "7x20", "10m"),
    "QtsSystemNotReady": Case(
        {f'qts_system_condition{SYSTEM}, type="Ready"}}': "0x20"},
        {
            f'qts_system_condition{SYSTEM}, type="Ready"}}': "0x20",
            f'qts_system_condition{SYSTEM}, type="Suspended"}}': "1x20",
        },
        {f'qts_system_condition{SYSTEM}, type="Ready"}}': "-1x20"},
        "15m",
    ),
    "QtsSystemDegraded": condition("Degraded", 1, "10m"),
    # a person paused it and edited it, and all runs on; at the edge a pod was lost and came back
    "QtsSystemNotReady paused": Case(
        {_READY: "0x30", _PAUSED: "1x10 stale"},
        {_READY: "0x30", _PAUSED: "1x30"},
        {_READY: "0x30", _PAUSED: "1x10 stale _x9 1x10"},
        "25m",
    ),
    "QtsSystemNotReady handed over": handed_over("qts_system_condition", 0, 1, -1, "15m", ', type="Ready"'),
    "QtsRolloutStuck": one(f"qts_system_progressing_seconds{SYSTEM}}}", "901x20", "0x20", "900x20", "10m"),
    "QtsRolloutStuck handed over": handed_over("qts_system_progressing_seconds", 901, 0, 900, "10m"),
    # looked at between two scrapes: exactly three are three
    "QtsAgentRestarting": one(_RESTARTS, "0+1x30", "2x40", "0x5 1 2 3x40", "30m30s"),
    # as the operator tells it: no series before the first restart; it may see several between two scrapes
    "QtsAgentRestarting first": one(_RESTARTS, "_x10 2 3 4x20", "_x10 1x30", "_x10 2 3x30", "30m30s"),
    # another operator leads since; what its predecessor counted still counts, and no more than once
    "QtsAgentRestarting handed over": Case(
        {_BEFORE: "_x5 1 2 2x5 _x40", _RESTARTS: "_x15 1 2x40"},
        {_BEFORE: "4x15 _x40", _RESTARTS: "_x15 1x40"},
        {_BEFORE: "7x5 8x5 _x40", _RESTARTS: "_x15 1 2x40"},
        "30m30s",
    ),
    "QtsAgentRestarting anew": one(_RESTARTS, "9x60 2 4x20", "9x60 0x20", "9x60 1 2 3x20", "75m30s"),
    # it works for a minute and is away for five, as after five ends; a look ahead of the third end is quiet
    "QtsProcessRestarting": Case(*({_STARTED: dies(ends)} for ends in (5, 1, 2)), "30m", severity="page"),
    # once an hour
    "QtsProcessRestarting ticket": Case(
        *({_STARTED: " ".join(f"{60 * 60 * n}x59" for n in range(hours))} for hours in (6, 2, 5)),
        "301m",
        severity="ticket",
    ),
    "QtsOperatorRestarting": one(
        'process_start_time_seconds{job="qts-operator", namespace="trading", pod="a"}',
        dies(5),
        dies(1),
        dies(2),
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
    "QtsGpuUnavailable": condition("GPUAvailable", 0, "20m"),
    "QtsRedisDown": condition("RedisReady", 0, "10m"),
    "QtsRedisDown starts": starts(_REDIS, "0x20", "0x6 1x20"),
    "QtsRedisRefuses": one(
        f'qts_redis_refuses{SYSTEM}, agent="pads", kind="memory"}}', "1x20", "0x20", "0x9 1x1 0x20", "12m"
    ),
    "QtsRedisRefuses loading": Case(
        {f'qts_redis_refuses{SYSTEM}, agent="{a}", kind="rights"}}': "1x20" for a in ("pads", "amos")},
        {f'qts_redis_refuses{SYSTEM}, agent="pads", kind="memory"}}': "1x20", _REDIS: "0x20"},
        {f'qts_redis_refuses{SYSTEM}, agent="pads", kind="loading"}}': "1x20"},  # it ends by itself
        "12m",
    ),
    "QtsPeerSilent": one(
        f'qts_peer_heartbeat_age_seconds{SYSTEM}, agent="pads", peer="quasar"}}',
        "31x20",
        "1x20",
        "30x20",
        "10m",
    ),
    "QtsPeerSilent starts": starts(_SILENCE, "0+60x20", "0+60x6 1x20"),
    "QtsFeedStalled": stale("qts_bar_last_timestamp_seconds", THRESHOLDS["FEED_STALLED_SECONDS"]),
    "QtsFeedStalled degraded": stale_degraded("qts_bar_last_timestamp_seconds"),
    "QtsFeedStalled outside": stale_outside("qts_bar_last_timestamp_seconds"),
    "QtsDecisionStale": stale("qts_decision_last_timestamp_seconds", THRESHOLDS["DECISION_STALE_SECONDS"]),
    "QtsDecisionStale degraded": stale_degraded("qts_decision_last_timestamp_seconds"),
    "QtsDecisionStale outside": stale_outside("qts_decision_last_timestamp_seconds"),
    "QtsRoundsExpiring": Case(
        {f'{_ROUNDS}complete"}}': "0+90x60", f'{_ROUNDS}expired"}}': "0+10x60"},
        {f'{_ROUNDS}complete"}}': "0+100x60", f'{_ROUNDS}expired"}}': "0+1x60"},
        {f'{_ROUNDS}complete"}}': "0+95x60", f'{_ROUNDS}expired"}}': "0+5x60"},
        "40m",
    ),
    # rounds of a quarter of an hour: three in a row, one that was well between, and two so far
    "QtsRoundsExpiring seldom": Case(
        {_LACKING: "0x20 1x15 2x15 3x25"},
        {_LACKING: "0x20 1x15 0x15 1x15 2x15"},
        {_LACKING: "0x20 1x15 2x40"},
        "75m",
    ),
    # a voter that pulls its image for four minutes or five, and one that needs longer
    "QtsRoundsExpiring starts": Case(
        {f'{_ROUNDS}no_quorum"}}': "0+6x8 48x30", f'{_ROUNDS}complete"}}': "0x8 0+6x30"},
        {f'{_ROUNDS}no_quorum"}}': "0+6x4 24x30", f'{_ROUNDS}complete"}}': "0x4 0+6x30"},
        {f'{_ROUNDS}no_quorum"}}': "0+6x5 30x30", f'{_ROUNDS}complete"}}': "0x5 0+6x30"},
        "11m",
        always=True,
    ),
    "QtsNoQuorum": one(f'{_ROUNDS}no_quorum"}}', "0+2x20", "9x20", "0x8 3x3", "10m"),
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
    # rounds of ten minutes; in a start; a PADS that began a moment ago and whose voters come back
    "QtsNoQuorum seldom": Case(
        {_NO_QUORUM: "0x10 1x10 2x20"},
        {_NO_QUORUM: "0x10 1x10 0x10 1x10"},
        {_NO_QUORUM: "_x28 4 9 0x20"},
        "30m",
        always=True,
    ),
    "QtsNoQuorum seldom starts": starts(_NO_QUORUM, "2x20", "2x6 0x20"),
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
    "QtsMessagesLost missing": one(
        f'qts_durable_missing{SYSTEM}, agent="amos"}}', "0x5 2x20", "0x20", "3x20", "10m"
    ),
    # of those who heard it nobody misses it
    "QtsMessagesLost spool": one(_NO_ROOM, "_x6 1x20", "0x20", "3x30", "10m"),
    "QtsStreamBehind": one(
        f'qts_stream_lag_seconds{SYSTEM}, agent="pads", reader="amos"}}',
        "86401x30",
        "2x30",
        "86400x30",
        "20m",
    ),
    "QtsAlertUnconfirmed": one(
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
