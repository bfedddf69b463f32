"""The chart of a sweep, a file of its own: its result against each parameter that was varied."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 320, 230, 58, 16, 34, 44
COLUMNS = 3
STYLE = """
svg{font:11px system-ui,sans-serif;background:#fff}
text{fill:#333}.title{font-size:12px;font-weight:600}.grid{stroke:#ddd}
.dot{fill:#2a6fbb;fill-opacity:.65}.best{fill:#d9480f}.lost{stroke:#999;stroke-width:1.5}
@media(prefers-color-scheme:dark){svg{background:#181a1d}text{fill:#ddd}.grid{stroke:#3a3d42}}
"""


@dataclass(frozen=True)
class Axis:
    """`place` maps a value to 0..1; ticks are (value, label)."""

    place: Callable[[float], float]
    ticks: Sequence[tuple[float, str]]
    note: str = ""


def sweep_chart(
    jobs: Sequence[tuple[Mapping[str, str], float | None]],
    keys: Sequence[str],
    *,
    label: str,
    best: float | None = None,
) -> str | None:
    """SVG with a panel a key: a dot a job of (values, result), a cross at the top for one without a result.

    Numbers stand on a line, logarithmic where they span decades; words one beside the other. None where
    nothing was varied or no job has a result.
    """
    results = [result for _, result in jobs if result is not None]
    if not results or not keys:
        return None
    y_axis = numeric_axis(results, decades=2)
    panels = []
    for place, key in enumerate(keys):
        own = [(values[key], result) for values, result in jobs if key in values]
        x, y = place % COLUMNS * WIDTH, place // COLUMNS * HEIGHT
        body = "".join(_panel(key, own, y_axis, label=label, best=best))
        panels.append(f'<g transform="translate({x},{y})">{body}</g>')
    width, height = min(len(keys), COLUMNS) * WIDTH, -(-len(keys) // COLUMNS) * HEIGHT
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label="{escape(label)} of each job">'
        f"<style>{STYLE}</style>{''.join(panels)}</svg>\n"
    )


def _panel(
    key: str, jobs: Sequence[tuple[str, float | None]], y_axis: Axis, *, label: str, best: float | None
) -> list[str]:
    numbers = [number_of(text) for text, _ in jobs]
    found = [number for number in numbers if number is not None]
    if len(found) == len(numbers):
        places, x_axis = found, numeric_axis(found, decades=1)
    else:
        words = list(dict.fromkeys(text for text, _ in jobs))
        places, x_axis = [float(words.index(text)) for text, _ in jobs], word_axis(words)

    def x(value: float) -> float:
        return LEFT + x_axis.place(value) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - y_axis.place(value) * (HEIGHT - BOTTOM - TOP)

    above = f"{label} ({y_axis.note})" if y_axis.note else label
    below = f"{key} ({x_axis.note})" if x_axis.note else key
    parts = [
        f'<text class="title" x="{LEFT}" y="16">{escape(above)}</text>',
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(below)}'
        "</text>",
    ]
    for value, text in y_axis.ticks:
        at = y(value)
        parts.append(f'<path class="grid" d="M{LEFT},{at:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{text}</text>')
    for value, text in x_axis.ticks:
        at = x(value)
        parts.append(f'<path class="grid" d="M{at:.1f},{TOP}V{HEIGHT - BOTTOM}"/>')
        parts.append(
            f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{escape(text)}</text>'
        )
    for (text, result), value in zip(jobs, places, strict=True):
        at = x(value)
        if result is None:
            parts.append(f'<path class="lost" d="M{at - 4:.1f},{TOP - 9}l8,8m0,-8l-8,8">')
            parts.append(f"<title>{escape(text)}: no result</title></path>")
            continue
        style = "dot best" if result == best else "dot"
        parts.append(f'<circle class="{style}" r="4" cx="{at:.1f}" cy="{y(result):.1f}">')
        parts.append(f"<title>{escape(text)}: {result:.5g}</title></circle>")
    return parts


def number_of(text: str) -> float | None:
    """The finite number that an override's value is, else None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def numeric_axis(values: Sequence[float], *, decades: float) -> Axis:
    """Logarithmic where positive values span at least so many decades."""
    low, high = min(values), max(values)
    if low > 0 and high / low >= 10**decades:
        first, last = math.log10(low), math.log10(high)
        margin = 0.05 * (last - first)
        powers = range(math.ceil(first - margin), math.floor(last + margin) + 1)
        step = -(-len(powers) // 6) or 1
        ticks = [(10.0**power, f"{10.0**power:g}") for power in powers[::step]]
        if len(ticks) < 2:
            ticks = [(value, f"{value:.3g}") for value in (low, high)]
        span = last - first + 2 * margin
        return Axis(lambda value: (math.log10(value) - first + margin) / span, ticks, "log")
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 0.5
    low, high = low - margin, high + margin
    raw = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * times for times in (1, 2, 5, 10) if power * times >= raw)
    marks = [k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return Axis(lambda value: (value - low) / (high - low), [(mark, f"{mark:.4g}") for mark in marks])


def word_axis(words: Sequence[str]) -> Axis:
    room = max(4, 40 // len(words))
    ticks = [(float(i), w if len(w) <= room else f"{w[: room - 1]}…") for i, w in enumerate(words)]
    return Axis(lambda value: (value + 0.5) / len(words), ticks)
