"""BOARDS: every panel of the Grafana dashboards in one table, and their JSON. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from qts_operator.promql import grown

WIDTH, HEIGHT, COLUMNS = 8, 7, 3
_VERSION = 39  # of Grafana's schema
_SOURCE = {"type": "prometheus", "uid": "${source}"}
_SYSTEM = 'namespace=~"$namespace", system=~"$system"'
_BY = "by (namespace, system)"


class Panel(msgspec.Struct, frozen=True):
    """One panel: its queries by legend. `quiet`: no answer is good news, nothing has happened yet."""

    title: str
    unit: str
    queries: dict[str, str]
    quiet: bool = False
    kind: str = "timeseries"


def _quantile(metric: str, q: float, by: str = "", labels: str = "") -> str:
    inner = f"sum by (le{by}) (rate({metric}_bucket{labels}[5m]))"
    return f"histogram_quantile({q:g}, {inner})"


def _quantiles(metric: str, labels: str = "") -> dict[str, str]:
    return {f"p{100 * q:g}": _quantile(metric, q, labels=labels) for q in (0.5, 0.99, 0.999)}


_IN = f"{{{_SYSTEM}}}"
_FED = f'{{{_SYSTEM}, agent=~"pads|market"}}'  # as the alerts see them
OPERATOR = (
    Panel("Leaders", "none", {"{{namespace}}": "sum by (namespace) (qts_leader)"}, kind="stat"),
    Panel("Systems by condition", "none", {"{{type}} True": "sum by (type) (qts_system_condition == 1)"}),
    Panel("Leads won in an hour", "none", {
        "{{namespace}}": f"sum by (namespace) {grown('qts_lease_transitions_total', '1h')}",
    }),
    Panel("Version", "none", {"{{version}} revision {{revision}}": "qts_build_info"}, kind="stat"),
    Panel("Passes", "ops", {"{{result}}": "sum by (result) (rate(qts_reconcile_total[5m]))"}),
    Panel("Failed passes", "percentunit", {
        "share": 'sum(rate(qts_reconcile_total{result="error"}[5m])) / sum(rate(qts_reconcile_total[5m]))',
    }, quiet=True),
    Panel("Length of a pass", "s", _quantiles("qts_reconcile_duration_seconds")),
    Panel("Queue", "none", {"waiting": "sum(qts_queue_depth)"}),
    Panel("Oldest key", "s", {"{{pod}}": "qts_queue_oldest_age_seconds"}),
    Panel("Event to write", "s", _quantiles("qts_event_to_write_seconds")),
    Panel("Writes", "ops", {"{{kind}} {{op}}": "sum by (kind, op) (rate(qts_writes_total[5m]))"}),
    Panel("Writes at rest", "none", {
        "writes in 30 min without a changed spec":
            "sum(increase(qts_writes_total[30m])) unless sum(increase(qts_spec_changes_total[30m])) > 0",
    }, quiet=True, kind="stat"),
    Panel("Passes tried again", "ops", {"retries": "sum(rate(qts_queue_retries_total[5m]))"}),
    Panel("Silence of watches", "s", {"{{kind}}": "max by (kind) (qts_reflector_last_event_age_seconds)"}),
    Panel("Objects known", "none", {"{{kind}}": "max by (kind) (qts_reflector_objects)"}),
    Panel("Full lists", "none", {
        "{{kind}} {{reason}}": "sum by (kind, reason) (increase(qts_reflector_relists_total[1h]))",
        "missed {{kind}}": "sum by (kind) (increase(qts_reflector_missed_events_total[1h])) > 0",
    }),
    Panel("Requests", "ops", {"{{verb}} {{code}}": "sum by (verb, code) (rate(qts_api_requests_total[5m]))"}),
    Panel("Length of a request", "s", _quantiles("qts_api_request_duration_seconds")),
    Panel("Bytes", "Bps", {"{{direction}}": "sum by (direction) (rate(qts_api_bytes_total[5m]))"}),
    Panel("Memory", "bytes", {"{{pod}}": 'process_resident_memory_bytes{job="qts-operator"}'}),
    Panel("Starts of the process", "none", {
        "{{pod}}": 'changes(process_start_time_seconds{job="qts-operator"}[1h])',
    }),
    Panel("Spans that no collector took", "none", {
        "{{pod}}": "sum by (pod) (increase(qts_spans_dropped_total[1h])) > 0",
    }, quiet=True),
    Panel("Processor", "none", {"{{pod}}": 'rate(process_cpu_seconds_total{job="qts-operator"}[5m])'}),
    Panel("Lag of the event loop", "s", {"{{pod}}": 'qts_event_loop_lag_seconds{job="qts-operator"}'}),
    Panel("Rights and definition", "none", {
        "denied {{kind}}": f"sum by (kind) {grown('qts_reflector_denied_total', '1h')} > 0",
        "definition outdated": "max(qts_crd_outdated)",
    }),
    Panel("Objects that the server altered", "none", {
        "{{kind}}": "sum by (kind) (increase(qts_fields_not_kept_total[1h]))",
    }, quiet=True),
    Panel("Restarts by the operator", "none", {
        "{{agent}} {{reason}}": f"sum by (agent, reason) {grown('qts_agent_restarts_total', '1h')}",
    }, quiet=True),
)  # fmt: skip

SYSTEM = (
    Panel("Ready processes", "none", {
        "{{namespace}}/{{system}}": f'sum {_BY} (qts_agent_state{{{_SYSTEM}, state="ready"}})',
    }, kind="stat"),
    Panel("State of each process", "none", {"{{agent}} {{state}}": f"qts_agent_state{_IN} == 1"}),
    Panel("Conditions (1: True, -1: Unknown)", "none", {
        "{{namespace}}/{{system}} {{type}}": f"max by (namespace, system, type) (qts_system_condition{_IN})",
    }),
    Panel("Roll-out", "s", {
        "{{namespace}}/{{system}}": f"max {_BY} (qts_system_progressing_seconds{_IN}) > 0",
        "{{namespace}}/{{system}} paused": f"max {_BY} (qts_system_paused{_IN})",
    }, quiet=True),
    Panel("Starts of processes, restarts by the operator", "none", {
        "{{agent}}": f"sum by (agent) (changes(process_start_time_seconds{_IN}[1h])) > 0",
        "{{agent}} {{reason}}": f"sum by (agent, reason) {grown(f'qts_agent_restarts_total{_IN}', '1h')} > 0",
    }, quiet=True),
    Panel("Newest decision", "s", {
        "age": f"time() - max {_BY} (qts_decision_last_timestamp_seconds{_FED} > 0)",
    }, kind="stat"),
    Panel("Rounds", "ops", {"{{outcome}}": f"sum by (outcome) (rate(qts_rounds_total{_IN}[5m]))"}),
    Panel("Rounds in a row that lacked it", "none", {
        "{{what}}": f"max by (what) (qts_rounds_lacking_in_a_row{_IN})",
    }),
    Panel("Length of a round", "s", _quantiles("qts_round_duration_seconds", _IN)),
    Panel("Latency of votes", "s", {
        "{{agent}} p99": _quantile("qts_vote_latency_seconds", 0.99, ", agent", _IN),
    }),
    Panel("Votes", "ops", {
        "{{agent}} {{result}}": f"sum by (agent, result) (rate(qts_votes_total{_IN}[5m]))",
    }),
    Panel("Decisions", "ops", {"{{decision}}": f"sum by (decision) (rate(qts_decisions_total{_IN}[5m]))"}),
    Panel("Board", "percentunit", {
        "consensus": f"qts_board_consensus_level{_IN}",
        "conviction": f"qts_board_conviction_level{_IN}",
        "risk appetite": f"qts_board_risk_appetite{_IN}",
        "dissent": f"qts_board_dissent_level{_IN}",
    }),
    Panel("Waiting for Redis, of 64 MiB", "bytes", {"{{agent}}": f"max by (agent) (qts_spool_bytes{_IN})"}),
    Panel("What Redis refuses", "none", {
        "{{agent}} {{kind}}": f"max by (agent, kind) (qts_redis_refuses{_IN}) > 0",
    }, quiet=True),
    Panel("Oldest message that a reader left", "s", {
        "{{reader}}": f"max by (reader) (qts_stream_lag_seconds{_IN})",
    }, quiet=True),
    Panel("Lost or put aside", "none", {
        "{{agent}} dead letters": f"sum by (agent) {grown(f'qts_dead_letters_total{_IN}', '1h')} > 0",
        "{{agent}} alerts unconfirmed":
            f"sum by (agent) {grown(f'qts_alerts_unconfirmed_total{_IN}', '1h')} > 0",
        "{{agent}} missing": f"max by (agent) (qts_durable_missing{_IN}) > 0",
        "{{agent}} stored nowhere":
            f"sum by (agent) {grown(f'qts_messages_stored_nowhere_total{_IN}', '1h')} > 0",
        "{{agent}} dropped, {{reason}}":
            f"sum by (agent, reason) {grown(f'qts_messages_dropped_total{_IN}', '1h')} > 0",
    }, quiet=True),
    Panel("Log score above the climatology", "none", {
        # of several systems their mean: a sum would be as many times the edge
        "{{seat}}": f'avg by (seat) (qts_forecast_log_score{{{_SYSTEM}, of="own"}})'
                    f' - avg by (seat) (qts_forecast_log_score{{{_SYSTEM}, of="climatology"}})',
    }, quiet=True),
    Panel("Reliability of forecasts (0 best)", "none", {
        "{{seat}}": f'qts_forecast_brier_reliability{{{_SYSTEM}, of="own"}}',
    }, quiet=True),
    Panel("Heartbeats", "s", {"{{agent}} hears {{peer}}": f"qts_peer_heartbeat_age_seconds{_IN}"}),
    Panel("Bus", "none", {"{{agent}} {{mode}}": f"qts_bus_mode{_IN} == 1"}),
    Panel("Newest bar", "s", {"age": f"time() - max {_BY} (qts_bar_last_timestamp_seconds{_FED} > 0)"}),
    Panel("Messages", "ops", {
        "{{agent}} sent": f"sum by (agent) (rate(qts_messages_sent_total{_IN}[5m]))",
        "{{agent}} delivered": f"sum by (agent) (rate(qts_messages_delivered_total{_IN}[5m]))",
    }),
    Panel("Messages that found no handler", "none", {
        "{{agent}} expired": f"sum by (agent) (increase(qts_messages_expired_total{_IN}[1h]))",
        "{{agent}} unaccounted": f"sum by (agent) (increase(qts_messages_unaccounted_total{_IN}[1h]))",
    }),
    Panel("Waiting messages", "none", {"{{agent}} {{priority}}": f"qts_outbox_depth{_IN}"}, quiet=True),
    Panel("Handling of a message", "s", {
        "{{messaging_destination_name}} p99":
            _quantile("messaging_process_duration_seconds", 0.99, ", messaging_destination_name", _IN),
    }),
    Panel("Lag of event loops", "s", {
        "{{agent}} p99": _quantile("qts_event_loop_lag_seconds", 0.99, ", agent", _IN),
    }),
    Panel("Settings and keys", "none", {
        "settings": f'count {_BY} (count_values {_BY} ("generation", qts_config_generation{_IN}))',
        "{{agent}} {{kind}}": f"qts_credentials_generation{_IN}",
    }),
    Panel("Memory", "bytes", {"{{agent}}": f"process_resident_memory_bytes{_IN}"}),
)  # fmt: skip

GPU = (
    Panel("GPUs held", "none", {
        "{{namespace}}/{{system}} {{agent}}": f"rate(qts_system_gpu_seconds_total{_IN}[5m])",
    }, quiet=True),
    Panel("GPU-hours of a day", "h", {
        "{{namespace}}/{{system}}":
            f"sum {_BY} (increase(qts_system_gpu_seconds_total{_IN}[1d])) / 3600",
    }, quiet=True, kind="stat"),
    Panel("Launches", "ops", {
        "{{namespace}}/{{system}} {{agent}}": f"rate(qts_gpu_launches_total{_IN}[5m])",
    }),
    Panel("Share of time that waits for a GPU", "percentunit", {
        "{{namespace}}/{{system}} {{agent}}": f"rate(qts_gpu_wait_seconds_total{_IN}[5m])",
    }),
    Panel("Systems without the GPU they ask for", "none", {
        "{{namespace}}/{{system}}": f'qts_system_condition{{{_SYSTEM}, type="GPUAvailable"}} == 0',
    }, quiet=True),
    Panel("Kernels compiled", "none", {"{{agent}}": f"qts_kernel_compiles_total{_IN}"}),
)  # fmt: skip

BOARDS = {
    "operator": ("QTS operator", OPERATOR),
    "system": ("QTS system", SYSTEM),
    "gpu": ("QTS GPU and cost", GPU),
}


def board(name: str) -> dict[str, Any]:
    """Return one dashboard as Grafana reads it; its uid is what the alerts' links point to."""
    title, panels = BOARDS[name]
    chosen = [_variable("source", "datasource", "prometheus")]
    if name != "operator":
        of = "qts_agent_state" if name == "system" else "qts_system_condition"
        chosen += [
            _variable("namespace", "query", f"label_values({of}, namespace)"),
            _variable("system", "query", f'label_values({of}{{namespace=~"$namespace"}}, system)'),
        ]
    return {
        "uid": f"qts-{name}",
        "title": title,
        "tags": ["qts"],
        "schemaVersion": _VERSION,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": chosen},
        "panels": [_panel(number, panel) for number, panel in enumerate(panels)],
    }


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    row, column = divmod(number, COLUMNS)
    targets = [
        {"refId": chr(ord("A") + n), "expr": expr, "legendFormat": legend, "exemplar": "_bucket" in expr}
        for n, (legend, expr) in enumerate(panel.queries.items())
    ]
    return {
        "id": number + 1,
        "type": panel.kind,
        "title": panel.title,
        "datasource": _SOURCE,
        "gridPos": {"x": column * WIDTH, "y": row * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "targets": targets,
    }


def _variable(name: str, kind: str, query: str) -> dict[str, Any]:
    made: dict[str, Any] = {"name": name, "type": kind, "query": query}
    if kind == "query":
        made |= {"datasource": _SOURCE, "multi": True, "includeAll": True, "allValue": ".*", "refresh": 2}
        made |= {"current": {"text": "All", "value": "$__all"}}
    return made
