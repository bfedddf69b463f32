"""Figures of what edits did beyond a placebo, of attributes that changed, and of neutral images' classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from latentpath.keys import PLACEBO
from latentpath.metrics import Scored
from latentpath.metrics.counterfactual import attributes_changed, moved_most
from latentpath.metrics.figures import FIGURES
from latentpath.metrics.intervals import (
    Interval,
    mean_intervals,
    overall_mean_interval,
    overall_rate_interval,
    rate_intervals,
)
from latentpath.metrics.outcomes import outcome_table
from latentpath.metrics.scored import Sweep

# Differences of two outcomes of a seed, in [-1, 1]; the other figures are rates.
_DIFFERENCES = {
    "effectiveness": ("present", "placebo_present"),
    "leak": ("others_changed", "placebo_changed"),
}


def rows_of_outcomes(
    scored: Scored, attributes: Sequence[str], strong: Sequence[int]
) -> list[Mapping[str, object]]:
    """Return effectiveness, leak and their parts of each method, MNAC, and the class of neutral images.

    On the strong end and at every swap step; without a placebo in the scores only others_changed, and with a
    single decision nothing about others. A method that was run at several strengths has no row here, as the
    key of a figure holds no strength: `tables/edits.csv` has them.
    """
    outcomes = outcome_table(scored)
    outcomes = outcomes[outcomes["attribute"].isin(list(attributes))]
    others = len(scored.heads) - 1 + (len(scored.classes) > 1)
    placebo = (scored.rows["method"] == PLACEBO).any()
    figures = [
        *(["effectiveness"] if placebo else []),
        *(["others_changed"] if others else []),
        *(["leak", "placebo_changed"] if placebo and others else []),
    ]
    rows = _class_match(scored)
    for method, of_method in outcomes.groupby("method", sort=False):
        if of_method["strength"].nunique() > 1:
            continue
        key = {"method": str(method)}
        at_end = of_method[of_method["swap_step"].isin(list(strong))]
        for figure in figures if len(at_end) else ():
            rows += [*_cells(at_end, figure, key, others), _mean(at_end, figure, key, others)]
        for step, at_step in of_method.groupby("swap_step"):
            for figure in figures:
                rows += _cells(at_step, figure, {**key, "position": step}, others)
    return rows + _mnac(scored, attributes, strong)


def _wide(outcomes: pd.DataFrame, figure: str) -> pd.DataFrame:
    """Return what each seed says of a figure: a row per seed, a column per class and attribute."""
    seeds = outcomes.groupby(["class", "attribute", "seed"], sort=False).mean(numeric_only=True)
    edit, placebo = _DIFFERENCES.get(figure, (figure, None))
    values = seeds[edit] if placebo is None else seeds[edit] - seeds[placebo]
    return values.unstack(["class", "attribute"])


def _cells(
    outcomes: pd.DataFrame, figure: str, key: Mapping[str, object], others: int
) -> list[Mapping[str, object]]:
    """Return a row per class and attribute; `others`: how many decisions there are about everything else."""
    wide = _wide(outcomes, figure)
    array = wide.to_numpy(np.float64)
    ends = mean_intervals(array, unit=_unit(figure, others), within=FIGURES[figure].range)
    rows = []
    for i, (cls, attribute) in enumerate(wide.columns):
        row = {**key, "class": cls, "attribute": attribute, "figure": figure}
        rows.append(row | _read(array[:, i], ends, i))
    return rows


def _mean(outcomes: pd.DataFrame, figure: str, key: Mapping[str, object], others: int) -> dict[str, object]:
    array = _wide(outcomes, figure).to_numpy(np.float64)
    value = np.nanmean(np.nanmean(array, axis=0)) if np.isfinite(array).any() else np.nan
    low, high = overall_mean_interval(array, unit=_unit(figure, others), within=FIGURES[figure].range)
    return {**key, "figure": figure, "value": value, "low": low, "high": high}


def _unit(figure: str, others: int) -> float:
    """Return by how much two seeds differ at least: one decision, of all `others` if it is their share."""
    return 1.0 if figure == "effectiveness" else 1 / others


def _read(values: np.ndarray, ends: Interval, i: int) -> dict[str, float | str]:
    """Return value, ends, n and reason of one figure, from what each seed says of it."""
    known = values[np.isfinite(values)]
    if not known.size:
        return {"value": np.nan, "n": 0, "reason": "no seed has the scores"}
    found = {"value": known.mean(), "low": ends.low[i], "high": ends.high[i]}
    return {name: float(value) for name, value in found.items()} | {"n": known.size}


def _mnac(scored: Scored, attributes: Sequence[str], strong: Sequence[int]) -> list[Mapping[str, object]]:
    """Return the mean number of attributes whose decision a swap changes, on the strong end."""
    sweep, rows, cells = Sweep(scored, "swap"), [], {}
    for cls in scored.classes:
        arrays = sweep.arrays(cls, sweep.positions(strong))
        for attribute in attributes:
            edited = arrays.edited[scored.heads.index(attribute)]
            number = attributes_changed(arrays.neutral, edited, scored.threshold).mean(axis=1)
            cells[cls, attribute] = pd.Series(number, index=arrays.seeds)
            key = {"class": cls, "attribute": attribute, "method": "swap", "figure": "mnac"}
            ends = mean_intervals(number[:, None], unit=1, within=FIGURES["mnac"].range)
            rows.append(key | _read(number, ends, 0))
    of_all = pd.DataFrame(cells).to_numpy(np.float64)
    low, high = overall_mean_interval(of_all, unit=1, within=FIGURES["mnac"].range)
    means = [row["value"] for row in rows if row["n"]]
    mean = {"value": np.mean(means) if means else np.nan, "low": low, "high": high}
    return [*rows, {"method": "swap", "figure": "mnac"} | mean]


def rows_of_dominance(
    scored: Scored, attributes: Sequence[str], method: str, strong: Sequence[int] | None
) -> list[Mapping[str, object]]:
    """Return how often the attribute's score moves most of all heads under its edit, on the strong end."""
    sweep, rows, cells = Sweep(scored, method), [], {}
    figure = {"method": method, "figure": "dominant_absolute"}
    for cls in scored.classes if len(scored.heads) > 1 else ():
        arrays = sweep.arrays(cls, sweep.positions(strong))
        for attribute in attributes:
            index = scored.heads.index(attribute)
            share = moved_most(arrays.neutral, arrays.edited[index], index).mean(axis=1)
            cells[cls, attribute] = pd.Series(share, index=arrays.seeds)
            key = {"class": cls, "attribute": attribute} | figure
            rows.append(key | _read(share, rate_intervals(share[:, None]), 0))
    if not cells:
        return []
    low, high = overall_rate_interval(pd.DataFrame(cells).to_numpy(np.float64))
    known = [row["value"] for row in rows if row["n"]]
    return [*rows, figure | {"value": np.mean(known) if known else np.nan, "low": low, "high": high}]


def _class_match(scored: Scored) -> list[Mapping[str, object]]:
    """Return, per class, the share of neutral images that the judge takes for the class of their prompt."""
    columns = [f"class_prob_{cls}" for cls in scored.classes]
    neutral = scored.rows[scored.rows["method"] == "neutral"]
    if len(columns) < 2 or not set(columns) <= set(neutral):
        return []
    chosen = np.array(scored.classes)[neutral[columns].fillna(-1.0).to_numpy(np.float64).argmax(axis=1)]
    known = neutral[columns].notna().all(axis=1)
    match = (pd.Series(chosen, index=neutral.index) == neutral["class"]).astype(float).where(known)
    rows = []
    for cls in scored.classes:
        values = match[neutral["class"] == cls].to_numpy(np.float64)[:, None]
        key = {"class": cls, "method": "neutral", "figure": "class_match"}
        rows.append(
            {**key, "n": int(np.isfinite(values).sum())} | _read(values[:, 0], rate_intervals(values), 0)
        )
    return rows
