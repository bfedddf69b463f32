"""Draws charts with matplotlib: as single panels for the page, or all panels in one file."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from markupsafe import Markup

from latentpath.config.choices import FIGURE_FORMATS
from latentpath.errors import UserError
from latentpath.runs.figure_style import COLOURS, figure_style, new_figure, save, set_tips, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Style = dict[str, Any]  # Any: arguments of matplotlib
Look = Literal["solid", "dashed", "broad"]
GAP = 16  # px between the panels of a file
# matplotlib's arguments for the looks of lines and the shapes of points; style.css has a class for each.
LOOKS: dict[str, Style] = {
    "solid": {"marker": "o"},
    "dashed": {"marker": "o", "markersize": 3.6, "linestyle": (0, (3, 2.2)), "linewidth": 1.4},
    "broad": {"linewidth": 7, "alpha": 0.35},
}
MARKERS = {"circle": "o", "square": "s", "triangle": "^", "diamond": "D"}


class Panel:
    """One pair of axes.

    width, height: px, with the margins (left, right, top, bottom) around the axes.
    description: text for screen readers.
    """

    width: float
    height: float
    margins: tuple[float, float, float, float]
    description: str

    def draw(self, axes: Axes) -> None:
        """Draw the content into `axes`."""
        raise NotImplementedError


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    values: one a position, NaN if undefined. low, high: the band around them, if there is one. colour: its
    name in `PALETTE`.
    """

    name: str
    values: Sequence[float]
    colour: str
    look: Look = "solid"
    low: Sequence[float] = ()
    high: Sequence[float] = ()

    @property
    def ends(self) -> list[tuple[float, float]]:
        """The pair (low, high) of the band at each position; NaN where there is no band."""
        return list(zip(self.low, self.high, strict=True)) or [(math.nan, math.nan)] * len(self.values)


@dataclass(frozen=True)
class Curves(Panel):
    """Lines over x positions, each position with its label; the first line is on top.

    low, high: ends of the y axis.
    """

    title: str
    positions: Sequence[float]
    labels: Sequence[str]
    lines: Sequence[Line]
    low: float = 0.0
    high: float = 1.0
    x_title: str = "swap step"
    description: str = ""
    width: float = 260
    height: float = 180
    margins: tuple[float, float, float, float] = (30, 8, 24, 40)

    def draw(self, axes: Axes) -> None:
        for line in reversed(self.lines):
            paint = COLOURS[line.colour]
            if np.isfinite(line.low).any():
                low, high = np.clip([line.low, line.high], self.low, self.high)
                axes.fill_between(self.positions, low, high, color=paint, alpha=0.12, linewidth=0)
            (drawn,) = axes.plot(self.positions, line.values, color=paint, clip_on=False, **LOOKS[line.look])
            set_tips(drawn, self._tips(line))
        axes.set(title=self.title, xlabel=self.x_title, ylim=(self.low, self.high))
        axes.set_xlim(self.positions[0], self.positions[-1] + (len(self.positions) == 1))
        shown = self._labelled()
        axes.set_xticks([self.positions[i] for i in shown], [self.labels[i] for i in shown])
        axes.locator_params(axis="y", nbins=4, steps=[1, 2, 5, 10])
        axes.yaxis.set_major_formatter("{x:g}")

    def _labelled(self) -> list[int]:
        """From the right each position, or each second, third, ... until no label touches the next."""
        x = np.array(self.positions, float)
        x *= (self.width - self.margins[0] - self.margins[1]) / (np.ptp(x) or 1)  # px
        half = [3.2 * len(label) + 2 for label in self.labels]
        count = len(self.labels)
        choices = (range(count - 1, -1, -stride) for stride in range(1, count + 1))
        fit = (c for c in choices if all(x[i] - x[j] >= half[i] + half[j] for i, j in pairwise(c)))
        return list(next(fit))

    def _tips(self, line: Line) -> list[str]:
        return [
            f"{line.name}, {label}: {value:.3g}" + ("" if low != low else f" ({low:.3g} to {high:.3g})")
            for label, value, (low, high) in zip(self.labels, line.values, line.ends, strict=True)
            if value == value
        ]


@dataclass(frozen=True)
class HeatMap(Panel):
    """A heat map of values in [-1, 1] with text: blue rises, orange falls."""

    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    cells: Sequence[Sequence[tuple[float | None, str]]]
    width: float
    height: float
    description: str
    margins: tuple[float, float, float, float] = (110, 0, 50, 0)

    def draw(self, axes: Axes) -> None:
        from matplotlib.colors import LinearSegmentedColormap

        shades = LinearSegmentedColormap.from_list("falls to rises", [COLOURS["c1"], "white", COLOURS["c0"]])
        values = np.array([[value or 0 for value, _ in row] for row in self.cells], float)
        axes.pcolormesh(values, cmap=shades, vmin=-1.5, vmax=1.5, edgecolors="white", linewidth=2)
        for (r, k), _ in np.ndenumerate(values):
            axes.text(k + 0.5, r + 0.5, self.cells[r][k][1], ha="center", va="center_baseline")
        axes.set_title(self.title, x=-self.margins[0] / (self.width - self.margins[0]))
        axes.set_xticks(np.arange(len(self.columns)) + 0.5, self.columns)
        axes.set_yticks(np.arange(len(self.rows)) + 0.5, self.rows)
        axes.tick_params(length=0, grid_alpha=0)
        axes.xaxis.tick_top()
        axes.invert_yaxis()


@dataclass(frozen=True)
class Cloud:
    """Points of one colour, shape and strength, in px of the map; strength in (0, 1]: opacity."""

    points: Sequence[tuple[float, float]]
    colour: str
    shape: str
    strength: float


@dataclass(frozen=True)
class Scatter(Panel):
    """Points without axes, because distances in t-SNE have no unit; x and y are px from the upper left."""

    clouds: Sequence[Cloud]
    description: str
    width: float
    height: float
    margins: tuple[float, float, float, float] = (0, 0, 0, 0)

    def draw(self, axes: Axes) -> None:
        for cloud in self.clouds:
            look: Style = {"marker": MARKERS[cloud.shape], "linewidth": 0, "alpha": cloud.strength}
            axes.plot(*zip(*cloud.points, strict=True), color=COLOURS[cloud.colour], **look)
        axes.set(xlim=(0, self.width), ylim=(self.height, 0), xticks=[], yticks=[])


@dataclass(frozen=True)
class Key:
    """An entry of a legend; look: one of LOOKS or MARKERS."""

    text: str
    colour: str
    look: str = "solid"


@dataclass(frozen=True)
class Chart:
    """Panels under one legend. `name` is that of its files; `columns`: panels a row in them."""

    panels: Sequence[Panel]
    legend: Sequence[Key]
    note: str = ""
    name: str = ""
    columns: int = 4

    def svgs(self) -> list[Markup]:
        """Return each panel as SVG for the page, which writes the legend itself."""
        return [
            Markup(to_svg(_draw([panel], 1), f"{self.name}{k}", panel.description, inline=True))
            for k, panel in enumerate(self.panels)
        ]

    def figure(self) -> Figure:
        """Draw the legend and all panels in one figure."""
        return _draw(self.panels, min(self.columns, len(self.panels)), self.legend)


def write_figures(charts: Iterable[Chart], folder: Path, format: str) -> list[Path]:
    """Write each chart as `folder`/<name>.<format>, without dates. Raises UserError for an unknown format."""
    if format not in FIGURE_FORMATS:
        raise UserError(f"figures is {format!r}. Choose from: {', '.join(FIGURE_FORMATS)}.")
    files = [(chart, folder / f"{chart.name}.{format}") for chart in charts]
    for chart, file in files:
        save(chart.figure(), file, chart.name)
    return [file for _, file in files]


def _draw(panels: Sequence[Panel], columns: int, legend: Sequence[Key] = ()) -> Figure:
    from matplotlib.lines import Line2D

    wide, tall = max(panel.width for panel in panels) + GAP, max(panel.height for panel in panels) + GAP
    width = columns * wide - GAP
    keys = max(1, int(width // (50 + 5.8 * max((len(key.text) for key in legend), default=0))))  # a row
    above = 22 * -(-len(legend) // keys)
    height = above - (-len(panels) // columns) * tall - GAP
    with figure_style():
        figure = new_figure(width, height)
        for k, panel in enumerate(panels):
            left, right, top, bottom = panel.margins
            x, y = k % columns * wide + left, above + k // columns * tall + panel.height - bottom
            inner = (panel.width - left - right) / width, (panel.height - top - bottom) / height
            panel.draw(figure.add_axes((x / width, 1 - y / height, *inner), frameon=False))
        handles = []
        for key in legend:
            look: Style = {**LOOKS.get(key.look, {"linewidth": 0}), "marker": MARKERS.get(key.look)}
            handles.append(Line2D([], [], color=COLOURS[key.colour], label=key.text, **look))
        if handles:
            figure.legend(handles=handles, loc="upper left", ncols=keys)
    return figure
