"""Line charts as SVG text: a report of a few hundred kB needs no plotting script inside (pure)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

COLOURS = ("#24292f", "#0969da", "#bc4c00", "#8250df", "#1a7f37", "#cf222e", "#bf8700", "#0a7ea4", "#8c959f")
WIDTH, HEIGHT = 760.0, 320.0
LEFT, RIGHT, TOP, BOTTOM = 64.0, 14.0, 14.0, 34.0
Line = tuple[Sequence[float], Sequence[float]]  # x and y of equal length


def chart(
    lines: Mapping[str, Line],
    *,
    x_text: Callable[[float], str] = "{:g}".format,
    y_text: Callable[[float], str] = "{:g}".format,
    marks: bool = False,
    diagonal: bool = False,
    width: float = WIDTH,
) -> str:
    """Return the lines on common axes with a legend below; points that are not finite are left out."""
    known = {name: _finite(line) for name, line in lines.items()}
    xs = [x for line in known.values() for x, _ in line]
    ys = [y for line in known.values() for _, y in line]
    if not xs:
        return "<p>nothing to draw</p>"
    x0, x1 = (0.0, 1.0) if diagonal else _span(xs)
    y0, y1 = (0.0, 1.0) if diagonal else _span(ys)

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (x - x0) / (x1 - x0) * (width - LEFT - RIGHT)
        return across, HEIGHT - BOTTOM - (y - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM)

    parts = [*_axes((x0, x1), (y0, y1), place, x_text, y_text)]
    if diagonal:
        (ax, ay), (bx, by) = place(0.0, 0.0), place(1.0, 1.0)
        parts.append(
            f'<path d="M{ax:.1f} {ay:.1f}L{bx:.1f} {by:.1f}" stroke="#8c959f" stroke-dasharray="4 4"/>'
        )
    for index, line in enumerate(known.values()):
        parts += _line([place(x, y) for x, y in line], COLOURS[index % len(COLOURS)], marks)
    box = f'viewBox="0 0 {width:g} {HEIGHT:g}" width="{width:g}"'
    return f'<figure><svg {box} fill="none" role="img">{"".join(parts)}</svg>{_legend(known)}</figure>'


def _finite(line: Line) -> list[tuple[float, float]]:
    return [(x, y) for x, y in zip(*line, strict=True) if math.isfinite(x) and math.isfinite(y)]


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    pad = 0.04 * (high - low) or max(1.0, 1e-6 * abs(high))  # one moment in ns ± 1.0 would be itself
    return low - pad, high + pad


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return about `count` round numbers inside [low, high]."""
    raw = (high - low) / count
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * k for k in (1.0, 2.0, 2.5, 5.0, 10.0) if size * k >= raw)
    first = math.ceil(low / step)
    return [k * step for k in range(first, math.floor(high / step) + 1)]


def _axes(
    across: tuple[float, float],
    up: tuple[float, float],
    place: Callable[[float, float], tuple[float, float]],
    x_text: Callable[[float], str],
    y_text: Callable[[float], str],
) -> list[str]:
    parts = []
    for y in ticks(*up):
        (left, level), (right, _) = place(across[0], y), place(across[1], y)
        parts.append(f'<path d="M{left:.1f} {level:.1f}H{right:.1f}" stroke="#d0d7de" stroke-width=".7"/>')
        parts.append(
            f'<text x="{left - 6:.1f}" y="{level + 4:.1f}" text-anchor="end">{escape(y_text(y))}</text>'
        )
    for x in ticks(*across):
        at, bottom = place(x, up[0])
        parts.append(
            f'<text x="{at:.1f}" y="{bottom + 18:.1f}" text-anchor="middle">{escape(x_text(x))}</text>'
        )
    return parts


def _line(points: Sequence[tuple[float, float]], colour: str, marks: bool) -> list[str]:
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    parts = [f'<path d="M{path}" stroke="{colour}" stroke-width="1.5"/>'] if points else []
    if marks:
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
    return parts


def _legend(names: Mapping[str, object]) -> str:
    items = (
        f'<span><i style="background:{COLOURS[index % len(COLOURS)]}"></i>{escape(name)}</span>'
        for index, name in enumerate(names)
    )
    return f"<figcaption>{''.join(items)}</figcaption>"
