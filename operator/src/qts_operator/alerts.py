"""ALERTS: what wakes whom, in one table: chart and plain files are rendered from it.

Pure: observability.md §5 says why each exists.
"""

from __future__ import annotations

from typing import Any

import msgspec

from qts_operator.promql import (
    BY,
    EACH,
    FAILED,
    MOVES,
    SECONDS,
    SHARE,
    STARTS,
    WHERE,
    burns,
    condition,
    grown,
    lacking,
    restarts,
    silence,
    told,
)

#: where runbooks and dashboards lie; a chart value puts a site's own address before them
RUNBOOKS, BOARDS = "docs/runbooks", "/d/qts"
#: seconds without a bar, a decision, a launch, set by chart values: a live market wants three bars, a site
#: whose market sleeps at night a day without a launch
THRESHOLDS = {"FEED_STALLED_SECONDS": 30, "DECISION_STALE_SECONDS": 60, "GPU_IDLE_SECONDS": 1800}
#: the chart puts its namespace there: another installation of the cluster is not this one
RELEASE = "OF_RELEASE"
_OF_OPERATOR = f'up{{job="qts-operator"{RELEASE}}}'


class Alert(msgspec.Struct, frozen=True):
    """One rule: the condition, how long it must hold, who is called, and the two sentences they read."""

    name: str
    expr: str
    hold: str
    severity: str  # page | ticket
    summary: str
    description: str
    board: str = "system"  # operator | system | gpu


OPERATOR: tuple[Alert, ...] = (
    Alert(
        # absent() names a namespace only of what it is asked for, not of a comparison
        "QtsOperatorDown", f"absent({_OF_OPERATOR}) or max by (job, namespace) ({_OF_OPERATOR}) == 0",
        "5m", "page",
        "No replica of the operator answers its scrape",
        "No target of job qts-operator{{ with $labels.namespace }} in {{ . }}{{ end }} is up"
        " ({{ $value }}; 1: there is none). Systems run on; nothing repairs them.",
        "operator",
    ),
    Alert(
        "QtsNoLeader", "sum by (namespace) (qts_leader) < 1", "1m", "page",
        "No replica of the operator may write",
        "The sum of qts_leader in {{ $labels.namespace }} is {{ $value }}: no change is carried out.",
        "operator",
    ),
    Alert(
        "QtsOperatorRestarting", restarts("by (job, namespace)", f'job="qts-operator"{RELEASE}'),
        "0m", "page",
        "The operator ends and is started again, over and over",
        "A replica of the operator in {{ $labels.namespace }} was started again"
        " {{ $value | humanize }} times in 30 minutes.",
        "operator",
    ),
    Alert(
        # an upgrade and a drained node are two or three; after every one each system is looked at anew
        "QtsLeaderFlaps", f"sum by (namespace) {grown('qts_lease_transitions_total', '1h')} > 4",
        "0m", "ticket",
        "The replicas of the operator take the lead from each other",
        "The lead in {{ $labels.namespace }} changed {{ $value | humanize }} times in an hour.",
        "operator",
    ),
    Alert(
        "QtsTwoLeaders", "sum by (namespace) (qts_leader) > 1", "30s", "page",
        "More than one replica believes that it may write",
        "The sum of qts_leader in {{ $labels.namespace }} is {{ $value }}.",
        "operator",
    ),
    Alert(
        "QtsReconcileErrorsBurn",
        # an API server that is away for a moment fills one window of five minutes, and of few passes one that
        # fails is a large share
        f"{burns(14.4, '5m]', '5m] offset 5m', '1h]')} and sum(increase({FAILED}[1h])) > 5", "2m", "page",
        "Passes fail so often that the month's budget is gone in two days",
        f"{SHARE} of the passes of the last 5 minutes failed, and as many of the last hour.",
        "operator",
    ),
    Alert(
        "QtsReconcileErrorsBurn",
        f"{burns(1.0, '6h]', '3d]')} and sum(increase({FAILED}[6h])) > 10", "0m", "ticket",
        "Passes fail more often than the budget allows",
        f"{SHARE} of the passes of the last 6 hours failed, and as many of the last 3 days.",
        "operator",
    ),
    Alert(
        "QtsQueueStuck", "qts_queue_oldest_age_seconds > 60", "2m", "page",
        "A system waits for its pass",
        f"The oldest key of {{{{ $labels.pod }}}} has waited {SECONDS}.",
        "operator",
    ),
    Alert(
        "QtsHotLoop",
        # of statuses only more than changed conditions explain, as of drained nodes: each is some statuses,
        # and what changes back between two scrapes is not seen; or where one changed again and again
        '(sum(rate(qts_writes_total{kind!~"Lease|Event", op!="status"}[10m])) > 0.1'
        ' or sum(rate(qts_writes_total{op="status"}[10m])) > 0.1'
        ' and (sum(increase(qts_writes_total{op="status"}[30m]))'
        " > 10 * (sum(changes(qts_system_condition[30m])) or vector(0))"
        " or max(changes(qts_system_condition[30m])) >= 20))"
        " unless sum(increase(qts_spec_changes_total[30m])) > 0",
        "10m", "ticket",
        "The operator writes though nobody changed a spec",
        "{{ $value | humanize }} writes a second for 10 minutes, and no spec changed in 30.",
        "operator",
    ),
    Alert(
        "QtsWatchStale", "qts_reflector_last_event_age_seconds > 140", "1m", "page",
        "The operator no longer hears the API server",
        f"Nothing was heard of kind {{{{ $labels.kind }}}} for {SECONDS}.",
        "operator",
    ),
    Alert(
        "QtsMissedEvents", "increase(qts_reflector_missed_events_total[1h]) > 0", "0m", "ticket",
        "A full list showed what the watch did not",
        "{{ $value | humanize }} objects of kind {{ $labels.kind }} differed from the cache.",
        "operator",
    ),
    Alert(
        "QtsAccessDenied",
        # not code 403: a quota, an admission check and a namespace on its way out answer with it too
        f"sum by (kind) {grown('qts_reflector_denied_total', '10m')} > 0",
        "0m", "ticket",
        "A right of the operator is missing",
        "{{ $value | humanize }} requests about kind {{ $labels.kind }} were refused in 10 minutes.",
        "operator",
    ),
    Alert(
        "QtsApiSlow",
        "histogram_quantile(0.99, sum by (le) (rate(qts_api_request_duration_seconds_bucket[5m]))) > 1",
        "10m", "ticket",
        "The API server answers the operator slowly",
        f"The 99th percentile of a request is {SECONDS}.",
        "operator",
    ),
    Alert(
        "QtsCrdOutdated", "qts_crd_outdated == 1", "1m", "ticket",
        "The served definition is not the one of this operator",
        "qts_crd_outdated of {{ $labels.pod }} is {{ $value }}: fields may be dropped in silence.",
        "operator",
    ),
    Alert(
        "QtsOperatorMemoryGrowth",
        # held as long as it looks back: who begins to lead, or has many new systems, grows once
        'deriv(process_resident_memory_bytes{job="qts-operator"}[6h]) * 86400 > 100e6', "6h", "ticket",
        "The operator's memory grows",
        "{{ $labels.pod }} grows by {{ $value | humanize1024 }}B a day.",
        "operator",
    ),
    Alert(
        "QtsTelemetryDropped", "increase(qts_spans_dropped_total[15m]) > 0", "0m", "ticket",
        "Spans are lost on their way to the collector",
        "{{ $labels.pod }} lost {{ $value | humanize }} spans in 15 minutes.",
        "operator",
    ),
)  # fmt: skip

SYSTEM: tuple[Alert, ...] = (
    Alert(
        "QtsSystemNotReady",
        f'{condition("Ready", 0)} unless {condition("Suspended", 1)}'
        f" unless {told('qts_system_paused')} == 1",
        "10m", "page",
        "A system is not ready",
        f"Ready of {WHERE} is {{{{ $value }}}} (0 is False).",
    ),
    Alert(
        "QtsSystemDegraded", condition("Degraded", 1), "5m", "page",
        "A system needs a person",
        f"Degraded of {WHERE} is {{{{ $value }}}} (1 is True); the condition's message names the remedy.",
    ),
    Alert(
        "QtsRolloutStuck", f"{MOVES} > 900", "0m", "ticket",
        "A roll-out does not end",
        f"{WHERE} has been rolling out for {SECONDS}.",
    ),
    Alert(
        "QtsAgentRestarting", f"sum {EACH} {grown('qts_agent_restarts_total', '30m')} > 3", "0m", "ticket",
        "The operator restarts an agent again and again",
        f"{{{{ $labels.agent }}}} of {WHERE} was restarted {{{{ $value | humanize }}}} times in 30 minutes.",
    ),
    Alert(
        "QtsProcessRestarting", restarts(EACH, 'system!=""'), "0m", "page",
        "A process of a system ends and is started again, over and over",
        f"{{{{ $labels.agent }}}} of {WHERE} was started again in its pod {{{{ $value | humanize }}}} times"
        " in 30 minutes.",
    ),
    Alert(
        "QtsProcessRestarting", restarts(EACH, 'system!=""', "6h", 4), "0m", "ticket",
        "A process of a system ends and is started again, now and then",
        f"{{{{ $labels.agent }}}} of {WHERE} was started again in its pod {{{{ $value | humanize }}}} times"
        " in 6 hours.",
    ),
    Alert(
        "QtsProcessDegraded",
        # who asked for a simulated bus knows that it is one
        f'max {EACH} (qts_agent_state{{state="degraded"}}) == 1'
        f' unless max {EACH} (qts_bus_mode{{mode="simulated"}}) == 1',
        "15m", "ticket",
        "A process is at work, and something of it is not",
        f"{{{{ $labels.agent }}}} of {WHERE} is degraded ({{{{ $value }}}} is yes); `qts status` says why.",
    ),
    Alert(
        "QtsGpuUnavailable", condition("GPUAvailable", 0), "15m", "ticket",
        "An agent has not the GPU that it asks for",
        f"GPUAvailable of {WHERE} is {{{{ $value }}}} (0 is False).",
        "gpu",
    ),
    Alert(
        "QtsGpuWasted",
        # held nearly all that time, and scraped: an agent that nobody asks is no proof of anything
        f"sum {EACH} (increase(qts_system_gpu_seconds_total[GPU_IDLE_SECONDSs])) > 0.9 * GPU_IDLE_SECONDS"
        " and on (namespace, system, agent)"
        f" sum {EACH} (increase(qts_gpu_launches_total[GPU_IDLE_SECONDSs])) == 0",
        "5m", "ticket",
        "An agent holds a GPU and asks it nothing",
        f"{{{{ $labels.agent }}}} of {WHERE} has held {SECONDS} of a GPU without one launch.",
        "gpu",
    ),
    Alert(
        "QtsRedisDown", f"{condition('RedisReady', 0)} unless {STARTS}", "2m", "page",
        "A system has no Redis",
        f"RedisReady of {WHERE} is {{{{ $value }}}} (0 is False).",
    ),
    Alert(
        "QtsRedisRefuses",
        # what it refuses PADS is the condition's, and QtsRedisDown's: nobody is paged twice
        'max by (namespace, system, kind) (qts_redis_refuses{kind!="loading"}) == 1'
        f" unless on (namespace, system) {condition('RedisReady', 0)}", "2m", "page",
        "Redis answers and refuses some processes",
        f"Redis refuses processes of {WHERE}: {{{{ $labels.kind }}}} ({{{{ $value }}}} is yes).",
    ),
    Alert(
        "QtsPeerSilent",
        f"qts_peer_heartbeat_age_seconds > 30 unless on (namespace, system) {STARTS}", "1m", "page",
        "An agent is not heard by another one",
        f"{{{{ $labels.agent }}}} of {WHERE} has not heard {{{{ $labels.peer }}}} for {SECONDS}.",
    ),
    Alert(
        "QtsFeedStalled", silence("qts_bar_last_timestamp_seconds", "FEED_STALLED_SECONDS"), "1m", "page",
        "No bar arrives though the feed is ready",
        f"The newest bar of {WHERE} arrived {SECONDS} ago.",
    ),
    Alert(
        "QtsDecisionStale", silence("qts_decision_last_timestamp_seconds", "DECISION_STALE_SECONDS"),
        "1m", "page",
        "Nothing is decided though the feed is ready",
        f"The newest decision of {WHERE} is {SECONDS} old.",
    ),
    Alert(
        "QtsRoundsExpiring",
        # looks back half as long as it holds: what is over after the five minutes of a start wakes nobody
        f'sum {BY} (rate(qts_rounds_total{{outcome!="complete"}}[5m]))'
        f" / sum {BY} (rate(qts_rounds_total[5m])) > 0.05 or ({lacking('votes', 2)}) > bool 0",
        "10m", "page",
        "Rounds end without every vote",
        f"{SHARE} of the rounds of {WHERE} were not complete.",
    ),
    Alert(
        "QtsNoQuorum",
        # the rounds of a start that is over are still looked back at
        f'(sum {BY} (increase(qts_rounds_total{{outcome="no_quorum"}}[5m])) > 3'
        f" or {lacking('quorum', 1)})"
        f" unless max {BY} (max_over_time(qts_system_progressing_seconds[5m])) <= 300 > 0",
        "0m", "page",
        "Rounds end without a quorum",
        f"{{{{ $value | humanize }}}} rounds of {WHERE} had no quorum, in 5 minutes or one after another.",
    ),
    Alert(
        "QtsMessagesLost",
        f"sum {BY} (increase(qts_dead_letters_total[10m])) > 0"
        f" or sum {BY} (increase(qts_messages_unaccounted_total[10m])) > 0"
        f" or sum {BY} (delta(qts_durable_missing[10m])) > 0"
        f" or sum {BY} {grown('qts_messages_stored_nowhere_total', '10m')} > 0",
        "0m", "page",
        "Durable messages were put aside or never came, or messages ended without a reason",
        f"{{{{ $value | humanize }}}} messages of {WHERE} in 10 minutes.",
    ),
    Alert(
        "QtsStreamBehind", "qts_stream_lag_seconds > 86400", "10m", "ticket",
        "A reader does not handle what is stored for it; after 7 days it is cut",
        f"{{{{ $labels.reader }}}} of {WHERE} has left a durable message unhandled for {SECONDS}.",
    ),
    Alert(
        "QtsAlertUnconfirmed", f"sum {BY} (increase(qts_alerts_unconfirmed_total[10m])) > 0", "0m", "page",
        "A risk alert ended before its receiver confirmed it",
        f"{{{{ $value | humanize }}}} risk alerts of {WHERE} in 10 minutes.",
    ),
    Alert(
        "QtsRotationStuck",
        f'count {BY} (count_values {BY} ("generation", qts_config_generation)) > 1', "10m", "ticket",
        "The processes of a system hold different settings",
        f"{WHERE}: {{{{ $value }}}} different generations.",
    ),
)  # fmt: skip

GROUPS = {"qts-operator": OPERATOR, "qts-system": SYSTEM}
ALERTS = OPERATOR + SYSTEM


def groups(thresholds: dict[str, int] | None = None, namespace: str = "") -> dict[str, Any]:
    """Return the groups as Prometheus reads them; without `thresholds` their names stay for the chart.

    `namespace` is where the operator is looked for; "" is anywhere.
    """
    given = {name: str(seconds) for name, seconds in (thresholds or {}).items()}
    if thresholds is not None:
        given[RELEASE] = f", namespace='{namespace}'" if namespace else ""
    made = [{"name": name, "rules": [_rule(a, given) for a in rows]} for name, rows in GROUPS.items()]
    return {"groups": made}


def _rule(alert: Alert, given: dict[str, str]) -> dict[str, Any]:
    expr = alert.expr
    for name, text in given.items():
        expr = expr.replace(name, text)
    return {
        "alert": alert.name,
        "expr": expr,
        "for": alert.hold,
        "labels": {"severity": alert.severity},
        "annotations": {
            "summary": alert.summary,
            "description": alert.description,
            "runbook_url": f"{RUNBOOKS}/{alert.name}.md",
            "dashboard_url": f"{BOARDS}-{alert.board}",
        },
    }
