"""An evaluation as one HTML file without scripts: verdict, tables, SVG charts (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from itertools import pairwise

from qts_agents.evaluation.equity import Performance
from qts_agents.evaluation.report import Forecaster, Report
from qts_cli import svg

_NAN = re.compile(r"[+-]?\bnan\b%?")  # what could not be measured: too few rounds
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#24292f;max-width:1000px;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;margin:.6rem 0;display:block;overflow-x:auto}
th,td{border-bottom:1px solid #d0d7de;padding:.25rem .6rem;text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}
.verdict{border-left:5px solid #cf222e;background:#fff5f5;padding:.6rem 1rem;font-weight:600}
.edge{border-color:#1a7f37;background:#f0fff4}
figure{margin:.5rem 0;display:inline-block}
svg{max-width:100%}
svg text{font-size:11px;fill:#57606a}
figcaption span{margin-right:1rem;font-size:13px}
figcaption i{display:inline-block;width:12px;height:3px;margin:0 5px 4px 0}
"""

_METHOD = """
Every agent and PADS live through the bars once, in order; what they learn from a round they learn when its
horizon has ended, so every forecast is out of sample. Decided at a close, filled at the next open with fee
and half the spread a trade. A stop, a target or a liquidation that a later bar touches is filled at its
price, at the open of a bar that begins beyond it, and in a set of closes at the close that is beyond it:
never at a price that the bar has not seen; a stop goes before a target. Stakes hold (p_up −
p_down)/signal_scale of the equity, at most all of it, shared among the symbols. Errors are Newey and West's,
at least what the overlap of outcomes alone makes, with Student's t; intervals are Wilson's with the effective
number of rows; the deflated Sharpe ratio is Bailey and López de Prado's (2014) over all trials of the ledger
on this market, each ratio brought to the length of this one by √bars. An ablation is a whole run of its
own. Past markets, paper account, no order was placed.
"""


def page(told: Report) -> str:
    """Return the whole page."""
    first, last = _day(told.market["first_ns"]), _day(told.market["last_ns"])
    symbols = told.market["symbols"]
    title = f"{', '.join(symbols[:3])}{' …' if len(symbols) > 3 else ''}, {first} to {last}"
    parts = [
        f"<h1>Evaluation: {escape(title)}</h1>",
        _verdict(told),
        _origin(told),
        _forecasts(told),
        _pools(told),
        _reliability(told),
        _money(told),
        _phases(told),
        _theories(told),
        _method(told),
    ]
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    return f"<!doctype html><html lang=en><head>{head}</head><body>{''.join(parts)}</body></html>\n"


def _verdict(told: Report) -> str:
    edge = " edge" if told.verdict.startswith("edge") else ""
    body = "".join(
        f"<p><b>{escape(name)}</b>, its own forecasts staked: {escape(one.verdict)}</p>"
        for name, one in told.forecasters.items()
    )
    failed = [f"<p>{escape(name)} failed: {escape(text)}</p>" for name, text in told.failures.items()]
    return f'<p class="verdict{edge}">Board: {escape(told.verdict)}</p>{"".join(failed)}{body}'


def _origin(told: Report) -> str:
    market, made, speed = told.market, told.made, told.speed
    pace = (
        f"{speed['elapsed_s']:g} s, {speed['bars_per_s']:.0f} bars/s, "
        f"{speed['factor']:.0f} times a run at one bar per market_update_interval"
    )
    rounds = f"{told.rounds}; outcomes after {told.horizon_bars} bars, {told.overlap:g} rounds overlap"
    facts = [
        ("source", market["source"]),
        ("bars decided over", f"{market['bars']} of {market['bar_s']:g} s"),
        ("rounds", rounds),
        ("costs", f"fee {market['fee']:g} a side, spread {market['spread']:g} of the price"),
        ("trials counted", f"{told.trials['count']:g} on this market in the ledger {made['ledger']}"),
        ("made", ", ".join(f"{key} {value}" for key, value in made.items() if key != "ledger")),
        ("speed", pace),
    ]
    return _table(("", ""), facts)


def _forecasts(told: Report) -> str:
    head = ("", "rows", "silent", "log score", "of base rate", "gain ± error", "p", "Brier", "of base rate",
            "reliability", "− resolution", "+ uncertainty", "+ within",
            "hit rate", "95 % interval", "effective")  # fmt: skip
    rows = [[name, *_forecast(one)] for name, one in told.forecasters.items()]
    return f"<h2>Forecasts</h2>{_table(head, rows)}"


def _forecast(one: Forecaster) -> list[str]:
    gain, brier, hit = one.log_gain, one.brier, one.hit
    return [
        f"{one.rows}",
        f"{one.abstained:.0%}",
        f"{one.log_score:.4f}",
        f"{one.base_log_score:.4f}",
        f"{gain.value:+.4f} ± {gain.error:.4f}",
        f"{gain.p_value:.3f}",
        f"{brier.brier:.4f}",
        f"{one.base_brier:.4f}",
        f"{brier.reliability:.4f}",
        f"{brier.resolution:.4f}",
        f"{brier.uncertainty:.4f}",
        f"{brier.within:.4f}",
        f"{hit.rate:.1%}",
        f"{hit.low:.1%} to {hit.high:.1%}",
        f"{hit.effective:.0f}",
    ]


def _pools(told: Report) -> str:
    head = (
        "",
        "Brier",
        "log score over base rate ± error",
        "p",
        "board's pool ahead ± error",
        "p",
        "hit rate",
    )
    rows = [
        [
            name,
            f"{one.brier:.4f}",
            f"{one.log_gain.value:+.4f} ± {one.log_gain.error:.4f}",
            f"{one.log_gain.p_value:.3f}",
            f"{one.ahead.value:+.4f} ± {one.ahead.error:.4f}",
            f"{one.ahead.p_value:.3f}",
            f"{one.hit.rate:.1%}",
        ]
        for name, one in told.pools.items()
    ]
    said = (
        "Is the board's pool worth more than its ablations' and than each agent alone? In the base rate up "
        "and down are equal; past frequencies, of up, flat and down so far, beat it by the market's drift."
    )
    return f"<h2>The pool beside others</h2><p>{said}</p>{_table(head, rows)}"


def _reliability(told: Report) -> str:
    parts = ["<h2>Reliability</h2><p>What was said against what was seen, ten equal-count bins.</p>"]
    for kind in ("up", "down"):
        lines = {
            f"{name}: {kind}": ([b.forecast for b in bins], [b.observed for b in bins])
            for name, one in told.forecasters.items()
            if (bins := one.diagram.get(kind, []))
        }
        parts.append(svg.chart(lines, marks=True, diagonal=True, width=420.0))
    return "".join(parts)


def _money(told: Report) -> str:
    head = (
        "",
        "return",
        "volatility",
        "Sharpe",
        "deflated Sharpe",
        "drawdown",
        "mean exposure",
        "turnover a year",
    )
    accounts = _accounts(told)
    accounts |= {f"board {name}": figures for name, figures in told.ablations.items()}
    for name, one in told.forecasters.items():
        accounts[f"stakes of {name}"] = one.staked
        accounts[f"stakes of {name}, costs ×2"] = one.staked_double_cost
    own = {name: curve for name, curve in told.curves.items() if name != "buy and hold"}
    return (
        f"<h2>Equity</h2>{_table(head, [[name, *_account(one)] for name, one in accounts.items()])}"
        f"{_curves(told, own)}"
        "<p>Each line brought to 10 % volatility a year, so that accounts of any size compare:</p>"
        f"{_curves(told, {name: scaled(told, name) for name in told.curves})}"
    )


def _account(one: Performance) -> list[str]:
    return [
        f"{one.total_return:+.2%}",
        f"{one.volatility:.2%}",
        f"{one.sharpe:+.2f}",
        f"{one.deflated_sharpe:.3f}",
        f"{one.drawdown:.2%}",
        f"{one.exposure:.2%}",
        f"{one.turnover:.1f}",
    ]


def _accounts(told: Report) -> dict[str, Performance]:
    return {
        "board": told.board,
        "board, costs ×2": told.board_double_cost,
        "buy and hold": told.buy_and_hold,
    }


def scaled(told: Report, name: str) -> list[float]:
    """Return a curve as if its positions had been multiplied to reach 10 % volatility a year."""
    volatility = (_accounts(told) | told.ablations)[name].volatility
    factor = 0.1 / volatility if volatility > 0.0 else 0.0
    curve, worth = told.curves[name], [1.0]
    for before, after in pairwise(curve):
        worth.append(worth[-1] * (1.0 + factor * (after / before - 1.0)))
    return worth


def _curves(told: Report, curves: dict[str, list[float]]) -> str:
    lines: dict[str, svg.Line] = {name: (told.times_ns, values) for name, values in curves.items()}
    return svg.chart(lines, x_text=_day, y_text=lambda y: f"{y:.4g}", width=900.0)


def _phases(told: Report) -> str:
    phases = list(told.board_by_phase)
    rows = [["board", *(f"{told.board_by_phase[phase]:+.4f}" for phase in phases)]]
    rows += [
        [f"stakes of {name}", *(f"{one.by_phase.get(phase, 0.0):+.4f}" for phase in phases)]
        for name, one in told.forecasters.items()
    ]
    folds = [
        [name, *(f"{fold.log_gain:+.4f} / {fold.sharpe:+.2f}" for fold in one.folds)]
        for name, one in told.forecasters.items()
    ]
    count = max(len(row) for row in folds)
    return (
        f"<h2>By phase</h2><p>Sum of log returns.</p>{_table(('', *phases), rows)}"
        "<h2>Walk forward</h2><p>Log-score gain / Sharpe ratio of stakes, in four consecutive stretches.</p>"
        f"{_table(('', *(str(k) for k in range(1, count))), folds)}"
    )


def _theories(told: Report) -> str:
    found = told.theories
    if found is None:
        return ""
    rows = [["equilibrium, which votes", f"{found.equilibrium_signal:.3f}", "", ""]]
    names = {"quantal_signal": "quantal responses of three", "matching_signal": "regret matching"}
    rows += [
        [names[name], f"{one.signal:.3f}", f"{one.apart:.3f}", f"{one.same_side:.0%}"]
        for name, one in found.others.items()
    ]
    said = (
        f"QBMIA's market game at {found.games} moments, for a trader without a position. Regret matching "
        f"leaves {found.matching_gain:.4f} of the payoffs' range to be gained; the replicator dynamics lead "
        f"away from {found.repelled:.0%} of the equilibria chosen."
    )
    head = ("", "size of up − down", "distance from the equilibrium", "not on the opposite side")
    return f"<h2>Theories of play</h2><p>{said}</p>{_table(head, rows)}"


def _method(told: Report) -> str:
    checks = "".join(
        f"<li>{escape(name)}: {'yes' if passed else 'not shown'}</li>" for name, passed in told.checks.items()
    )
    return f"<h2>Checks of the board</h2><ul>{checks}</ul><h2>Method</h2><p>{_METHOD}</p>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    shown = ([escape(_NAN.sub("–", cell)) for cell in row] for row in rows)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in shown)
    return f"<table><tr>{top}</tr>{body}</table>"


def _day(at_ns: float) -> str:
    return datetime.fromtimestamp(at_ns / 1e9, UTC).strftime("%Y-%m-%d")
