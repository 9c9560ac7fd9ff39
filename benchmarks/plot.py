"""A plot as an SVG file, without a library: a few lines on logarithmic axes, one panel beside the other."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 300, 220, 52, 40, 34
_COLOURS = ("#1f6feb", "#d1242f", "#1a7f37", "#8250df")


@dataclass(frozen=True, slots=True)
class Line:
    """A name and its points (x, y), all above zero."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Panel:
    title: str
    x: str
    y: str
    lines: Sequence[Line]


def write(path: Path, panels: Sequence[Panel]) -> None:
    """One file of all panels."""
    width = len(panels) * (_WIDTH + 20)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{_HEIGHT + 10}" '
        'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>'
    )
    parts = [head]
    for number, panel in enumerate(panels):
        parts.append(f'<g transform="translate({number * (_WIDTH + 20)},0)">{_panel(panel)}</g>')
    path.write_text("\n".join([*parts, "</svg>"]) + "\n")


def _panel(panel: Panel) -> str:
    points = [point for line in panel.lines for point in line.points]
    if not points:
        return f'<text x="{_LEFT}" y="16">{panel.title}: nothing measured</text>'
    xs, ys = sorted({x for x, _ in points}), [y for _, y in points]
    low_y, high_y = min(ys) / 1.6, max(ys) * 1.6
    inner_w, inner_h = _WIDTH - _LEFT - 12, _HEIGHT - _BOTTOM - _TOP

    def at(x: float, y: float) -> tuple[float, float]:
        across = (math.log(x / xs[0]) / math.log(xs[-1] / xs[0])) if xs[-1] > xs[0] else 0.5
        up = math.log(y / low_y) / math.log(high_y / low_y)
        return round(_LEFT + across * inner_w, 1), round(_TOP + (1 - up) * inner_h, 1)

    parts = [
        f'<text x="{_LEFT}" y="16" font-weight="bold">{panel.title}</text>',
        f'<text x="{_LEFT}" y="29" fill="#555">{panel.y}</text>',
        f'<text x="{_LEFT}" y="{_HEIGHT - 4}" fill="#555">{panel.x}</text>',
        f'<rect x="{_LEFT}" y="{_TOP}" width="{inner_w}" height="{inner_h}" fill="none" stroke="#bbb"/>',
    ]
    for x in xs:
        across, _ = at(x, low_y)
        parts.append(f'<text x="{across}" y="{_HEIGHT - 20}" text-anchor="middle">{x:g}</text>')
    for y in (min(ys), math.sqrt(min(ys) * max(ys)), max(ys)):
        _, down = at(xs[0], y)
        parts.append(f'<text x="{_LEFT - 5}" y="{down + 4}" text-anchor="end">{y:.3g}</text>')
        parts.append(f'<path d="M{_LEFT} {down}h{inner_w}" stroke="#eee"/>')
    for number, line in enumerate(panel.lines):
        colour = _COLOURS[number % len(_COLOURS)]
        places = [at(x, y) for x, y in line.points]
        parts.append(
            f'<polyline fill="none" stroke="{colour}" stroke-width="2" '
            f'points="{" ".join(f"{x},{y}" for x, y in places)}"/>'
        )
        parts += [f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in places]
        parts.append(
            f'<text x="{_LEFT + 8}" y="{_TOP + 14 + 13 * number}" fill="{colour}">{line.name}</text>'
        )
    return "".join(parts)
