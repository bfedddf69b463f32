"""The section that compares methods: their fronts as curves, and leaks at equal effect in a table."""

import math
from collections.abc import Sequence

import pandas as pd

from latentpath.metrics import figure
from latentpath.metrics.front_table import AREA, AT, EQUAL
from latentpath.report.artefacts import RunArtefacts
from latentpath.report.cells import Cell, Table, header, number, signed
from latentpath.report.charts import Chart, Curves, Key, Line, Look
from latentpath.report.pictures import words
from latentpath.runs.figure_style import CYCLE, colour

MEAN = "mean of all"  # the title of the figures over all classes and attributes
_CELL = ["class", "attribute"]


def front_charts(run: RunArtefacts) -> list[Chart]:
    """Make the charts of a run; none if it has fewer than two methods."""
    fronts = _fronts(run)
    return [] if fronts is None else charts_of(fronts, run.classes)


def charts_of(fronts: pd.DataFrame, classes: Sequence[str]) -> list[Chart]:
    """Make a chart for each measure of leak: a panel of the mean, then one per class and attribute.

    In a panel each method is a curve of its leak over the effect. The band around a curve is the 95 %
    interval of its difference to the first method on the same seeds, so where the band does not meet the
    first method's curve, the two differ. fronts: of `metrics.front_table`.
    """
    methods = list(dict.fromkeys(fronts["method"]))
    legend = [Key(words(method), colour(k), _look(k)) for k, method in enumerate(methods)]
    charts = []
    for measure, of_measure in fronts[fronts["figure"] == AT].groupby("measure", sort=False):
        most = float(of_measure["value"].max())  # NaN if no method reaches any level
        high = 1.05 * most if most > 0 else 1.0
        panels = [
            _panel(_title(str(cls), str(attribute), classes), rows, methods, high)
            for (cls, attribute), rows in of_measure.groupby(_CELL, sort=False)
        ]
        note = figure(str(measure)).label
        charts.append(Chart(panels, legend, note=note, name=f"front_{measure}", columns=3))
    return charts


def front_table(run: RunArtefacts) -> Table | None:
    """Make the table of leaks at equal effect and areas; None if the run has fewer than two methods."""
    fronts = _fronts(run)
    if fronts is None:
        return None
    measure = fronts["measure"].iloc[0]  # the one to rank by
    fronts = fronts[fronts["measure"] == measure]
    first = words(fronts["method"].iloc[0])
    head = [f"at {100 * level:.0f} %" for level in EQUAL] + [figure(AREA).label]
    table = Table(
        f"{figure(measure).label.capitalize()}: the leak at an effect of so many percent of the seeds, and "
        f"the area under the front; beside each its difference to {first} on the same seeds",
        ["class", "attribute", "method", *(text for name in head for text in (name, f"− {first}")), "seeds"],
        name="fronts",
    )
    for (cls, attribute), rows in fronts.groupby(_CELL, sort=False):
        group, methods = [], list(dict.fromkeys(rows["method"]))
        for k, method in enumerate(methods):
            own = rows[rows["method"] == method]
            found = [_row(own, AT, level) for level in EQUAL] + [_row(own, AREA)]
            names = [words(str(cls)), words(str(attribute))] if attribute else [MEAN, ""]
            lead = [header(text, len(methods)) for text in names] if k == 0 else []
            cells = [part for row in found for part in (_value(row), _difference(row, reference=k == 0))]
            group.append([*lead, header(words(method)), *cells, number(found[-1]["n"], digits=0)])
        table.groups.append(group)
    return table


def _fronts(run: RunArtefacts) -> pd.DataFrame | None:
    table = run.tables.get("fronts")
    return None if table is None else table.fillna(dict.fromkeys([*_CELL, "reason"], ""))


def _panel(title: str, rows: pd.DataFrame, methods: Sequence[str], high: float) -> Curves:
    by_method = {m: own.set_index("level") for m, own in rows.groupby("method", sort=False)}
    reference = next(iter(by_method.values()))["value"]
    lines = []
    for method, own in by_method.items():
        k = methods.index(str(method))
        band = {end: [math.nan, *(reference + own[f"difference_{end}"])] for end in ("low", "high")}
        lines.append(Line(words(str(method)), [0.0, *own["value"]], colour(k), _look(k), **band))
    levels = [float(level) for level in reference.index]
    return Curves(
        title,
        [0.0, *levels],
        ["0", *(f"{100 * level:.0f} %" for level in levels)],
        lines,
        low=min(0.0, float(rows["value"].min())),
        high=high,
        x_title="effect: share of seeds in which the attribute appears",
        description=_describe(title, rows),
        width=330,
        height=220,
    )


def _look(index: int) -> Look:
    return "solid" if index < CYCLE else "dashed"


def _describe(title: str, rows: pd.DataFrame) -> str:
    told = [
        f"{words(row['method'])} {row['value']:.3f}" if row["n"] else f"{words(row['method'])} not reached"
        for row in rows[rows["level"] == EQUAL[0]].to_dict("records")
    ]
    return f"{title}, leak at an effect of {100 * EQUAL[0]:.0f} %: {', '.join(told)}"


def _title(cls: str, attribute: str, classes: Sequence[str]) -> str:
    if not attribute:
        return MEAN
    return f"{words(cls)}: {words(attribute)}" if len(classes) > 1 else words(attribute)


def _row(rows: pd.DataFrame, name: str, level: float | None = None) -> dict:
    rows = rows[rows["figure"] == name]
    return rows[rows["level"] == level].iloc[0].to_dict() if level else rows.iloc[0].to_dict()


def _value(row: dict) -> Cell:
    return number(row["value"], row["reason"], digits=3, ends=(row["low"], row["high"]))


def _difference(row: dict, *, reference: bool) -> Cell:
    if reference:
        return Cell("")
    if row["difference"] != row["difference"]:
        return number(None, row["reason"] or "the other method does not reach it")
    mean, low, high, p = (float(row[key]) for key in ("difference", "difference_low", "difference_high", "p"))
    tooltip = f"p = {p:.3g} among all methods and figures of this class and attribute" if p == p else ""
    better = -mean if row["figure"] == AT else mean
    tint = max(-1.0, min(1.0, 4 * better)) if low > 0 or high < 0 else None
    return Cell(signed(mean, 3), value=mean, low=low, high=high, tint=tint, tooltip=tooltip)
