"""ROWS: what shows each requirement of the operator, how long that takes, and what nothing shows. Pure.

One row a requirement, one proof a command; `short` is what CI runs of it when that is another form. Here is what the
operator does; what it costs is in rows_cost.py, how it is delivered and proved in rows_delivery.py.
"""

from __future__ import annotations

from .proofs import CAMPAIGN, CLUSTER, CONTROL, CRASHES, EARLIER, UNIT, WALK, Proof, Row, pytest_of
from .rows_cost import COST
from .rows_delivery import DELIVERY

WAITS = "python -m bench.operator_waits --json"
RECONCILE = f"{UNIT}/test_reconcile.py"

DEEDS: tuple[Row, ...] = (
    Row(
        number=1,
        requirement="crash at every write",
        acceptance="100 % of writes × 3 phases, at least 6 workloads, O1-O3, at most 120 s",
        tier="T1",
        proofs=(
            Proof(
                command=f"{CAMPAIGN} --short",
                reads="last",
                needs="nodes",
                short=f"pytest {CRASHES}",
                limit_s=1800,
                within_s=120.0,
            ),
        ),
    ),
    Row(
        number=3,
        requirement="upgrade restarts nothing",
        acceptance="N−1→N and back: 0 pod UIDs; 50 golden resources byte-equal",
        tier="T0, T2",
        proofs=(
            pytest_of("tests/golden/test_templates.py", f"{UNIT}/test_adopt.py"),
            pytest_of(f"{CLUSTER}/test_upgrades.py", needs="nodes"),
            EARLIER,
        ),
    ),
    Row(
        number=4,
        requirement="no event lost",
        acceptance="at least 15 watch faults: store = LIST at most 35 s after the fault; at most 1 reconnect/s; no exit",
        tier="T1",
        proofs=(
            pytest_of(f"{UNIT}/test_watch.py"),
            pytest_of(
                f"{CLUSTER}/test_watch_faults.py",
                needs="nodes",
                given="QTS_TEST_FAULTS=all ",
                short=f"pytest {CLUSTER}/test_watch_faults.py (each fourth fault)",
                limit_s=900,
            ),
        ),
    ),
    Row(
        number=5,
        requirement="path independence, fixed point",
        acceptance="all valid single transitions and 2,000 generated pairs, O5-O7",
        tier="T1",
        proofs=(
            pytest_of("tests/property/test_operator_plan.py"),
            pytest_of(f"{CLUSTER}/test_invalid_resources.py", needs="nodes"),
            pytest_of(
                f"{CLUSTER}/test_pairs.py",
                needs="nodes",
                given="QTS_TEST_PAIRS=2000 ",
                short=f"pytest {CLUSTER}/test_pairs.py (12 pairs)",
                limit_s=7200,
            ),
            pytest_of(
                f"{CLUSTER}/test_transitions.py",
                needs="nodes",
                given="QTS_TEST_TRANSITIONS=all ",
                short=f"pytest {CLUSTER}/test_transitions.py (12 changes)",
                limit_s=3600,
            ),
        ),
    ),
    Row(
        number=6,
        requirement="invalid input refused",
        acceptance="100 % of invalid twins, 0 tracebacks, no webhook",
        tier="T1",
        proofs=(
            pytest_of(
                f"{CLUSTER}/test_invalid_twins.py",
                f"{CLUSTER}/test_invalid_resources.py",
                f"{CONTROL}::test_no_finalizer_and_no_webhook",
                needs="nodes",
            ),
            pytest_of(f"{CLUSTER}/test_refused_objects.py", needs="nodes"),
        ),
    ),
    Row(
        number=7,
        requirement="status never lies",
        acceptance="O11 on every trace; Ready at most 1 s after the last pod is",
        tier="T1, T2",
        proofs=(
            pytest_of(
                "tests/control_plane_campaign/test_explorer.py",
                f"{UNIT}/test_status.py",
                f"{UNIT}/test_conditions.py",
            ),
            Proof(command=f"{WAITS} --ready 30", reads="figures", needs="nodes", short="-"),
        ),
    ),
    Row(
        number=8,
        requirement="poison isolation",
        acceptance="200 good resources: p99 within 10 %; poison at most 1 try in 5 minutes",
        tier="T1",
        proofs=(
            pytest_of(
                f"{RECONCILE}::test_one_bad_system_does_not_hold_back_the_others",
                f"{UNIT}/test_machines.py::test_queue_delays_and_backs_off_by_key",
                f"{UNIT}/test_weather.py::test_what_the_server_refuses_is_tried_once_in_five_minutes",
            ),
            Proof(command=f"{WAITS} --good 200", reads="figures", needs="nodes", short="-", limit_s=1500),
        ),
    ),
    Row(
        number=9,
        requirement="fail-over",
        acceptance="at most 15 s after a kill, 2 s after SIGTERM, 0 conflicting writes on SIGSTOP",
        tier="T1",
        proofs=(pytest_of(f"{CLUSTER}/test_failover.py", needs="nodes"),),
    ),
    Row(
        number=10,
        requirement="drift",
        acceptance="every owned field restored in 2 s; foreign fields untouched; strangers refused",
        tier="T1",
        proofs=(
            pytest_of(f"{UNIT}/test_fields.py"),
            pytest_of(
                f"{CLUSTER}/test_drift.py",
                needs="nodes",
                given="QTS_TEST_DRIFTS=all ",
                short=f"pytest {CLUSTER}/test_drift.py (24 changes)",
                limit_s=900,
            ),
            pytest_of(
                f"{CONTROL}::test_drift_is_repaired",
                f"{CONTROL}::test_a_strangers_object_is_never_adopted",
                needs="nodes",
            ),
        ),
    ),
    Row(
        number=11,
        requirement="clean deletion",
        acceptance="operator up, down, namespace deletion: 0 left, 0 finalizers",
        tier="T1",
        proofs=(
            pytest_of(
                f"{CONTROL}::test_deletion_leaves_nothing_with_the_operator_up_or_down",
                f"{CONTROL}::test_no_finalizer_and_no_webhook",
                needs="nodes",
            ),
        ),
    ),
    Row(
        number=12,
        requirement="GPU failure contained",
        acceptance="at most replicas + 3 pods; condition in 30 s; 12 cases exact; recovers alone",
        tier="T2",
        proofs=(
            pytest_of(f"{UNIT}/test_gpu.py"),
            pytest_of(f"{CLUSTER}/test_gpu_cases.py", needs="nodes"),
        ),
    ),
    Row(
        number=13,
        requirement="gang",
        acceptance="3 GPUs, 2×2: never two holders; the waiting one holds 0",
        tier="T2",
        proofs=(
            pytest_of(f"{UNIT}/test_gang.py"),
            pytest_of(
                f"{CLUSTER}/test_gpu_cases.py::test_of_two_systems_one_starts_and_the_other_holds_nothing",
                needs="nodes",
            ),
        ),
    ),
    Row(
        number=14,
        requirement="restart policy",
        acceptance="any agent, Redis, node killed: Ready in 10 s + start; budget and back-off on virtual time",
        tier="T0, T3",
        proofs=(
            pytest_of(f"{UNIT}/test_restarts.py", f"{UNIT}/test_node_loss.py", f"{UNIT}/test_superseded.py"),
            pytest_of(f"{CLUSTER}/test_superseded.py", needs="nodes"),
            pytest_of(f"{CLUSTER}/test_losses.py", needs="nodes"),
            WALK,
        ),
    ),
    Row(
        number=18,
        requirement="HPA peace",
        acceptance="100 passes keep the HPA's value; switching never below the minimum",
        tier="T1",
        proofs=(
            pytest_of(f"{UNIT}/test_hand_over.py"),
            pytest_of(f"{CLUSTER}/test_hand_over.py", needs="nodes"),
        ),
    ),
    Row(
        number=19,
        requirement="rotation",
        acceptance="0 failed commands, at most 5 minutes, nothing restarts, O14",
        tier="T3",
        proofs=(
            pytest_of(f"{UNIT}/test_rotation.py"),
            pytest_of(f"{CLUSTER}/test_rotation.py", needs="nodes"),
            Proof(command="python -m pytest -q -p no:randomly -m processes tests/processes/test_rotation.py"),
            WALK,
        ),
    ),
    Row(
        number=21,
        requirement="network weather",
        acceptance="every answer fault on every call kind, 5 minutes' outage: converge, 0 double creates, 0 restarts",
        tier="T1",
        proofs=(
            pytest_of(f"{UNIT}/test_answers.py", f"{UNIT}/test_session.py"),
            pytest_of(f"{UNIT}/test_weather.py"),
            pytest_of(
                f"{CLUSTER}/test_outage.py",
                needs="server",
                given="QTS_TEST_OUTAGE_S=300 ",
                short=f"pytest {CLUSTER}/test_outage.py (15 s)",
                limit_s=900,
            ),
        ),
    ),
    Row(
        number=22,
        requirement="explain before acting",
        acceptance="plan = deed in 100 % of generated cases",
        tier="T1",
        proofs=(
            pytest_of("tests/property/test_plan_is_deed.py"),
            pytest_of(
                "tests/property/test_operator_plan.py",
                f"{RECONCILE}::test_paused_writes_nothing_but_the_plan",
                f"{RECONCILE}::test_a_paused_change_names_its_field",
                "tests/unit/cli/test_plan.py",
            ),
        ),
    ),
)
ROWS = tuple(sorted((*DEEDS, *COST, *DELIVERY), key=lambda row: row.number))
