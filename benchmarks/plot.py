"""A plot as an SVG file, without a library: a few lines on logarithmic axes, one panel beside the other."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _BOTTOM, _TOP = 340, 300, 52, 24, 84, 42
_MANY_POWERS, _WHOLE_FROM = 4, 100
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
    inner_w, inner_h = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _BOTTOM - _TOP

    def at(x: float, y: float) -> tuple[float, float]:
        across = (math.log(x / xs[0]) / math.log(xs[-1] / xs[0])) if xs[-1] > xs[0] else 0.5
        up = math.log(y / low_y) / math.log(high_y / low_y)
        return round(_LEFT + across * inner_w, 1), round(_TOP + (1 - up) * inner_h, 1)

    parts = [
        f'<text x="{_LEFT - 44}" y="16" font-weight="bold">{panel.title}</text>',
        f'<text x="{_LEFT - 44}" y="31" fill="#555">{panel.y}</text>',
        f'<text x="{_LEFT + inner_w / 2}" y="{_HEIGHT - _BOTTOM + 32}" text-anchor="middle">{panel.x}</text>',
        f'<rect x="{_LEFT}" y="{_TOP}" width="{inner_w}" height="{inner_h}" fill="none" stroke="#bbb"/>',
    ]
    for x in xs:
        across, _ = at(x, low_y)
        parts.append(
            f'<text x="{across}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{_number(x)}</text>'
        )
        parts.append(f'<path d="M{across} {_TOP}v{inner_h}" stroke="#f3f3f3"/>')
    for y in _ticks(low_y, high_y):
        _, down = at(xs[0], y)
        parts.append(f'<text x="{_LEFT - 5}" y="{down + 4}" text-anchor="end">{_number(y)}</text>')
        parts.append(f'<path d="M{_LEFT} {down}h{inner_w}" stroke="#e4e4e4"/>')
    for number, line in enumerate(panel.lines):
        colour = _COLOURS[number % len(_COLOURS)]
        places = [at(x, y) for x, y in line.points]
        parts.append(
            f'<polyline fill="none" stroke="{colour}" stroke-width="2" '
            f'points="{" ".join(f"{x},{y}" for x, y in places)}"/>'
        )
        parts += [f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in places]
        below = _HEIGHT - _BOTTOM + 50 + 14 * number
        parts.append(f'<path d="M{_LEFT} {below - 4}h16" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{_LEFT + 22}" y="{below}" fill="{colour}">{line.name}</text>')
    return "".join(parts)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between two: 1, 2 and 5 times powers of ten; of a wide range the powers alone."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1,) if len(powers) > _MANY_POWERS else (1, 2, 5)
    return [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]


def _number(value: float) -> str:
    """As people write it."""
    return f"{value:,.0f}" if value >= _WHOLE_FROM else f"{value:.3g}"
