"""ROWS: what shows each requirement of the operator, how long that takes, and what nothing shows. Pure.

One row a requirement, one proof a command; `short` is what CI runs of it when that is another form.
"""

from __future__ import annotations

from .proofs import Need, Proof, Row, about, pytest_of

UNIT, CLUSTER = "tests/unit/control_plane", "tests/cluster"
CAMPAIGN = "python -m tests.control_plane_campaign.campaign"
WAITS = "python -m bench.operator_waits --json"


def _bench(arguments: str, limit_s: float, *, needs: Need = "nodes", short: str = "-") -> Proof:
    """Return a run of the operator's benchmark."""
    command = f"python -m bench.operator --json {arguments}"
    return Proof(command=command, reads="figures", needs=needs, short=short, limit_s=limit_s)


HUNDRED = _bench("--systems 100 --silence 30", 1200)
THOUSAND = _bench("--systems 1000 --silence 600 --stream 0", 5400, short=f"pytest {CLUSTER}/test_silence.py")
FLOOR = _bench("--systems 100 --silence 5 --stream 0 --floor 2", 2400)
#: without pods and Kubernetes' own controllers: the API server and the operator alone
STATUSES = _bench("--statuses --systems 1000 --silence 30 --stream 0 --floor 1", 3600, needs="server")
RATES = _bench("--statuses --systems 100 --silence 5 --floor 2 --rates 5,10,20,50,100", 2400, needs="server")
#: copies of one system, written into etcd: what a start takes, not what making so many leaves behind
FILLED = Proof(
    command="python -m bench.operator_memory --json",
    reads="figures",
    needs="server",
    short="-",
    limit_s=3600,
)
#: the operator, chart and definition of commits that render older templates than any release
EARLIER = pytest_of(f"{CLUSTER}/test_earlier_commits.py", needs="nodes", limit_s=900)
WALK = pytest_of(f"{CLUSTER}/test_walk.py", needs="pods", limit_s=1500)
SILENCE = ("writes in", "writes by")
RECONCILE, CONTROL = f"{UNIT}/test_reconcile.py", f"{CLUSTER}/test_control_plane.py"
CRASHES = f"{CLUSTER}/test_crashes.py"
EXPLORER = "tests/control_plane_campaign/test_explorer.py"
REPEATS = "tests/control_plane_campaign/test_repeats.py"

ROWS: tuple[Row, ...] = (
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
        number=2,
        requirement="zero writes at rest",
        acceptance="0 in 10 minutes and 0 by a restart, 1,000 systems",
        tier="T2",
        proofs=(about(THOUSAND, *SILENCE),),
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
            pytest_of(EXPLORER, f"{UNIT}/test_status.py", f"{UNIT}/test_conditions.py"),
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
        number=15,
        requirement="speed",
        acceptance="1,000 systems Ready in 240 s, in 120 s where a test controller sets workload statuses; event to "
        "first write at 100 changes a second p50 at most 10 ms, p99 at most 50 ms; all synced 30 s after a start on 10,000",
        tier="T1, T2",
        proofs=(
            about(STATUSES, "to last Ready"),
            about(THOUSAND, "to last Ready"),
            about(FLOOR, "to last Ready"),
            about(RATES, "to last Ready", "changes a second", "of these rates"),
            about(HUNDRED, "event to write", "change due", "the change"),
            about(FILLED, "all synced"),
        ),
    ),
    Row(
        number=16,
        requirement="cost of a resource",
        acceptance="at most children + 2 writes and 60 KB to create; 0 by a resync or a restart; at most 30 ms of CPU",
        tier="T1",
        proofs=(
            about(HUNDRED, "systems, writes each", "bytes sent", "systems, CPU each", *SILENCE),
            about(STATUSES, "writes each", "bytes sent", "CPU each", *SILENCE),
            Proof(command="python -m bench.operator_pass --json", reads="figures", limit_s=300),
        ),
    ),
    Row(
        number=17,
        requirement="memory",
        acceptance="RSS at 1,000 / 5,000 / 10,000 systems at most 120 / 200 / 350 MB; 20,000 foreign Secrets below +5 MB",
        tier="T1",
        proofs=(
            about(THOUSAND, "memory"),
            about(STATUSES, "memory"),
            about(FILLED, "memory", "writes by a start"),
            pytest_of(
                f"{CLUSTER}/test_foreign_secrets.py",
                needs="nodes",
                given="QTS_TEST_SECRETS=20000 ",
                short=f"pytest {CLUSTER}/test_foreign_secrets.py (300 Secrets)",
                limit_s=1800,
            ),
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
        number=20,
        requirement="least privilege",
        acceptance="removing any one rule fails a named test and yields a condition; namespaced: 0 ClusterRoles; PSS restricted",
        tier="T1, T3",
        proofs=(
            pytest_of(f"{UNIT}/test_least_privilege.py", f"{UNIT}/test_pod_security.py"),
            pytest_of(f"{CLUSTER}/test_namespaced.py", needs="nodes"),
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
    Row(
        number=23,
        requirement="observability",
        acceptance="at least 12 operator alerts with runbook and tests, the Operator dashboard, traces of passes",
        tier="T0, T3",
        proofs=(
            pytest_of(
                f"{UNIT}/test_alerts.py",
                f"{UNIT}/test_runbooks.py",
                f"{UNIT}/test_tracing.py",
                f"{UNIT}/test_events.py",
            ),
            pytest_of(f"{UNIT}/test_first_five_minutes.py"),
            pytest_of(
                f"{CLUSTER}/test_dashboards.py",
                f"{CLUSTER}/test_pass_traces.py",
                f"{CLUSTER}/test_runbooks.py",
                needs="nodes",
            ),
        ),
    ),
    Row(
        number=24,
        requirement="packaging",
        acceptance="the design's §18; CRD upgrade from every released version",
        tier="T0, T3",
        proofs=(
            pytest_of("tests/golden/test_charts.py", f"{UNIT}/test_generate.py", f"{UNIT}/test_images.py"),
            # all of the file is run, as above: what is marked needs helm, and no cluster
            pytest_of("tests/golden/test_kubernetes_versions.py"),
            pytest_of(
                f"{CLUSTER}/test_verify.py",
                f"{CLUSTER}/test_admission.py",
                f"{CLUSTER}/test_definition.py",
                needs="nodes",
            ),
            pytest_of(f"{CLUSTER}/test_releases.py", needs="nodes"),
            EARLIER,
            pytest_of("tests/unit/test_release.py", "tests/unit/test_sbom.py", "tests/unit/test_attest.py"),
            pytest_of(
                f"{CLUSTER}/test_manifests.py",
                f"{CONTROL}::test_chart_and_manifest_are_the_same",
                needs="nodes",
            ),
            WALK,
            pytest_of(f"{CLUSTER}/test_signed_images.py", needs="pods"),
            Proof(
                command="scripts/reproducible operator agent agent-gpu",
                reads="figures",
                needs="images",
                short="pytest tests/unit/test_reproducible.py",
                limit_s=5400,
            ),
        ),
    ),
    Row(
        number=25,
        requirement="the harness can see",
        acceptance="at least 90 % of at least 100 mutants; 0 flakes in 100; at least 500 and 5,000 plans",
        tier="T1",
        proofs=(
            # the second sample shows that the tests were not fitted to the first
            *(
                Proof(
                    command=f"python -m tests.control_plane_campaign.mutants --count 120{seed}",
                    reads="last",
                    short="pytest tests/control_plane_campaign/test_mutants.py",
                    limit_s=5400,
                )
                for seed in ("", " --seed 2")
            ),
            Proof(
                command="python -m tests.control_plane_campaign.repeats --count 100",
                reads="last",
                short=f"pytest {REPEATS}",
                limit_s=3600,
            ),
            Proof(
                command=f"{CAMPAIGN} --short --deaths 2 --seconds 600 --plans 500",
                reads="last",
                needs="nodes",
                short=f"pytest {CRASHES}",
                limit_s=1800,
            ),
            # 5,000 of up to three deaths between these two: what needs no pods is a third of the cost and played whole;
            # what waits for a back-off must not keep the others waiting, so there no plan begins after the second but to
            # come to so many
            *(
                Proof(
                    command=f"{CAMPAIGN} {which}",
                    reads="last",
                    needs="nodes",
                    short="-",
                    limit_s=5400,
                )
                for which in (
                    "--short --sample 400 --deaths 3",
                    "--pods --deaths 3 --seconds 1 --plans 1000",
                )
            ),
        ),
    ),
)
