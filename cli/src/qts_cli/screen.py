"""The live screen of a run in a terminal."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from qts_cli.events import Event
from qts_cli.terminal import add_columns, cut_text
from qts_cli.terminal import console as terminal
from qts_cli.view import View, state_of

_STATE_STYLE = {
    "ready": "bold green",
    "starting": "cyan",
    "unready": "yellow",
    "waiting": "yellow",
    "degraded": "yellow",
    "ended": "blue",
    "down": "bold red",
    "refused": "bold red",
    "stopped": "dim",
}
_ACTION_STYLE = {
    "BUY": "bold green",
    "INCREASE": "green",
    "SELL": "bold red",
    "DECREASE": "red",
    "EXIT": "magenta",
    "HEDGE": "yellow",
    "HOLD": "dim",
}
_PHASE_STYLE = {"growth": "green", "conservation": "cyan", "release": "red", "reorganization": "yellow"}


class Screen:
    """Draws the state of a run again and again on the same lines; also a sink of events."""

    def __init__(self, view: View, title: str, console: Console | None = None) -> None:
        self._view, self._title = view, title
        self._console = console or terminal()
        self._began_s = time.monotonic()
        self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="crop")

    def start(self) -> None:
        """Take the lower part of the terminal."""
        self._live.start()

    def stop(self) -> None:
        """Give the terminal back; what was drawn last stays."""
        self._live.stop()

    def draw(self) -> None:
        """Draw the present state."""
        self._live.update(render(self._view, self._title, time.monotonic() - self._began_s), refresh=True)

    def __call__(self, event: Event) -> None:
        """Print what should stay in the scroll-back: restarts and the summary."""
        if event["kind"] == "restart":
            self._console.print(
                Text.assemble(
                    ("restart", "yellow"),
                    f" {event['agent']} after {event['cause']} (number {event['restarts']})",
                )
            )
        elif event["kind"] == "summary":
            with contextlib.suppress(OSError):  # a terminal that went away; the summary is in the folder, too
                self._live.stop()
                self._console.print(summary_table(event))


def render(view: View, title: str, passed_s: float) -> RenderableType:
    """Return the screen for `view`."""
    parts: list[RenderableType] = [_head(view, passed_s), "", _processes(view), "", _decisions(view)]
    trouble = view.trouble()
    if trouble:
        parts.append(
            Panel(Text("\n".join(trouble[:6])), title="degraded", border_style="yellow", title_align="left")
        )
    return Panel(Group(*parts), title=Text(title), border_style="blue", title_align="left")


def _head(view: View, passed_s: float) -> RenderableType:
    board = view.board()
    phases = board.get("phases") or {}
    line = Text()
    line.append(f"{passed_s:7.1f} s   ")
    line.append(
        f"{view.ready()}/{len(view.agents)} agents",
        "bold green" if view.ready() == len(view.agents) else "yellow",
    )
    line.append(f"   bus {view.mode()}   ")
    line.append(
        f"{view.decisions} decisions   "
        f"round p50 {_ms(view.latency_ms(0.5))}  p99 {_ms(view.latency_ms(0.99))}"
    )
    second = Text("phase  ")
    for scale in ("micro", "meso", "macro"):
        phase = _word(phases.get(scale))
        second.append(f"{scale} ")
        second.append(f"{phase}   ", _PHASE_STYLE.get(phase, "dim"))
    second.append("messages/s  ")
    second.append("  ".join(f"{key} {rate:.1f}" for key, rate in view.rates.items()) or "-", "dim")
    again = f", restarted {view.server.restarts} times" if view.server.restarts else ""
    third = Text(f"redis  {view.redis or '-'}{again}", "dim")
    if view.server.state in ("waiting", "down"):
        third.append(f"   {view.server.state}", _STATE_STYLE[view.server.state])
    lines = [line, second, third]
    if note := view.note():
        lines.append(Text(note, "cyan"))
    return Group(*lines)


def _processes(view: View) -> RenderableType:
    table = Table(expand=True, box=None, header_style="dim", pad_edge=False)
    names = ("process", "state", "restarts", "pid", "computes on", "bus", "note")
    add_columns(table, names, right=("restarts", "pid"), cut=("note",))
    for row in view.rows.values():
        state = state_of(row)
        computes = f"{row.status.get('backend', '')} {row.status.get('device', '')}".strip()
        note = "" if state in ("ready", "ended") else "; ".join(row.status.get("reasons", [])) or row.cause
        table.add_row(
            row.name,
            Text(state, _STATE_STYLE.get(state, "")),
            str(row.restarts),
            str(row.pid or "-"),
            computes,
            str(row.status.get("bus_mode", "")),
            cut_text(note, "dim"),
        )
    return table


def _decisions(view: View) -> RenderableType:
    table = Table(expand=True, box=None, header_style="dim", pad_edge=False, title_justify="left")
    names = ("bar", "symbol", "decision", "conf.", "phase", "votes by seat", "ms")
    add_columns(table, names, right=("conf.", "ms"), cut=("phase", "votes by seat"))
    for event in view.recent:
        for symbol, row in list(event["symbols"].items())[:1]:
            table.add_row(
                event["asof"],
                symbol + (f" +{event['count'] - 1}" if event["count"] > 1 else ""),
                action_text(row["action"]),
                _number(row.get("confidence")),
                cut_text(phase_text(event["phase"])),
                cut_text(votes(event, symbol)),
                f"{event['elapsed_ms']:.0f}" if event.get("elapsed_ms") is not None else "-",
            )
    if not view.recent:
        table.add_row("waiting for the first decision", *[""] * 6)
    return table


def votes(event: Event, symbol: str) -> Text:
    """Return each seat's vote on `symbol` as one line: `qar BUY .61  qstar -`."""
    line = Text()
    for agent, vote in event["votes"].items():
        row = vote.get("symbols", {}).get(symbol)
        line.append(f"{vote.get('seat') or agent} ", "dim")
        if row is None or row.get("abstains"):
            line.append(f"{(row or {}).get('abstains') or vote.get('missing') or '-'}  ", "dim italic")
        else:
            line.append(f"{row['action']} ", _ACTION_STYLE.get(row["action"], ""))
            line.append(f"{_number(row.get('confidence'))}  ", "dim")
    return line


def action_text(action: str) -> Text:
    """Return an action in its colour."""
    return Text(action, _ACTION_STYLE.get(action, ""))


def phase_text(phase: str) -> Text:
    """Return a phase in its colour."""
    return Text(phase, _PHASE_STYLE.get(phase, "dim"))


def summary_table(event: Event) -> RenderableType:
    """Return the final summary as a table."""
    table = Table(show_header=False, box=None, title="summary", title_justify="left", title_style="bold")
    rows: list[tuple[str, Any]] = [
        ("ended", event["ended"]),
        ("agents", event["agents"]),
        ("bars, rounds", f"{event['bars']}, {event['rounds']}"),
        ("decisions", _pairs(event["decisions"])),
        ("restarts", _pairs({k: v for k, v in event["restarts"].items() if v}) or "none"),
        ("messages", _messages(event["messages"])),
        ("run folder", event["run"]),
    ]
    for name, value in rows:
        table.add_row(Text(name, "dim"), Text(str(value)))
    for text in event["failures"]:
        table.add_row(Text("not as it should be", "bold red"), Text(text))
    return table


def _messages(messages: dict[str, Any]) -> str:
    lost = _pairs(messages["lost"]) or "none"
    return (
        f"{messages['sent']} sent, {messages['delivered']} delivered, lost: {lost}; "
        f"{messages['unaccounted']} unaccounted"
    )


def _pairs(counts: dict[str, Any]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _word(phase: Any) -> str:
    if isinstance(phase, dict):
        phase = phase.get("phase") or phase.get("name")
    return str(phase) if phase else "-"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"


def _number(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, (int, float)) else "-"
