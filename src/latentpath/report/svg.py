"""Charts as small inline SVG: colours come from the page, so they follow dark mode and print."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

PALETTE = 8  # CSS classes c0 .. c7; `quiet` is the grey of what should stay unmoved


@dataclass(frozen=True)
class Line:
    """values: one a position, None where undefined. style: CSS class of the colour."""

    name: str
    values: Sequence[float | None]
    style: str
    dashed: bool = False


def line_chart(
    title: str,
    positions: Sequence[float],
    labels: list[str],
    lines: Sequence[Line],
    *,
    low: float = 0.0,
    high: float = 1.0,
    x_title: str = "swap step",
    describe: str = "",
) -> Markup:
    """Lines over x positions, drawn left to right. `describe` is what a screen reader says of it."""
    width, height, left, right, top, bottom = 260, 180, 28, 8, 24, 38
    x0, x1 = min(positions), max(positions)

    def x(position: float) -> float:
        return left + (position - x0) / ((x1 - x0) or 1) * (width - left - right)

    def y(value: float) -> float:
        return top + (high - value) / (high - low) * (height - top - bottom)

    parts = [f'<text class="t" x="{left}" y="14">{escape(title)}</text>']
    for tick in _ticks(low, high):
        parts.append(f'<path class="grid" d="M{left},{y(tick):.1f}H{width - right}"/>')
        parts.append(
            f'<text class="n" x="{left - 6}" y="{y(tick) + 3.5:.1f}" text-anchor="end">{tick:g}</text>'
        )
    shown, last = [], -1e9
    order = sorted(range(len(positions)), key=lambda i: positions[i])
    for i in order:
        room = 5.8 * len(labels[i]) + 5
        if x(positions[i]) - last >= room or not shown:
            shown.append(i)
            last = x(positions[i]) + (room / 2 if labels[i].isalpha() else 0)
    for i in shown:
        anchor = "start" if labels[i].isalpha() else "middle"
        at = x(positions[i]) - (4 if anchor == "start" else 0)
        parts.append(f'<text class="n" x="{at:.1f}" y="{height - bottom + 15}" text-anchor="{anchor}">')
        parts.append(f"{escape(labels[i])}</text>")
    parts.append(
        f'<text class="n" x="{(left + width - right) / 2}" y="{height - 6}" text-anchor="middle">'
        f"{escape(x_title)}</text>"
    )
    for line in lines:
        points = [(i, value) for i, value in enumerate(line.values) if value is not None and value == value]
        if not points:
            continue
        path = "L".join(
            f"{x(positions[i]):.1f},{y(v):.1f}" for i, v in sorted(points, key=lambda p: positions[p[0]])
        )
        dash = " dash" if line.dashed else ""
        parts.append(f'<path class="line {line.style}{dash}" d="M{path}"/>')
        for i, value in points:
            parts.append(
                f'<circle class="dot {line.style}{dash}" r="2.6" '
                f'cx="{x(positions[i]):.1f}" cy="{y(value):.1f}">'
                f"<title>{escape(line.name)}, {escape(labels[i])}: {value:.2f}</title></circle>"
            )
    return _svg(width, height, parts, describe or title)


@dataclass(frozen=True)
class Cloud:
    """Points of one colour, marker and strength. marker: index of the class; strength in (0, 1]: opacity."""

    points: Sequence[tuple[float, float]]
    style: str
    marker: int
    strength: float


def scatter(clouds: Sequence[Cloud], *, describe: str) -> Markup:
    """Points without axes: distances of a t-SNE map have no unit. x and y keep one scale."""
    width, height, margin = 720, 480, 14
    xs = [x for cloud in clouds for x, _ in cloud.points]
    ys = [y for cloud in clouds for _, y in cloud.points]
    mid_x, mid_y = (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2
    scale = min(
        (width - 2 * margin) / ((max(xs) - min(xs)) or 1), (height - 2 * margin) / ((max(ys) - min(ys)) or 1)
    )
    parts = [f'<rect class="frame" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="6"/>']
    for cloud in clouds:
        shape = MARKERS[cloud.marker % len(MARKERS)]
        centres = [
            (width / 2 + (x - mid_x) * scale, height / 2 - (y - mid_y) * scale) for x, y in cloud.points
        ]
        marks = "".join(f"M{x:.1f},{y:.1f}{shape}" for x, y in centres)
        parts.append(f'<path class="mark {cloud.style}" opacity="{cloud.strength:.2f}" d="{marks}"/>')
    return _svg(width, height, parts, describe)


# Circle, square, triangle, diamond, each about 5 px across and drawn around the current point.
MARKERS = (
    "m-2.5,0a2.5,2.5 0 1,0 5,0a2.5,2.5 0 1,0 -5,0z",
    "m-2.2,-2.2h4.4v4.4h-4.4z",
    "m0,-3l2.8,4.8h-5.6z",
    "m0,-3.2l2.5,3.2l-2.5,3.2l-2.5,-3.2z",
)


def marker(index: int, style: str) -> Markup:
    """A lone marker, for legends."""
    return Markup(
        f'<svg class="key" viewBox="0 0 10 10" aria-hidden="true"><path class="mark {style}" '
        f'd="M5,5{MARKERS[index % len(MARKERS)]}"/></svg>'
    )


def swatch(style: str, *, dashed: bool = False) -> Markup:
    """A short piece of line, for legends."""
    return Markup(
        f'<svg class="key wide" viewBox="0 0 22 10" aria-hidden="true"><path class="line {style}'
        f'{" dash" if dashed else ""}" d="M1,5H21"/></svg>'
    )


def colour(index: int) -> str:
    return f"c{index % PALETTE}"


def _ticks(low: float, high: float) -> list[float]:
    step = 0.5 if high - low <= 2 else 1.0
    first = -int(-low // step) if low < 0 else int(low // step)
    return [round(k * step, 2) for k in range(first - 1, int(high // step) + 1) if low <= k * step <= high]


def _svg(width: int, height: int, parts: Sequence[str], label: str) -> Markup:
    return Markup(
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg>"
    )
