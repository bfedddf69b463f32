"""Computes every figure from the scores: the content of evaluate/figures.parquet (`metrics.figure_table`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from latentpath.evaluation.judge_errors import rows_of_judge_errors
from latentpath.evaluation.outcome_figures import rows_of_dominance, rows_of_outcomes
from latentpath.keys import BASE, FINETUNED, position_column
from latentpath.metrics import (
    Scored,
    cfrt_by_position,
    cfrt_means,
    cfrt_table,
)
from latentpath.metrics.figure_table import COLUMNS
from latentpath.metrics.figures import CFRT
from latentpath.metrics.intervals import mean_intervals, overall_mean_interval
from latentpath.metrics.measures import STRONG, measures_in
from latentpath.metrics.scored import Sweep
from latentpath.metrics.selectivity import selectivity

PRESENCE = ("present", "absent", "probability", "others_probability")


def figure_table(
    scored: Scored,
    *,
    attributes: Sequence[str],
    strong: Sequence[int],
    geometry: pd.DataFrame,
    held_out: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return every figure of the traversed attributes (a subset of the heads), with the columns COLUMNS.

    strong: the swap steps of the strong end; of an interpolation it is the last 40 % of the frames.
    geometry: the rows of `metrics.geometry_bands`. held_out: real images as the judge sees them, for the
    figures of its errors (`judge_errors`).
    """
    rows: list[Mapping[str, object]] = []
    for method in scored.trajectories:
        positions = strong if method == "swap" else None
        cells = _cfrt(cfrt_table(scored, method, positions))
        cells = [cell for cell in cells if cell["attribute"] in attributes]
        rows += cells + _cfrt_means(scored, attributes, method, positions, cells)
        rows += _selectivity(scored, attributes, method, positions)
        rows += rows_of_dominance(scored, attributes, method, positions)
        alone = _cfrt(cfrt_by_position(scored, method))
        rows += [cell for cell in alone if cell["attribute"] in attributes]
        rows += _presence(scored, attributes, method) + _distances(scored, attributes, method, positions)
    rows += _presence(scored, attributes, "neutral") + rows_of_outcomes(scored, attributes, strong)
    if (scored.table["model"] == BASE).any():
        base = replace(scored, model=BASE)
        rows += _presence(base, attributes, "neutral") + _presence(base, attributes, "swap")
    if held_out is not None and len(held_out):
        rows += rows_of_judge_errors(scored, attributes, strong, held_out)
    rows += _geometry(geometry[geometry["attribute"].isin([*attributes, None])])
    table = pd.DataFrame(rows, columns=COLUMNS).astype({"position": "Int64", "n": "Int64", "value": float})
    return table.assign(model=table["model"].fillna(FINETUNED), reason=table["reason"].fillna(""))


def _cfrt(table: pd.DataFrame) -> list[Mapping[str, object]]:
    """Turn rows of a `cfrt_table` or `cfrt_by_position` into one row per figure."""
    rows = []
    for cell in table.to_dict("records"):
        key = {name: cell.get(name) for name in ("class", "attribute", "method", "position")}
        reasons = dict(part.split(": ", 1) for part in cell["reason"].split("; ") if part)
        for figure in CFRT:
            ends = {end: cell.get(f"{figure.key}_{end}") for end in ("low", "high")}
            n = cell["n_eligible" if figure.key == "flipped_eligible" else "n_seeds"]
            told = {"n": n, "reason": reasons.get(figure.key, "")}
            rows.append(key | {"figure": figure.key, "value": cell[figure.key]} | ends | told)
    return rows


def _cfrt_means(
    scored: Scored,
    attributes: Sequence[str],
    method: str,
    positions: Sequence[int] | None,
    cells: Sequence[Mapping[str, object]],
) -> list[Mapping[str, object]]:
    """Return the means over classes and attributes, or the first reason if no cell is defined."""
    means = cfrt_means(scored, method, positions, of=attributes)
    rows = []
    for figure in CFRT:
        value = means[figure.key]
        reasons = [cell["reason"] for cell in cells if cell["figure"] == figure.key and cell["reason"]]
        ends = {end: means.get(f"{figure.key}_{end}") for end in ("low", "high")}
        reason = reasons[0] if np.isnan(value) and reasons else ""
        rows.append({"method": method, "figure": figure.key, "value": value, "reason": reason} | ends)
    return rows


def _selectivity(
    scored: Scored, attributes: Sequence[str], method: str, positions: Sequence[int] | None
) -> list[Mapping[str, object]]:
    """Return the selectivity of the traversed attributes among their heads, its parts, and the means."""
    if len(attributes) < 2:
        return []
    sweep = Sweep(replace(scored, heads=list(attributes)), method)
    rows, cells = [], {}
    for cls in scored.classes:
        arrays = sweep.arrays(cls, sweep.positions(positions))
        found = selectivity(arrays.neutral, arrays.edited)
        reason = "" if found.n else "no seed has a score of every attribute toward every attribute"
        ends = mean_intervals(found.per_seed, unit=1, within=(-1, 1))
        for i, attribute in enumerate(attributes):
            cells[cls, attribute] = pd.Series(found.per_seed[:, i], index=arrays.seeds)
            key = {"class": cls, "attribute": attribute, "method": method, "n": found.n, "reason": reason}
            interval = {"low": ends.low[i], "high": ends.high[i]}
            rows.append(key | {"figure": "selectivity", "value": found.by_attribute[i]} | interval)
            rows.append(key | {"figure": "selectivity_p", "value": found.p[i]})
            rows.append(key | {"figure": "released_null", "value": found.null[i]})
    of_all = pd.DataFrame(cells).to_numpy(np.float64)
    low, high = overall_mean_interval(of_all, unit=1, within=(-1, 1))
    interval, table = {"low": low, "high": high}, pd.DataFrame(rows)
    for figure, of_figure in table.groupby("figure"):
        if figure != "selectivity_p":
            mean = {"method": method, "figure": figure, "value": of_figure["value"].mean()}
            rows.append(mean | (interval if figure == "selectivity" else {}))
    return rows


def _presence(scored: Scored, attributes: Sequence[str], method: str) -> list[Mapping[str, object]]:
    """Return, at each position, the share of images with the attribute and the mean probabilities.

    Neutral images have no attribute and no position, so they get one row per attribute.
    """
    images, column = scored.rows, position_column(method)
    images = images[images["method"] == method]
    if method == "neutral":
        groups = [((c, a, None), rows) for c, rows in images.groupby("class") for a in attributes]
    else:
        groups = images.groupby(["class", "attribute", column])
    found = []
    for key, rows in groups:
        cls, attribute, position = key
        if attribute not in attributes or (column == "frame" and position == 0):
            continue
        own = rows[f"prob_{attribute}"]
        others = rows.reindex(columns=[f"prob_{head}" for head in scored.heads if head != attribute]).stack()
        values = (
            (own > scored.threshold).mean(),
            (own <= scored.threshold).mean(),
            own.mean(),
            others.mean(),
        )
        key = {"class": cls, "attribute": attribute, "method": method, "position": position}
        key |= {"model": scored.model, "n": len(own)}
        found += [key | {"figure": f, "value": v} for f, v in zip(PRESENCE, values, strict=True)]
    return found


def _distances(
    scored: Scored, attributes: Sequence[str], method: str, strong: Sequence[int] | None
) -> list[Mapping[str, object]]:
    """Return the mean distance of trajectory images to the neutral image, per cell and overall.

    Over all positions, as in the paper; and, as <measure>_strong, over the `strong` swap steps, over which
    CFRT is computed. Frame 0 is left out, because it is the neutral image itself.
    """
    images, measures = scored.rows, measures_in(scored.table)
    images = images[(images["method"] == method) & (images["frame"].fillna(1) > 0)]
    images = images[images["attribute"].isin(list(attributes))]
    rows = []
    for name, part in (("", images), (STRONG, images[images["swap_step"].isin(list(strong or ()))])):
        means = part.groupby(["class", "attribute"])[measures].mean() if len(part) else pd.DataFrame()
        for measure, of_measure in means.items():
            figure = f"{measure}{name}"
            for (cls, attribute), value in of_measure.items():  # pyright: ignore[reportGeneralTypeIssues]
                rows.append({"class": cls, "attribute": attribute, "figure": figure, "value": value})
            rows.append({"figure": figure, "value": of_measure.mean()})
    return [row | {"method": method} for row in rows]


def _geometry(bands: pd.DataFrame) -> list[Mapping[str, object]]:
    """Return distances and cosines of the swaps at each step, and curvature and length of each path."""
    bands = bands.rename(columns={"swap_step": "position", "mean": "value"})
    bands = bands[[column for column in COLUMNS if column in bands]].assign(method="swap")
    return [{str(k): v for k, v in row.items()} for row in bands.to_dict("records")]
