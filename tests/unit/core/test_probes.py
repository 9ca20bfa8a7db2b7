"""Probe, back-off and budget machines: the numbers of laptop and cluster."""

from __future__ import annotations

from qts_core.probes import BackOff, Probe, ProbeMachine, RestartBudget, Verdict, probes


def test_the_third_failure_in_a_row_kills() -> None:
    """A success in between starts the count again."""
    machine = ProbeMachine(Probe("/livez", 30.0, 3))
    verdicts = [machine.feed(ok, now) for now, ok in enumerate([False, False, True, False, False, False])]
    wait, ok, kill = Verdict.WAIT, Verdict.OK, Verdict.KILL
    assert verdicts == [wait, wait, ok, wait, wait, kill]


def test_the_liveness_period_is_the_setting() -> None:
    """health_check_interval is the period; start-up has 180 s."""
    made = probes(7.0)
    assert (made.liveness.period_s, made.liveness.failures) == (7.0, 3)
    assert made.startup.period_s * made.startup.failures == 180.0


def test_a_probe_is_due_after_its_period() -> None:
    """No try before the period has passed."""
    machine = ProbeMachine(Probe("/readyz", 2.0, 3))
    machine.feed(True, 10.0)
    assert (machine.due(11.9), machine.due(12.0)) == (False, True)


def test_back_off_doubles_to_its_cap_and_forgets_after_health() -> None:
    """First at once, then 0.5 s doubling to 30 s; the jitter is the caller's."""
    back_off = BackOff()
    assert [back_off.next(1.0) for _ in range(9)] == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    back_off.healthy(59.0)
    assert back_off.next(1.0) == 30.0
    back_off.healthy(60.0)
    assert back_off.next(1.0) == 0.0


def test_the_budget_holds_within_its_window() -> None:
    """Five in ten minutes, then none until the first has aged out."""
    budget = RestartBudget(5, 600.0)
    assert [budget.spend(float(now)) for now in range(6)] == [True] * 5 + [False]
    assert budget.spend(600.0) is True
    assert budget.spend(600.5) is False
