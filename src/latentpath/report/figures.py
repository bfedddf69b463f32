"""The page's charts of curves: flip curves, directions of the trajectories."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

from latentpath.report.artefacts import RunArtefacts
from latentpath.report.cells import Cell, Table, count, header, lookup, number
from latentpath.report.pictures import words
from latentpath.report.svg import Line, colour, line_chart, swatch
from latentpath.report.tables import lpips_keys


@dataclass(frozen=True)
class Chart:
    """Small charts under one legend. `name` is that of its files; `columns`: panels a row in them."""

    panels: list[Markup]
    legend: list[tuple[Markup, str]]
    note: str = ""
    name: str = ""
    columns: int = 4


def flip_curves(run: RunArtefacts) -> Chart | None:
    """A panel per class and attribute: what should rise (it) against what should stay (the others)."""
    curves = run.metrics.get("flip_curve")
    if not curves:
        return None
    flips = run.tables.get("flip_rate")
    flips = None if flips is None else flips[flips["method"] == "swap"]
    panels = []
    for cls in run.classes:
        for index, attribute in enumerate(run.attributes):
            points: dict[str, Any] = dict(lookup(curves, cls, attribute) or {})
            if not points:
                continue
            absent = lookup(run.metrics.get("faithfulness"), "finetuned", cls, attribute, "neutral")
            if absent is not None:  # the curve's beginning: no swap at all
                points.setdefault(str(run.num_inference_steps), {"rate": 1 - absent})
            steps, x, labels = axis(run, points)
            name = panel_name(run, cls, words(attribute))
            series = {
                key: [lookup(points, step, key) for step in steps] for key in ("rate", "prob", "others")
            }
            low, high = (), ()
            if flips is not None:  # a flip is absent before and present after; at neutral there is none
                rows = _rows(flips, cls, attribute, "position")
                nothing = {run.num_inference_steps: 0.0}
                series["rate"] = _column(rows, "flip_rate", steps, nothing)
                low = _column(rows, "flip_rate_low", steps, nothing)
                high = _column(rows, "flip_rate_high", steps, nothing)
            lines = [
                Line("other attributes, mean probability", series["others"], "quiet"),
                Line(f"{words(attribute)}, mean probability", series["prob"], colour(index), dashed=True),
                Line(
                    f"{words(attribute)}, share of seeds", series["rate"], colour(index), low=low, high=high
                ),
            ]
            panels.append(line_chart(name, x, labels, lines, describe=_describe(name, steps, series["rate"])))
    first = colour(0) if len(run.attributes) == 1 else "ink"
    share = "attribute present, share of seeds"
    if flips is not None:
        share = "attribute newly present, share of seeds, with its 95 % interval"
    legend = [
        (swatch(first), share),
        (swatch(first, dashed=True), "attribute, mean probability"),
        (swatch("quiet"), "the other attributes, mean probability: should stay flat"),
    ]
    return Chart(panels, legend, name="flip_curves") if panels else None


def direction_curves(run: RunArtefacts) -> Chart | None:
    """Panels of each class, a line an attribute: cosines to two reference steps (1 all along is a straight
    line) and the turn at each step."""
    names = {
        "cosine_weakest": "cosine to the weakest swap",
        "cosine_strongest": "cosine to the strongest swap",
        "cosine_next": "cosine to the next step",
    }
    return _band_chart(run, names, "directions")


def distance_curves(run: RunArtefacts) -> Chart | None:
    """Panels of each class, a line an attribute: how far the swaps are from neutral, as latents, to a
    network, in pixels."""
    names = {"distance": "distance of latents"}
    names |= {net: f"LPIPS {net.removeprefix('lpips_')}" for net in lpips_keys(run)}
    return _band_chart(run, names | {"l1": "L1 of pixels"}, "distances")


def _band_chart(run: RunArtefacts, names: dict[str, str], name: str) -> Chart | None:
    """Of the figures in geometry.csv, by swap step; None where the evaluation wrote none of them."""
    geometry = run.tables.get("geometry")
    if geometry is None:
        return None
    panels = [panel for cls in run.classes for panel in _bands(run, geometry, cls, names)]
    a_class = len(panels) // max(len(run.classes), 1)
    return Chart(panels, attribute_legend(run), name=name, columns=a_class) if panels else None


def _bands(run: RunArtefacts, geometry: pd.DataFrame, cls: str, names: dict[str, str]) -> list[Markup]:
    """A panel for each figure that is there; cosines end at 1."""
    panels = []
    for figure, name in names.items():
        of_figure = geometry[geometry["figure"] == figure]
        steps, x, labels = axis(run, dict.fromkeys(of_figure["swap_step"].dropna().astype(int)))
        lines = []
        for index, attribute in enumerate(run.attributes):
            rows = _rows(of_figure, cls, attribute, "swap_step")
            mean, low, high = (_column(rows, key, steps) for key in ("mean", "low", "high"))
            lines.append(Line(words(attribute), mean, colour(index), low=low, high=high))
        known = [v for line in lines for v in (*line.values, *line.low, *line.high) if v is not None]
        if known:
            low = min(known) - 0.05 if min(known) < 0 else 0.0
            high = 1.0 if figure.startswith("cosine") else 1.05 * max(known) or 1.0
            panels.append(line_chart(panel_name(run, cls, name), x, labels, lines, low=low, high=high))
    return panels


def geometry_table(run: RunArtefacts) -> Table | None:
    """Path over chord and curvature, a number a trajectory: their means, and how seeds differ."""
    geometry = run.tables.get("geometry")
    if geometry is None:
        return None
    figures = {"path_over_chord": ("path over chord", 2), "curvature": ("curvature, degrees", 0)}
    head = [text for label, _ in figures.values() for text in (label, "middle 80 % of seeds")]
    table = Table(
        "How far each path is from its straight line: its length over the distance of its ends (1: straight) "
        "and the mean turn from step to step (0: straight, 90: as at random)",
        ["class", "attribute", *head, "seeds"],
        name="geometry",
    )
    for cls in run.classes:
        group = []
        for attribute in run.attributes:
            of_pair = geometry[(geometry["class"] == cls) & (geometry["attribute"] == attribute)]
            rows = {row["figure"]: row for row in of_pair.to_dict("records")}
            line = [header(words(cls)), header(words(attribute))]
            for key, (_, digits) in figures.items():
                row = rows.get(key, {})
                line.append(number(row.get("mean"), "no trajectory", digits=digits, ends=_ends(row)))
                inner = [row.get("q10"), row.get("q90")]
                spread = all(v is not None and v == v for v in inner)
                line.append(Cell("–".join(f"{v:.{digits}f}" for v in inner) if spread else ""))
            group.append([*line, count(rows.get("curvature", {}).get("n"))])
        table.groups.append(group)
    return table


def axis(run: RunArtefacts, points: Any) -> tuple[list[int], list[float], list[str]]:
    """Swap steps from neutral to the strongest edit, their x (rising with strength), their labels."""
    end = run.num_inference_steps
    steps = sorted((int(step) for step in points), reverse=True)
    return steps, [float(end - step) for step in steps], ["neutral" if s == end else str(s) for s in steps]


def attribute_legend(run: RunArtefacts) -> list[tuple[Markup, str]]:
    return [(swatch(colour(index)), words(a)) for index, a in enumerate(run.attributes)]


def panel_name(run: RunArtefacts, cls: str, name: str) -> str:
    return f"{words(cls)}: {name}" if len(run.classes) > 1 else name


def _rows(table: pd.DataFrame, cls: str, attribute: str, position: str) -> pd.DataFrame:
    rows = table[(table["class"] == cls) & (table["attribute"] == attribute)].dropna(subset=[position])
    rows = rows.assign(**{position: rows[position].astype(int)})
    return rows.drop_duplicates(position).set_index(position)


def _column(
    rows: pd.DataFrame, name: str, positions: Sequence[int], known: dict[int, float] | None = None
) -> list[float | None]:
    values = (known or {}) | (rows[name].dropna().to_dict() if name in rows else {})
    return [values.get(position) for position in positions]


def _ends(row: Any) -> tuple[Any, Any]:
    return row.get("low"), row.get("high")


def _describe(name: str, steps: Sequence[int], rates: Sequence[float | None]) -> str:
    known = [(step, rate) for step, rate in zip(steps, rates, strict=True) if rate is not None]
    if not known:
        return f"{name}: no scores"
    (first, low), (last, high) = known[0], known[-1]
    return f"{name}: present in {low:.0%} of seeds at step {first}, {high:.0%} at swap step {last}"
