"""Summarizes an evaluation: the headline and the facts of its run in evaluate/metrics.json.

    classes, attributes      what was traversed
    heads                    attributes that the classifier judges
    num_inference_steps, swap_steps, strong_swap_steps, threshold, resamples
    cfrt_mean.<method>       the means over classes and attributes of CFRT, the Classifier Flip Rate along a
                             Trajectory, and of its conditions, with <figure>_low and <figure>_high
    chance                   the strict CFRT where nothing that was asked for happens: one edit of all changes
                             a head most, each as likely. The released CFRT has no such constant, but one for
                             each head: the figure released_null
    notes                    what is n/a, and why

Every other figure is a row of figures.parquet; a figure that is undefined is null here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
from rich.console import Console
from rich.table import Table

from latentpath.keys import TRAJECTORIES
from latentpath.metrics import Scored, figure
from latentpath.metrics.figure_table import FigureTable, Reading
from latentpath.metrics.figures import CFRT
from latentpath.metrics.measures import MEASURES
from latentpath.runs.files import Json

_NAMED = 4  # places that a note names at most


def summarise(
    figures: FigureTable,
    scored: Scored,
    *,
    attributes: Sequence[str],
    num_inference_steps: int,
    swap_steps: Sequence[int],
    strong: Sequence[int],
) -> Json:
    """Return the content of metrics.json, from the table of figures and the scores behind it."""
    return {
        "classes": list(scored.classes),
        "attributes": list(attributes),
        "heads": list(scored.heads),
        "num_inference_steps": num_inference_steps,
        "swap_steps": sorted(swap_steps),
        "strong_swap_steps": sorted(strong),
        "threshold": scored.threshold,
        "resamples": scored.resamples,
        "cfrt_mean": {m: _means(figures, m) for m in TRAJECTORIES if m in figures.methods},
        "chance": {"cfrt_strict": 1 / len(attributes) if len(attributes) > 1 else None},
        "notes": _notes(figures.rows),
    }


def print_summary(figures: FigureTable, metrics: Json) -> None:
    """Print the poster's table on the terminal."""
    keys = [
        "selectivity",
        "cfrt_released",
        "cfrt_strict",
        "flipped",
        *(m for m in MEASURES if m in figures.figures),
    ]
    table = Table("class", "attribute", *(figure(key).heading for key in keys))

    def line(*of: str) -> list[str]:
        values = [(figures.value(key, *of), figure(key).digits) for key in keys]
        return ["n/a" if value is None else f"{value:.{digits}f}" for value, digits in values]

    for cls in metrics["classes"]:
        for attribute in metrics["attributes"]:
            table.add_row(cls, attribute, *line(cls, attribute))
    table.add_section()
    table.add_row("mean", "", *line())
    means = [figures.get(key) or Reading() for key in keys]
    ends = ["" if m.low is None or m.high is None else f"{m.low:.2f}–{m.high:.2f}" for m in means]
    table.add_row("95 %", "", *ends)
    console = Console(markup=False)  # a name may look like markup
    console.print(table)
    for note in metrics["notes"]:
        console.print(f"note: {note}")


def _means(figures: FigureTable, method: str) -> dict[str, float | None]:
    means: dict[str, float | None] = {}
    for each in CFRT:
        mean = figures.get(each.key, method=method)
        if mean is not None:
            ends = {f"{each.key}_low": mean.low, f"{each.key}_high": mean.high}
            means |= {key: _rounded(value) for key, value in ({each.key: mean.value} | ends).items()}
    return means


def _notes(rows: pd.DataFrame) -> list[str]:
    """Return one note per reason instead of one per cell."""
    undefined = rows[rows["value"].isna() & (rows["reason"] != "")]
    undefined = undefined[undefined["position"].isna() & undefined["class"].notna()]
    notes = []
    for (key, why), cells in undefined.groupby(["figure", "reason"], sort=False):
        places = [" ".join(cell) for cell in cells[["method", "class", "attribute"]].to_numpy()]
        more = " and others" if len(places) > _NAMED else ""
        notes.append(f"{figure(str(key)).label} is undefined: {why} ({', '.join(places[:_NAMED])}{more})")
    return notes


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 6)
