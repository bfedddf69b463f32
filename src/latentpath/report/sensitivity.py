"""Charts and a table of how CFRT depends on its settings: threshold, strong positions, calibration."""

import pandas as pd

from latentpath.report.artefacts import RunArtefacts
from latentpath.report.cells import Table, header, number
from latentpath.report.charts import Chart, Curves, Line
from latentpath.report.figures import attribute_legend, columns_at, panel_name
from latentpath.report.pictures import words
from latentpath.runs.figure_style import colour

STRICT, RELEASED = "cfrt_strict", "cfrt_released"


def sensitivity_curves(run: RunArtefacts) -> Chart | None:
    """Make panels per class with one line per attribute: CFRT by threshold, strong end and position.

    The strict CFRT is shown by threshold, by the size of the strong end, at each swap step and at each frame
    of a Bezier curve; the released CFRT, which has no threshold, by the size of the strong end.
    """
    moved, alone, frames = _moved(run), run.figures.by_position("swap"), run.figures.by_position("bezier")
    panels = []
    for cls in run.classes:
        if moved is not None:
            by = {key: rows for key, rows in moved[moved["class"] == cls].groupby("varies")}
            if "threshold" in by:
                panels.append(_panel(run, cls, "strict", by["threshold"], "threshold", STRICT, "threshold"))
            if "strong" in by:
                title = "strongest swap steps that count"
                panels.append(_panel(run, cls, "strict", by["strong"], "n_strong", STRICT, title))
                panels.append(_panel(run, cls, "released", by["strong"], "n_strong", RELEASED, title))
        if len(rows := alone[alone["class"] == cls]):
            rows = rows.assign(strength=run.num_inference_steps - rows["position"])
            panels.append(_panel(run, cls, "strict", rows, "strength", STRICT, "this swap step alone"))
        if len(rows := frames[frames["class"] == cls]):
            panels.append(_panel(run, cls, "strict", rows, "position", STRICT, "this Bezier frame alone"))
    panels = [panel for panel in panels if panel]
    a_class = len(panels) // max(len(run.classes), 1)
    return Chart(panels, attribute_legend(run), name="cfrt_sensitivity", columns=a_class) if panels else None


def calibration_table(run: RunArtefacts) -> Table | None:
    """Make the table of CFRT, both definitions, with and without calibration; None if not calibrated."""
    rows = _moved(run)
    if rows is None or not (rows["varies"] == "calibration").any():
        return None
    rows = rows[rows["varies"] == "calibration"]
    head = ["class", "attribute", "strict, calibrated", "not", "released, calibrated", "not"]
    table = Table("CFRT with the judge’s calibration and without it", head, name="cfrt_calibration")
    for cls in run.classes:
        group = []
        for attribute in run.attributes:
            mine = rows[(rows["class"] == cls) & (rows["attribute"] == attribute)]
            both = {bool(row["calibrated"]): row for row in mine.to_dict("records")}
            cells = [
                number(both[on][key], ends=(both[on].get(f"{key}_low"), both[on].get(f"{key}_high")))
                for key in (STRICT, RELEASED)
                for on in (True, False)
            ]
            group.append([header(words(cls)), header(words(attribute)), *cells])
        table.groups.append(group)
    return table


def _moved(run: RunArtefacts) -> pd.DataFrame | None:
    """Return the rows of the plain swaps in cfrt_sensitivity.csv, or None if there are none."""
    rows = run.tables.get("cfrt_sensitivity")
    rows = None if rows is None else rows[rows["method"] == "swap"]
    return None if rows is None or rows.empty else rows


def _panel(run: RunArtefacts, cls: str, name: str, rows: pd.DataFrame, by: str, figure: str, title: str):
    positions = sorted(rows[by].unique().tolist())
    if not positions:
        return None
    end = run.num_inference_steps
    labels = [str(int(end - p)) if by == "strength" else f"{p:g}" for p in positions]
    lines = []
    for index, attribute in enumerate(run.attributes):
        of = rows[rows["attribute"] == attribute].drop_duplicates(by).set_index(by)
        values, low, high = columns_at(of, positions, figure, f"{figure}_low", f"{figure}_high")
        lines.append(Line(words(attribute), values, colour(index), low=low, high=high))
    heading = panel_name(run, cls, f"CFRT, {name}")
    description = f"{heading}, by {title}"
    return Curves(
        heading, positions, labels, lines, x_title=title, description=description, width=210, height=165
    )
