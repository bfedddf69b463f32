"""Charts as small inline SVG: colours come from the page, so they follow dark mode and print."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

from markupsafe import Markup

PALETTE = 8  # CSS classes c0 .. c7; `quiet` is the grey of what should stay unmoved


@dataclass(frozen=True)
class Line:
    """values: one a position, None where undefined; low, high: the band around them, if there is one. style:
    CSS class of the colour."""

    name: str
    values: Sequence[float | None]
    style: str
    dashed: bool = False
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()


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
        ends = zip(line.low, line.high, strict=True)
        known = [i for i, (a, b) in enumerate(ends) if a is not None and b is not None and a == a and b == b]
        known.sort(key=lambda i: positions[i])
        if len(known) > 1:
            upper = [f"{x(positions[i]):.1f},{y(min(line.high[i] or 0, high)):.1f}" for i in known]
            lower = [f"{x(positions[i]):.1f},{y(max(line.low[i] or 0, low)):.1f}" for i in reversed(known)]
            parts.append(f'<path class="band {line.style}" d="M{"L".join(upper + lower)}z"/>')
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
                f"<title>{escape(line.name)}, {escape(labels[i])}: {value:.2f}{_range(line, i)}</title>"
                "</circle>"
            )
    return _svg(width, height, parts, describe or title)


@dataclass(frozen=True)
class Cloud:
    """Points of one colour, marker and strength, in the map's own px (see `placed`). marker: index of the
    class; strength in (0, 1]: opacity."""

    points: Sequence[tuple[float, float]]
    style: str
    marker: int
    strength: float


MAP_WIDTH, MAP_HEIGHT, MAP_MARGIN = 720, 480, 14


def placed(xs: Sequence[float], ys: Sequence[float]) -> list[tuple[float, float]]:
    """Points of a plane in px of the map: x and y keep one scale, the middle is the middle, y points up."""
    mid_x, mid_y = (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2
    scale = min(
        (MAP_WIDTH - 2 * MAP_MARGIN) / ((max(xs) - min(xs)) or 1),
        (MAP_HEIGHT - 2 * MAP_MARGIN) / ((max(ys) - min(ys)) or 1),
    )
    return [
        (MAP_WIDTH / 2 + (x - mid_x) * scale, MAP_HEIGHT / 2 - (y - mid_y) * scale)
        for x, y in zip(xs, ys, strict=True)
    ]


def scatter(clouds: Sequence[Cloud], *, describe: str) -> Markup:
    """Points without axes: distances of a t-SNE map have no unit."""
    parts = [
        f'<rect class="frame" x="0.5" y="0.5" width="{MAP_WIDTH - 1}" height="{MAP_HEIGHT - 1}" rx="6"/>'
    ]
    for cloud in clouds:
        shape = MARKERS[cloud.marker % len(MARKERS)]
        marks = "".join(f"M{x:.1f},{y:.1f}{shape}" for x, y in cloud.points)
        parts.append(f'<path class="mark {cloud.style}" fill-opacity="{cloud.strength:.2f}" d="{marks}"/>')
    return _svg(MAP_WIDTH, MAP_HEIGHT, parts, describe)


def heat_map(
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    cells: Sequence[Sequence[tuple[float | None, str]]],
    *,
    describe: str = "",
) -> Markup:
    """Squares of a value in [-1, 1], its text within: blue rises, orange falls."""
    left, top, wide, tall = 12 + round(6.2 * max(map(len, rows))), 46, 76, 30
    width, height = left + wide * len(columns) + 8, top + tall * len(rows) + 8
    parts = [f'<text class="t" x="0" y="14">{escape(title)}</text>']
    for k, name in enumerate(columns):
        at = left + wide * (k + 0.5)
        parts.append(f'<text class="n" x="{at}" y="{top - 8}" text-anchor="middle">{escape(name)}</text>')
    for r, name in enumerate(rows):
        y = top + tall * r
        parts.append(
            f'<text class="n" x="{left - 8}" y="{y + tall / 2 + 4}" text-anchor="end">{escape(name)}</text>'
        )
        for k, (value, text) in enumerate(cells[r]):
            style = "c0" if (value or 0) >= 0 else "c1"
            box = f'x="{left + wide * k + 1}" y="{y + 1}" width="{wide - 2}" height="{tall - 2}"'
            opacity = 0.65 * min(abs(value or 0), 1)
            parts.append(f'<rect class="mark {style}" {box} fill-opacity="{opacity:.3f}"/>')
            at = left + wide * (k + 0.5)
            parts.append(
                f'<text class="v" x="{at}" y="{y + tall / 2 + 4}" text-anchor="middle">{escape(text)}</text>'
            )
    return _svg(width, height, parts, describe or title)


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
    """0, 0.5, 1 of shares; about four round numbers of anything wider."""
    step = 0.5
    if high - low > 2:
        rough = (high - low) / 4
        power = 10 ** floor(log10(rough))
        step = next(n * power for n in (1, 2, 5, 10) if n * power >= rough)
    return [k * step for k in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]


def _range(line: Line, i: int) -> str:
    low, high = (line.low[i], line.high[i]) if len(line.low) > i < len(line.high) else (None, None)
    return "" if low is None or high is None or low != low else f" ({low:.2f} to {high:.2f})"


def _svg(width: int, height: int, parts: Sequence[str], label: str) -> Markup:
    return Markup(
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg>"
    )
