"""DELIVERY: what shows rights, alerts, charts and images, and that the tests themselves can see; part of ROWS. Pure."""

from __future__ import annotations

from .proofs import CAMPAIGN, CLUSTER, CONTROL, CRASHES, EARLIER, UNIT, WALK, Proof, Row, pytest_of

DELIVERY: tuple[Row, ...] = (
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
                short="pytest tests/control_plane_campaign/test_repeats.py",
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
