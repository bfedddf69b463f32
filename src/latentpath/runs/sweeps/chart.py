"""Draws the chart of a sweep: the result of each job against each parameter that was varied."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from latentpath.runs.figure_style import COLOURS, figure_style, new_figure, set_tips, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT, COLUMNS = 320, 230, 3  # px of a panel; panels per row
TICKS = 5  # approximate number of round labels on an axis
LEAST_GAP = 0.2  # share of the axis; values at least this far apart are labelled themselves


def sweep_chart(
    jobs: Sequence[tuple[Mapping[str, str], float | None]],
    keys: Sequence[str],
    *,
    label: str,
    best: float | None = None,
) -> str | None:
    """Return an SVG with one panel per key and one dot per job; a cross at the top marks a missing result.

    Numeric values are on a linear axis, or a logarithmic one if they span decades; words are side by side.
    Returns None if nothing was varied or no job has a result.
    """
    if not keys or all(result is None for _, result in jobs):
        return None
    columns, rows = min(len(keys), COLUMNS), -(-len(keys) // COLUMNS)
    with figure_style(**{"axes.grid.axis": "both"}):
        figure = new_figure(columns * WIDTH, rows * HEIGHT)
        figure.set_layout_engine("constrained", h_pad=0.15, w_pad=0.15)
        for k, key in enumerate(keys):
            own = [(values[key], result) for values, result in jobs if key in values]
            _draw(figure.add_subplot(rows, columns, k + 1, frameon=False), key, own, label, best)
        return to_svg(figure, "sweep", f"{label} of each job")


def _draw(
    axes: Axes, key: str, jobs: Sequence[tuple[str, float | None]], label: str, best: float | None
) -> None:
    texts = [text for text, _ in jobs]
    x = [number for text in texts if (number := number_of(text)) is not None]
    if len(x) == len(jobs):
        key += " (log)" if _numeric(axes, "x", x, decades=1) else ""
    else:
        words = list(dict.fromkeys(texts))
        x = [words.index(text) for text in texts]
        room = max(4, 40 // len(words))
        axes.set_xlim(-0.5, len(words) - 0.5)
        axes.set_xticks(range(len(words)), [w if len(w) <= room else f"{w[: room - 1]}…" for w in words])
    results = [result for _, result in jobs if result is not None]
    label += " (log)" if results and _numeric(axes, "y", results, decades=2) else ""
    axes.set_title(label, pad=18)
    axes.set_xlabel(key)
    top = axes.get_xaxis_transform()  # x in data units, y from 0 (bottom) to 1 (top)
    for at, (text, result) in zip(x, jobs, strict=True):
        if result is None:
            (mark,) = axes.plot(at, 1.05, "x", color=COLOURS["quiet"], markeredgewidth=1.5, transform=top)
        else:
            shade = COLOURS["c1" if result == best else "c0"]
            (mark,) = axes.plot(at, result, "o", color=shade, markersize=8, alpha=0.7)
        mark.set_clip_on(False)
        set_tips(mark, [f"{text}: no result" if result is None else f"{text}: {result:.5g}"])


def _numeric(axes: Axes, name: str, values: Sequence[float], *, decades: float) -> bool:
    """Label an axis with its values if they are few, else round numbers; return whether it is logarithmic."""
    from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

    low, high, distinct = min(values), max(values), sorted(set(values))
    log = low > 0 and high / low >= 10**decades
    axes.set(**{f"{name}scale": "log" if log else "linear"})
    places = [math.log(value) for value in distinct] if log else distinct
    gaps = [after - before for before, after in pairwise(places)]
    if not gaps or min(gaps) >= LEAST_GAP * sum(gaps):
        locator = FixedLocator(distinct)
    elif log:
        locator = LogLocator(subs=(1, 3) if high / low < 1000 else (1,), numticks=TICKS + 1)
    else:
        locator = MaxNLocator(TICKS, steps=[1, 2, 5, 10])
    axis = axes.xaxis if name == "x" else axes.yaxis
    axis.set_major_locator(locator)
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(StrMethodFormatter("{x:.4g}"))
    return log


def number_of(text: str) -> float | None:
    """Return an override's value as a finite number, or None if it is not one."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
