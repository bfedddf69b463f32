"""How CFRT moves with the choices that it leaves open: the threshold, and which swap steps count."""

import pandas as pd

from latentpath.report.artefacts import RunArtefacts
from latentpath.report.figures import Chart, attribute_legend, panel_name
from latentpath.report.pictures import words
from latentpath.report.svg import Line, colour, line_chart

POSTER, RELEASED = "cfrt_strict", "cfrt_released"


def sensitivity_curves(run: RunArtefacts) -> Chart | None:
    """Panels of each class, a line an attribute: the poster's CFRT by threshold and by the size of the strong
    end, the released one by the latter (it holds no threshold), the poster's at each swap step alone."""
    moved, alone = run.tables.get("cfrt_sensitivity"), run.tables.get("cfrt_by_position")
    panels = []
    for cls in run.classes:
        if moved is not None:
            by = {key: rows for key, rows in moved[moved["class"] == cls].groupby("varies")}
            if "threshold" in by:
                panels.append(_panel(run, cls, "poster", by["threshold"], "threshold", POSTER, "threshold"))
            if "strong" in by:
                title = "strongest swap steps that count"
                panels.append(_panel(run, cls, "poster", by["strong"], "n_strong", POSTER, title))
                panels.append(_panel(run, cls, "released", by["strong"], "n_strong", RELEASED, title))
        if alone is not None:
            rows = alone[alone["class"] == cls]
            rows = rows.assign(strength=run.num_inference_steps - rows["position"])
            panels.append(_panel(run, cls, "poster", rows, "strength", POSTER, "this swap step alone"))
    panels = [panel for panel in panels if panel]
    return Chart(panels, attribute_legend(run), name="cfrt_sensitivity") if panels else None


def _panel(run: RunArtefacts, cls: str, name: str, rows: pd.DataFrame, by: str, figure: str, title: str):
    positions = sorted(rows[by].unique().tolist())
    if not positions:
        return ""
    end = run.num_inference_steps
    labels = [str(int(end - p)) if by == "strength" else f"{p:g}" for p in positions]
    lines = []
    for index, attribute in enumerate(run.attributes):
        of = rows[rows["attribute"] == attribute].drop_duplicates(by).set_index(by).reindex(positions)
        values, low, high = (
            [None if pd.isna(v) else float(v) for v in of[key]] if key in of else []
            for key in (figure, f"{figure}_low", f"{figure}_high")
        )
        lines.append(Line(words(attribute), values, colour(index), low=low, high=high))
    heading = panel_name(run, cls, f"CFRT, {name}")
    return line_chart(heading, positions, labels, lines, x_title=title, describe=f"{heading}, by {title}")
