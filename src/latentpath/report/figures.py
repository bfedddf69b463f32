"""The page's charts of curves: flip curves, directions of the trajectories, and their numbers."""

from collections.abc import Iterable, Sequence

import pandas as pd

from latentpath.metrics.measures import MEASURES
from latentpath.report.artefacts import RunArtefacts
from latentpath.report.cells import Cell, Table, count, header, number
from latentpath.report.charts import Chart, Curves, Key, Line
from latentpath.report.pictures import words
from latentpath.runs.figure_style import colour

NEWLY = "newly present, share of seeds"
PROBABILITY = "mean probability"
# z_0 and the swaps' latents drawn independently: cos(a - c, b - c) = 1/2, cos(b - a, c - b) = -1/2
UNRELATED = {"cosine_weakest": 0.5, "cosine_strongest": 0.5, "cosine_next": -0.5}
OTHERS = "the other attributes, mean probability"


def flip_curves(run: RunArtefacts) -> Chart | None:
    """Make one panel per class and attribute: the attribute should rise, the others should stay flat."""
    swaps, panels = run.figures.by_position("swap"), []
    for cls in run.classes:
        for index, attribute in enumerate(run.attributes):
            rows, paint = _rows(swaps, cls, attribute, "position"), colour(index)
            if rows.empty:
                continue
            steps, x, labels = axis(run, rows.index)
            newly, low, high = columns_at(rows, steps, "flipped", "flipped_low", "flipped_high")
            prob, others = columns_at(rows, steps, "probability", "others_probability")
            lines = [
                Line(NEWLY, newly, paint, low=low, high=high),
                Line(PROBABILITY, prob, paint, "dashed"),
                Line(OTHERS, others, "quiet"),
            ]
            name = panel_name(run, cls, words(attribute))
            panels.append(Curves(name, x, labels, lines, description=_describe(name, lines[0], labels)))
    first = colour(0) if len(run.attributes) == 1 else "ink"
    legend = [
        Key(f"{NEWLY}, with its 95 % interval", first),
        Key(PROBABILITY, first, "dashed"),
        Key(f"{OTHERS}: should stay flat", "quiet"),
    ]
    return Chart(panels, legend, name="flip_curves") if panels else None


def curve_numbers(chart: Chart | None, caption: str) -> Table | None:
    """Make the table of a chart of curves: one row per line, one column per position, bands in brackets."""
    panels = [panel for panel in chart.panels if isinstance(panel, Curves)] if chart else []
    if not chart or not panels:
        return None
    labels = list(dict.fromkeys(label for panel in panels for label in panel.labels))
    table = Table(caption, ["panel", "line", *labels], name=chart.name)
    for panel in panels:
        group = []
        for line in panel.lines:
            known = dict(zip(panel.labels, zip(line.values, line.ends, strict=True), strict=True))
            found = [known.get(label, (None, ())) for label in labels]
            cells = [number(value, "undefined at this position", ends=band) for value, band in found]
            group.append([header(panel.title), header(line.name), *cells])
        table.groups.append(group)
    return table


def direction_curves(run: RunArtefacts) -> Chart | None:
    """Make panels per class, one line per attribute: cosines, and how often a direction names its attribute.

    A straight trajectory has cosine 1 everywhere. A dashed line shows the baseline: cosines of unrelated
    images, and how often directions with exchanged attributes name theirs.
    """
    names = {
        "cosine_weakest": "cosine to the weakest swap",
        "cosine_strongest": "cosine to the strongest swap",
        "cosine_next": "cosine to the next step",
        "direction_named": "names the attribute, share of seeds",
    }
    return _band_chart(run, names, "directions")


def distance_curves(run: RunArtefacts) -> Chart | None:
    """Make panels per class, one line per attribute: distance from neutral in latents, LPIPS and pixels."""
    names = {"distance": "distance of latents"}
    names |= {key: measure.label for key, measure in MEASURES.items() if measure.better != "higher"}
    return _band_chart(run, names, "distances")


def _band_chart(run: RunArtefacts, names: dict[str, str], name: str) -> Chart | None:
    """Make a chart of geometry figures by swap step; None if the evaluation wrote none of them."""
    geometry = run.tables.get("geometry")
    if geometry is None:
        return None
    panels = [panel for cls in run.classes for panel in _bands(run, geometry, cls, names)]
    a_class = len(panels) // max(len(run.classes), 1)
    return Chart(panels, attribute_legend(run), name=name, columns=a_class) if panels else None


def _bands(run: RunArtefacts, geometry: pd.DataFrame, cls: str, names: dict[str, str]) -> list[Curves]:
    """Make one panel per available figure; the axis of cosines ends at 1."""
    panels = []
    for figure, name in names.items():
        of_figure = geometry[geometry["figure"] == figure]
        steps, x, labels = axis(run, dict.fromkeys(of_figure["swap_step"].dropna().astype(int)))
        lines = []
        for index, attribute in enumerate(run.attributes):
            rows = _rows(of_figure, cls, attribute, "swap_step")
            mean, low, high = columns_at(rows, steps, "mean", "low", "high")
            lines.append(Line(words(attribute), mean, colour(index), low=low, high=high))
        if any(value == value for line in lines for value in line.values):
            lines += _null(geometry, cls, figure, steps)
            known = [v for line in lines for v in (*line.values, *line.low, *line.high) if v == v]
            low = min(known) - 0.05 if min(known) < 0 else 0.0
            high = 1.0 if figure.startswith(("cosine", "direction")) else 1.05 * max(known) or 1.0
            title = panel_name(run, cls, name)
            panels.append(Curves(title, x, labels, lines, low=low, high=high, width=320, height=190))
    return panels


def _null(geometry: pd.DataFrame, cls: str, figure: str, steps: list[int]) -> list[Line]:
    """Return the line of a figure's baseline, the value for directions without information; [] if none."""
    if figure in UNRELATED:
        return [Line("unrelated images", [UNRELATED[figure]] * len(steps), "quiet", "dashed")]
    if figure != "direction_named":
        return []
    rows = geometry[(geometry["figure"] == "direction_null") & (geometry["class"] == cls)]
    rows = rows.assign(swap_step=rows["swap_step"].astype(int)).set_index("swap_step")
    (mean,) = columns_at(rows, steps, "mean")
    return [Line("attributes exchanged", mean, "quiet", "dashed")]


def geometry_table(run: RunArtefacts) -> Table | None:
    """Make the table of path over chord and curvature per trajectory: means and spread over seeds."""
    geometry = run.tables.get("geometry")
    if geometry is None:
        return None
    figures = {"path_over_chord": ("path over chord", 2), "curvature": ("curvature, degrees", 0)}
    head = [text for label, _ in figures.values() for text in (label, "middle 80 % of seeds")]
    table = Table(
        "How far each path is from its straight line: its length over the distance of its ends (1: straight) "
        "and the mean turn from step to step (0: straight, 120: what unrelated images give)",
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
                ends = row.get("low"), row.get("high")
                line.append(number(row.get("mean"), "no trajectory", digits=digits, ends=ends))
                inner = [row.get("q10"), row.get("q90")]
                spread = all(v is not None and v == v for v in inner)
                line.append(Cell("–".join(f"{v:.{digits}f}" for v in inner) if spread else ""))
            group.append([*line, count(rows.get("curvature", {}).get("n"))])
        table.groups.append(group)
    return table


def axis(run: RunArtefacts, points: Iterable[int]) -> tuple[list[int], list[float], list[str]]:
    """Return the swap steps from neutral to the strongest edit, their x values and their labels."""
    end = run.num_inference_steps
    steps = sorted((int(step) for step in points), reverse=True)
    return steps, [float(end - step) for step in steps], ["neutral" if s == end else str(s) for s in steps]


def attribute_legend(run: RunArtefacts) -> list[Key]:
    """Return a legend entry for each attribute, in its colour."""
    return [Key(words(a), colour(index)) for index, a in enumerate(run.attributes)]


def panel_name(run: RunArtefacts, cls: str, name: str) -> str:
    """Return the name of a panel: the class, if there are several, and `name`."""
    return f"{words(cls)}: {name}" if len(run.classes) > 1 else name


def _rows(table: pd.DataFrame, cls: str, attribute: str, position: str) -> pd.DataFrame:
    rows = table[(table["class"] == cls) & (table["attribute"] == attribute)].dropna(subset=[position])
    rows = rows.assign(**{position: rows[position].astype(int)})
    return rows.drop_duplicates(position).set_index(position)


def columns_at(rows: pd.DataFrame, positions: list[float] | list[int], *names: str) -> list[list[float]]:
    """Return each column of `rows` at the positions, which are its index; NaN where it has no value."""
    return rows.reindex(index=positions, columns=list(names)).astype(float).T.to_numpy().tolist()


def _describe(name: str, line: Line, labels: Sequence[str]) -> str:
    known = [(label, value) for label, value in zip(labels, line.values, strict=True) if value == value]
    if not known:
        return f"{name}: no scores"
    (first, low), (last, high) = known[0], known[-1]
    return f"{name}, {line.name}: {low:.2f} at swap step {first}, {high:.2f} at {last}"
