"""COST: what shows how fast the operator is, and what a resource costs; part of ROWS. Pure."""

from __future__ import annotations

from .proofs import CLUSTER, Need, Proof, Row, about, pytest_of


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
SILENCE = ("writes in", "writes by")

COST: tuple[Row, ...] = (
    Row(
        number=2,
        requirement="zero writes at rest",
        acceptance="0 in 10 minutes and 0 by a restart, 1,000 systems",
        tier="T2",
        proofs=(about(THOUSAND, *SILENCE),),
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
)
