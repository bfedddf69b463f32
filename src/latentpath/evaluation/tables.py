"""Writes the tables of an evaluation: all figures in one table, and tables with other keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from latentpath.evaluation.figures import figure_table
from latentpath.metrics import (
    Scored,
    cfrt_of_seeds,
    cfrt_sensitivity,
    co_change_table,
    edit_table,
    most_entangled,
)
from latentpath.metrics.commutativity import commutativity_table
from latentpath.metrics.figure_table import FigureTable
from latentpath.metrics.front_table import front_tables
from latentpath.metrics.reversal import reversal_table
from latentpath.runs.files import write_csv, write_parquet


def write_tables(
    folder: Path,
    scored: Scored,
    *,
    attributes: Sequence[str],
    strong: Sequence[int],
    geometry: pd.DataFrame,
    flips: pd.DataFrame | None = None,
    temperatures: Mapping[str, float] | None = None,
    log_weights: Mapping[str, Sequence[float]] | None = None,
    held_out: pd.DataFrame | None = None,
    distances: pd.DataFrame | None = None,
    rounds: pd.DataFrame | None = None,
) -> FigureTable:
    """Write figures.parquet, figures.csv and tables/<name>.csv under `folder`; return the figures.

    figures            every figure of a class, attribute, method and position (see `metrics.figure_table`)
    seeds              CFRT of the swaps and its conditions for each seed alone, for paired comparisons
    cfrt_sensitivity   how CFRT and its conditions move with the threshold, with which swap steps or frames
                       count, and with the classifier's calibration, whose `temperatures` and
                       `log_weights` are given
    co_change          flip one attribute: by how much each output of the classifier moves
    most_entangled     the pairs of co_change that move together most
    edits              what every kind of edit did (see metrics.edits)
    geometry           cosines, curvature, path over chord and distances: means with bands over the seeds
    front_points       of several methods: effect and leak of every setting (see metrics.front_table)
    fronts             leaks at equal effect, areas, and paired differences between the methods
    reversibility      how far windows come back to the neutral image, with the `distances` of their latents
    commutativity      how far two edits in one order end from the same in the other order
    composition        of real images inverted and sampled again: what each of the `rounds` changed
    flip_points        of a traversal that searched for its `flips`: how many seeds flip, and where
    Figures come with their 95 % intervals, low and high, over the seeds.
    """
    changes = co_change_table(scored, "swap", strong)
    sensitivity = [
        cfrt_sensitivity(
            scored,
            method,
            strong if method == "swap" else None,
            temperatures=temperatures,
            log_weights=log_weights,
        )
        for method in scored.trajectories
    ]
    tables = {
        "cfrt_sensitivity": pd.concat(sensitivity, ignore_index=True),
        "co_change": changes,
        "most_entangled": most_entangled(changes, 12),
        "edits": edit_table(scored),
        "geometry": geometry,
    }
    if distances is not None and len(distances):
        tables["reversibility"] = reversal_table(scored, distances)
        if (distances["method"] == "order").any():
            tables["commutativity"] = commutativity_table(scored, distances)
    if rounds is not None:
        tables["composition"] = rounds
    if flips is not None and len(flips):
        tables["flip_points"] = flip_points(flips)
    points, fronts = front_tables(scored, resamples=scored.resamples)
    if len(fronts):
        tables |= {"front_points": points, "fronts": fronts}
    for name, table in tables.items():
        write_csv(folder / "tables" / f"{name}.csv", table)
    figures = figure_table(scored, attributes=attributes, strong=strong, geometry=geometry, held_out=held_out)
    write_parquet(folder / "figures.parquet", figures)
    write_csv(folder / "figures.csv", figures)
    write_parquet(folder / "seeds.parquet", cfrt_of_seeds(scored, "swap", strong))
    return FigureTable(figures)


def flip_points(flips: pd.DataFrame) -> pd.DataFrame:
    """Summarize the flip points of a search (see `traversal.bisect`), one row per class and attribute.

    Columns class, attribute; seeds: flips, never, already_present, not_monotone; median (swap step, NaN if
    no seed flips).
    """
    rows = []
    for (cls, attribute), of_pair in flips.groupby(["class", "attribute"], sort=False):
        counts = of_pair["status"].value_counts()
        rows.append(
            {
                "class": cls,
                "attribute": attribute,
                "flips": int(counts.get("flips", 0)),
                "never": int(counts.get("never", 0)),
                "already_present": int(counts.get("already present", 0)),
                "not_monotone": int((of_pair["contradictions"].map(len) > 0).sum()),
                "median": of_pair["flip_step"].astype("float64").median(),
            }
        )
    return pd.DataFrame(rows)
