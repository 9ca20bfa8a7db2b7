"""Are the phases worth more than their baselines? `python -m bench.regimes --json [--smoke] [--set NAME]`.

The simulated market's true regimes are known to no agent; its set is scored by them as well, and
`--truth FILE` writes them beside it: a line a bar, with the jump of each symbol. `--run FOLDER` takes the
market of a run that simulated: what its feed published is known again from seed and symbols alone.

Runs a packaged set through the Panarchy of PADS, every candidate of its detector accepted, and prints each
figure beside that of the filtered hidden Markov model, of no state at all, or of an alarm at random. PELT's
change points, which see the whole series, say how wild each stretch was. What the phases do to decisions is
not measured here.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from bench.harness import Row, a_folder, a_target, command, told
from numpy.typing import NDArray

from qts_agents.choice import mean
from qts_agents.kernels.pelt import pelt
from qts_agents.market import regimes
from qts_agents.market.bars import Bars
from qts_agents.market.datasets import load_dataset
from qts_agents.market.simulate import Simulation
from qts_agents.market.source import Simulated
from qts_agents.pads import comparison
from qts_agents.pads.account import Bar
from qts_agents.pads.cycle import CRISIS
from qts_agents.pads.panarchy import Panarchy
from qts_agents.pads.warning import ALARM, HORIZON, SMALL_P
from qts_core import config, names
from qts_core.errors import ConfigError
from qts_core.sections import PadsSettings
from qts_core.spec import SYSTEM, Market, System

SIMULATED, SIMULATED_BARS = "simulated", 20_000
EXAMPLE: System = SYSTEM(market=Market(source="simulated", symbols=("A", "B", "C", "D")))


class Lived(NamedTuple):
    """What was held at each bar [T]."""

    returns: NDArray[np.float64]
    held: NDArray[np.int64]
    micro: NDArray[np.int64]
    hidden: NDArray[np.int64]
    run: NDArray[np.float64]  # expected run length
    alarm: NDArray[np.bool_]  # an early warning begins
    crisis: NDArray[np.bool_]
    p: list[float]  # of the rise of variance at each alarm
    bar_s: float


class Truth(NamedTuple):
    """What no agent sees of a simulated market."""

    close_ns: NDArray[np.int64]  # [T]
    regime: NDArray[np.int64]  # [T] index into `regimes.NAMES`, which are the phases' names and order
    jump: NDArray[np.float64]  # [S,T] log size, 0: none
    symbols: tuple[str, ...]

    def write(self, path: Path) -> None:
        """Write a CSV line a bar."""
        lines = [",".join(("close_ns", "regime", *(f"jump {s}" for s in self.symbols)))]
        for t, at in enumerate(self.close_ns.tolist()):
            lines.append(
                ",".join((str(at), regimes.NAMES[self.regime[t]], *map(repr, self.jump[:, t].tolist())))
            )
        path.write_text("\n".join(lines) + "\n")


def simulated(bars: int, system: System = EXAMPLE) -> tuple[Bars, Truth]:
    """Return the first bars of a simulated market as its feed publishes them, and the truth about them."""
    source = Simulated(system)
    data, stretch = source.read(0, bars), Simulation(*source.settings).advance(bars)
    assert np.array_equal(data.close, stretch.close), "the truth is about other bars"
    return data, Truth(data.close_ns, stretch.regime, stretch.jump, data.symbols)


def truth_rows(lived: Lived, truth: NDArray[np.int64], name: str) -> list[Row]:
    """Return how phases and hidden states agree with the true regimes [T], from where both models know."""
    first = _first_known(lived)
    score = {"held phase": lived.held, "micro phase": lived.micro}
    hidden = comparison.adjusted_rand(lived.hidden[first:], truth[first:])
    rows = [
        Row(f"{name}: adjusted Rand index of {label} and the true regime",
            comparison.adjusted_rand(states[first:], truth[first:]), "1", "hidden Markov state", hidden,
            lower_is_better=False)
        for label, states in score.items()
    ]  # fmt: skip
    commonest = float((np.bincount(truth[first:]) / len(truth[first:])).max())
    return rows + [
        Row(f"{name}: bars whose {label} has the true regime's name",
            float((states[first:] == truth[first:]).mean()), "1", "always the commonest", commonest,
            lower_is_better=False)
        for label, states in score.items()
    ]  # fmt: skip


def _first_known(lived: Lived) -> int:
    both = np.flatnonzero((lived.hidden >= 0) & (lived.micro != 4))
    return int(both[0]) if both.size else 0


def live(data: Bars, bars: int, surrogates: int) -> Lived:
    """Let the first `bars` bars of a set pass."""
    S, T = len(data.symbols), min(bars, data.close_ns.size)
    panarchy = Panarchy(S, PadsSettings(surrogates=surrogates))
    af = np.full(S, np.nan)
    rows: list[tuple[float, int, int, int, float, bool, bool]] = []
    p: list[float] = []
    for t in range(T):
        columns = (
            np.ascontiguousarray(getattr(data, n)[:, t]) for n in ("open", "high", "low", "close", "volume")
        )
        valid = data.valid[:, t] != 0
        bar = Bar(int(data.close_ns[t]), *columns, valid, data.fee, np.full(S, 0.5 * data.spread_assumed))
        done = panarchy.push(bar, t)
        ind = panarchy.micro(data.spread[:, t])
        before = panarchy.baselines.watch.all.raised
        step = panarchy.step(done, ind, af, data.spread[:, t])
        if step.candidate is not None:
            panarchy.cycles["meso"].commit(step.candidate.new)
        watch = panarchy.baselines.watch
        if watch.all.raised > before:
            p.append(watch.found.variance)
        rows.append(
            (
                float(panarchy.scales["micro"].system_returns()[-1]) if t else 0.0,
                panarchy.held,
                panarchy.cycles["micro"].held,
                panarchy.baselines.hmm.state,
                panarchy.baselines.changes.length,
                watch.all.raised > before,
                mean(ind.crisis) > CRISIS,
            )
        )
    columns_ = [np.array(c) for c in zip(*rows, strict=True)]
    return Lived(*columns_, p, data.bar_s)  # type: ignore[arg-type]


def rows_of(lived: Lived, name: str) -> list[Row]:
    """Return the figures of one set, from the bar on where both models know something."""
    first = _first_known(lived)
    returns = np.nan_to_num(lived.returns)[first:]
    target = comparison.next_volatility(returns, HORIZON)
    score = {
        "held phase": lived.held[first:],
        "micro phase": lived.micro[first:],
        "hidden Markov state": lived.hidden[first:],
        "no state": np.zeros(len(returns), np.int64),
    }
    logs = {label: comparison.log_likelihood(states, target, HORIZON) for label, states in score.items()}
    rows = [
        Row(f"{name}: log-likelihood of the next {HORIZON} bars' volatility given the {phase}", logs[phase],
            "nats/bar", peer, logs[peer], lower_is_better=False)
        for phase in ("held phase", "micro phase")
        for peer in ("hidden Markov state", "no state")
    ]  # fmt: skip
    rows.append(
        Row(f"{name}: adjusted Rand index of held phase and hidden Markov state",
            comparison.adjusted_rand(lived.held[first:], lived.hidden[first:]), "1", lower_is_better=False)
    )  # fmt: skip
    stretches = comparison.volatility_classes(returns, pelt(returns))
    rows += [
        Row(f"{name}: adjusted Rand index of {label} and four classes of PELT's segments",
            comparison.adjusted_rand(score[label], stretches), "1", "hidden Markov state",
            comparison.adjusted_rand(score["hidden Markov state"], stretches), lower_is_better=False)
        for label in ("held phase", "micro phase")
    ]  # fmt: skip
    rows.append(
        Row(f"{name}: switches between those classes", comparison.switches_per_day(stretches, lived.bar_s),
            "1/day", "hidden Markov state", comparison.switches_per_day(lived.hidden[first:], lived.bar_s))
    )  # fmt: skip
    rows += [
        Row(f"{name}: switches of the {label}", comparison.switches_per_day(score[label], lived.bar_s),
            "1/day", "hidden Markov state", comparison.switches_per_day(lived.hidden[first:], lived.bar_s))
        for label in ("held phase", "micro phase")
    ]  # fmt: skip
    return rows + warnings(lived, name)


def warnings(lived: Lived, name: str) -> list[Row]:
    """Return how the early warnings did, next to alarms at random and to chance."""
    known = np.isfinite(lived.run)
    begins = known[1:] & known[:-1] & (lived.run[1:] < 0.5 * lived.run[:-1])
    breaks = lived.crisis & ~np.concatenate(([False], lived.crisis[:-1]))  # one that is on was not warned of
    judged = comparison.judge(lived.alarm, breaks, HORIZON)
    changed = comparison.judge(np.concatenate(([False], begins)), breaks, HORIZON)
    tested = [p for p in lived.p if math.isfinite(p)]
    small = sum(p < SMALL_P for p in tested) / len(tested) if tested else math.nan
    title = f"{name}: EWS > {ALARM}"
    rows = [
        Row(f"{title}, before a crisis > {CRISIS} within {HORIZON} bars", judged.hit_rate, "1",
            "any bar", judged.base_rate, lower_is_better=False),
        Row(f"{title}, false alarms", judged.false_per_1000, "1/1000 bars"),
        Row(f"{title}, alarms with p < {SMALL_P} for the rise of variance ({len(tested)} tested)", small, "1",
            "linear noise", SMALL_P, lower_is_better=False),
        Row(f"{name}: change points (run length halved) followed by such a crisis", changed.hit_rate, "1",
            "any bar", changed.base_rate, lower_is_better=False),
        Row(f"{name}: change points, false", changed.false_per_1000, "1/1000 bars"),
    ]  # fmt: skip
    return [row for row in rows if math.isfinite(row.value)]


def main() -> int:
    """Print the figures of each set."""
    parser = command(__doc__, "short: does it run")
    parser.add_argument(
        "--set", action="append", choices=("eurusd_1h", "sp500_1d", SIMULATED), help="which bars"
    )
    parser.add_argument(
        "--truth", type=a_target, help="write the simulated market's true regimes to this file"
    )
    parser.add_argument("--run", type=a_folder, help="simulate the market of this run folder (qts run)")
    options = parser.parse_args()
    try:
        system = EXAMPLE if options.run is None else config.load(options.run / names.CONFIG_FILE, {}).system
    except ConfigError as error:
        parser.error(f"--run: {error}")
    if system.market.source != "simulated":
        parser.error(f"--run: the market of {options.run} is no simulation; give one that was")
    for name in options.set or ("eurusd_1h", "sp500_1d", SIMULATED):
        bars, truth = 700 if options.smoke else 10**9, None
        if name == SIMULATED:
            data, truth = simulated(min(bars, SIMULATED_BARS), system)
            if options.truth:
                truth.write(options.truth)
        else:
            data = load_dataset(name)
        lived = live(data, bars, 19 if options.smoke else 1000)
        found = rows_of(lived, name) + (truth_rows(lived, truth.regime, name) if truth else [])
        told(found, options.json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
