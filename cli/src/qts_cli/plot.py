"""`qts plot`: one HTML file with price, phases, decisions, opinions and confidence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from qts_agents.pads.journal import entries
from qts_cli import folder
from qts_cli.decisions import Unread, events, journal_of, without_round
from qts_cli.events import Event
from qts_cli.prices import Closes, Prices
from qts_core.errors import ConfigError

_PHASE_COLOUR = {
    "growth": "rgba(46,160,67,0.14)",
    "conservation": "rgba(9,105,218,0.12)",
    "release": "rgba(207,34,46,0.16)",
    "reorganization": "rgba(191,135,0,0.16)",
}
_MARK = {
    "BUY": ("triangle-up", "#1a7f37", 12),
    "INCREASE": ("triangle-up-open", "#1a7f37", 11),
    "SELL": ("triangle-down", "#cf222e", 12),
    "DECREASE": ("triangle-down-open", "#cf222e", 11),
    "EXIT": ("x", "#8250df", 10),
    "HEDGE": ("diamond", "#bf8700", 10),
    "HOLD": ("line-ew-open", "#8c959f", 7),
}
_AGENT_COLOUR = {"qbmia": "#0969da", "quasar": "#bc4c00", "amos": "#8250df"}
_HEIGHTS = [0.52, 0.26, 0.22]


def plot(
    journal: Path | None = None,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("decisions.html"),
    symbol: str | None = None,
    run_dir: Path = folder.HOME,
) -> int:
    """Draw a journal as one self-contained HTML file.

    Parameters
    ----------
    journal
        A run folder, journal folder or .qtsj file; without it the latest run.
    output
        The file to write.
    symbol
        Which symbol; without it the first one.
    run_dir
        Folder for runs, as for qts run.
    """
    path = journal_of(journal, run_dir)
    unread, closes = Unread(), Closes(symbol)
    rounds = list(events(closes.seen(entries(path, unread))))
    if not rounds:
        raise without_round(path)
    known = list(dict.fromkeys(name for event in rounds for name in event["symbols"]))
    chosen = closes.symbol or known[0]
    if chosen not in known:
        raise ConfigError(f"--symbol: {chosen} is not in this journal; there is {', '.join(known[:12])}")
    drawn = figure(chosen, [event for event in rounds if chosen in event["symbols"]], closes.prices())
    try:
        drawn.write_html(output, include_plotlyjs=True, full_html=True, config={"displaylogo": False})
    except OSError as error:
        raise ConfigError(f"--output: {output} cannot be written: {error.strerror}") from None
    print(f"{output}: {len(rounds)} decisions on {chosen}")
    return unread.code


def figure(symbol: str, rounds: Sequence[Event], price: Prices) -> Any:
    """Return the figure: price with phases and decisions, opinions by agent, confidence; shared time axis."""
    from plotly.subplots import make_subplots

    titles = (f"{symbol}: price, phase and decisions", "opinions: P(up) − P(down)", "confidence of the board")
    drawn = make_subplots(
        rows=3, cols=1, shared_xaxes=True, row_heights=_HEIGHTS, vertical_spacing=0.06, subplot_titles=titles
    )
    _bands(drawn, rounds, price)
    _price(drawn, price)
    _marks(drawn, symbol, rounds, price)
    _opinions(drawn, symbol, rounds)
    _confidence(drawn, symbol, rounds)
    drawn.update_layout(
        template="plotly_white",
        height=900,
        hovermode="x unified",
        margin={"l": 70, "r": 30, "t": 90, "b": 50},
        legend={"orientation": "h", "y": 1.05, "x": 0.0, "yanchor": "bottom"},
        font={"family": "system-ui, sans-serif", "size": 13},
    )
    drawn.update_yaxes(title_text="close", row=1, col=1)
    drawn.update_yaxes(title_text="P(up) − P(down)", zeroline=True, row=2, col=1)
    drawn.update_yaxes(title_text="confidence", rangemode="tozero", row=3, col=1)
    drawn.update_xaxes(title_text="time of the bar (UTC)", row=3, col=1)
    # the legend's empty swatches come first and would make the axis a category
    drawn.update_xaxes(type="date")
    return drawn


def bands(rounds: Sequence[Event], until: str | None = None) -> list[tuple[str, str, str]]:
    """Return (phase, from, to) for each stretch of rounds in one phase; stretches touch each other."""
    starts = [
        (event["phase"], event["asof"])
        for index, event in enumerate(rounds)
        if index == 0 or rounds[index - 1]["phase"] != event["phase"]
    ]
    last = max(rounds[-1]["asof"], until or "") if rounds else ""
    ends = [*(at for _, at in starts[1:]), last]
    return [(phase, start, end) for (phase, start), end in zip(starts, ends, strict=False)]


def _bands(drawn: Any, rounds: Sequence[Event], price: Prices) -> None:
    """Shade phases behind the price; each phase once in the legend."""
    from plotly import graph_objects as go

    shapes, seen = [], set[str]()
    for phase, start, end in bands(rounds, price.at[-1] if price.at else None):
        colour = _PHASE_COLOUR.get(phase, "rgba(140,149,159,0.15)")
        # as one list: added one by one, bands of a year take minutes and those of empty panels are lost
        place = {"type": "rect", "xref": "x", "yref": "y domain", "y0": 0, "y1": 1, "layer": "below"}
        shapes.append({**place, "x0": start, "x1": end, "fillcolor": colour, "line": {"width": 0}})
        if phase not in seen:
            swatch = {"size": 14, "symbol": "square", "color": colour.rsplit(",", 1)[0] + ",0.6)"}
            empty = {"x": [None], "y": [None], "mode": "markers", "hoverinfo": "skip"}
            drawn.add_trace(go.Scatter(**empty, name=phase, marker=swatch), row=1, col=1)
            seen.add(phase)
    drawn.update_layout(shapes=shapes)
    if price.at and rounds:
        drawn.update_xaxes(
            range=[price.at[max(0, _position(price.at, rounds[0]["asof"]) - 60)], rounds[-1]["asof"]]
        )


def _position(times: Sequence[str], at: str) -> int:
    return next((index for index, time in enumerate(times) if time >= at), len(times) - 1)


def _price(drawn: Any, price: Prices) -> None:
    from plotly import graph_objects as go

    line = {"color": "#24292f", "width": 1.3}
    drawn.add_trace(
        go.Scatter(x=price.at, y=price.close, mode="lines", name="close", line=line), row=1, col=1
    )


def _marks(drawn: Any, symbol: str, rounds: Sequence[Event], price: Prices) -> None:
    """Mark each decision at its bar's close; HOLD is drawn small and pale."""
    from plotly import graph_objects as go

    close = dict(zip(price.at, price.close, strict=True))
    for action, (shape, colour, size) in _MARK.items():
        chosen = [event for event in rounds if event["symbols"][symbol]["action"] == action]
        if not chosen:
            continue
        trace = go.Scatter(
            x=[event["asof"] for event in chosen],
            y=[close.get(event["asof"]) for event in chosen],
            mode="markers",
            name=f"{action} ({len(chosen)})",
            marker={"symbol": shape, "color": colour, "size": size, "line": {"width": 1.5, "color": colour}},
            text=[_words(event["symbols"][symbol]) for event in chosen],
            hovertemplate="%{text}<extra></extra>",
            opacity=0.5 if action == "HOLD" else 1.0,
        )
        drawn.add_trace(trace, row=1, col=1)


def _opinions(drawn: Any, symbol: str, rounds: Sequence[Event]) -> None:
    """Draw each agent's lean; a gap is an abstention."""
    from plotly import graph_objects as go

    agents = dict.fromkeys(agent for event in rounds for agent in event["votes"])
    times = [event["asof"] for event in rounds]
    for agent in agents:
        line = {"color": _AGENT_COLOUR.get(agent, "#57606a"), "width": 1.6}
        lean = [_lean(event["votes"].get(agent, {}).get("symbols", {}).get(symbol)) for event in rounds]
        mode = "lines" if len(rounds) > 200 else "lines+markers"
        drawn.add_trace(go.Scatter(x=times, y=lean, mode=mode, name=agent, line=line), row=2, col=1)
    board = [_lean(event["symbols"][symbol]) for event in rounds]
    line = {"color": "#24292f", "width": 2.2, "dash": "dot"}
    drawn.add_trace(go.Scatter(x=times, y=board, mode="lines", name="board", line=line), row=2, col=1)


def _confidence(drawn: Any, symbol: str, rounds: Sequence[Event]) -> None:
    from plotly import graph_objects as go

    trace = go.Scatter(
        x=[event["asof"] for event in rounds],
        y=[event["symbols"][symbol]["confidence"] for event in rounds],
        mode="lines" if len(rounds) > 200 else "lines+markers",
        name="confidence",
        line={"color": "#0a7ea4", "width": 1.6},
        fill="tozeroy",
        fillcolor="rgba(10,126,164,0.12)",
    )
    drawn.add_trace(trace, row=3, col=1)


def _lean(row: dict[str, Any] | None) -> float | None:
    if row is None or row.get("abstains"):
        return None
    up, _, down = row["p"]
    lean = up - down
    return float(lean) if lean == lean else None


def _words(row: dict[str, Any]) -> str:
    shares: Iterable[str] = (f"{seat} {share:+.0%}" for seat, share in row["shares"].items())
    return (
        f"<b>{row['action']}</b> · {row['reason']}<br>confidence {row['confidence']:.2f}, "
        f"signal {row['signal']:+.3f}, size {row['size']:.4f}<br>shares: {', '.join(shares)}"
    )
