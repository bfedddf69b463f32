"""Figures of what edits did beyond a placebo, of attributes that changed, and of neutral images' classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from latentpath.keys import PLACEBO
from latentpath.metrics import Scored
from latentpath.metrics.counterfactual import attributes_changed
from latentpath.metrics.intervals import (
    Interval,
    difference_intervals,
    mean_difference_interval,
    mean_rate_interval,
    rate_intervals,
)
from latentpath.metrics.outcomes import outcome_table
from latentpath.metrics.scored import Sweep

# Differences of two outcomes of a seed, in [-1, 1]; the other figures are rates.
_DIFFERENCES = {
    "effectiveness": ("present", "placebo_present"),
    "leak": ("others_changed", "placebo_changed"),
}
_OF_PLACEBO = (*_DIFFERENCES, "placebo_changed")


def rows_of_outcomes(
    scored: Scored, attributes: Sequence[str], strong: Sequence[int]
) -> list[dict[str, Any]]:
    """Return effectiveness, leak and their parts of each method, MNAC, and the class of neutral images.

    On the strong end and at every swap step; without a placebo in the scores only others_changed. A method
    that was run at several strengths has no row here, as the key of a figure holds no strength:
    `tables/edits.csv` has them.
    """
    outcomes = outcome_table(scored)
    outcomes = outcomes[outcomes["attribute"].isin(list(attributes))]
    figures = (
        ["others_changed", *_OF_PLACEBO] if (scored.rows["method"] == PLACEBO).any() else ["others_changed"]
    )
    rows = _class_match(scored)
    for method, of_method in outcomes.groupby("method", sort=False):
        if of_method["strength"].nunique() > 1:
            continue
        key = {"method": str(method)}
        at_end = of_method[of_method["swap_step"].isin(list(strong))]
        for figure in figures if len(at_end) else ():
            rows += [*_cells(at_end, figure, key), _mean(at_end, figure, key)]
        for step, at_step in of_method.groupby("swap_step"):
            for figure in figures:
                rows += _cells(at_step, figure, key | {"position": step})
    return rows + _mnac(scored, attributes, strong)


def _wide(outcomes: pd.DataFrame, figure: str) -> pd.DataFrame:
    """Return what each seed says of a figure: a row per seed, a column per class and attribute."""
    seeds = outcomes.groupby(["class", "attribute", "seed"], sort=False).mean(numeric_only=True)
    edit, placebo = _DIFFERENCES.get(figure, (figure, None))
    values = seeds[edit] if placebo is None else seeds[edit] - seeds[placebo]
    return values.unstack(["class", "attribute"])


def _cells(outcomes: pd.DataFrame, figure: str, key: dict[str, Any]) -> list[dict[str, Any]]:
    wide = _wide(outcomes, figure)
    array = wide.to_numpy(np.float64)
    ends = (difference_intervals if figure in _DIFFERENCES else rate_intervals)(array)
    rows = []
    for i, (cls, attribute) in enumerate(wide.columns):
        row = key | {"class": cls, "attribute": attribute, "figure": figure}
        rows.append(row | _read(array[:, i], ends, i))
    return rows


def _mean(outcomes: pd.DataFrame, figure: str, key: dict[str, Any]) -> dict[str, Any]:
    wide = _wide(outcomes, figure)
    interval = mean_difference_interval if figure in _DIFFERENCES else mean_rate_interval
    low, high = interval(wide.to_numpy(np.float64))
    return key | {"figure": figure, "value": wide.mean().mean(), "low": low, "high": high}


def _read(values: np.ndarray, ends: Interval, i: int, *, scale: float = 1.0) -> dict[str, Any]:
    """Return value, ends, n and reason of one figure, from what each seed says of it."""
    known = values[np.isfinite(values)]
    if not known.size:
        return {"value": np.nan, "n": 0, "reason": "no seed has the scores"}
    found = {"value": known.mean(), "low": ends.low[i], "high": ends.high[i]}
    return {name: scale * float(value) for name, value in found.items()} | {"n": known.size}


def _mnac(scored: Scored, attributes: Sequence[str], strong: Sequence[int]) -> list[dict[str, Any]]:
    """Return the mean number of attributes whose decision a swap changes, on the strong end."""
    sweep, heads = Sweep(scored, "swap"), len(scored.heads)
    rows, cells = [], {}
    for cls in scored.classes:
        arrays = sweep.arrays(cls, sweep.positions(strong))
        for attribute in attributes:
            edited = arrays.edited[scored.heads.index(attribute)]
            share = attributes_changed(arrays.neutral, edited, scored.threshold).mean(axis=1) / heads
            cells[cls, attribute] = pd.Series(share, index=arrays.seeds)
            key = {"class": cls, "attribute": attribute, "method": "swap", "figure": "mnac"}
            rows.append(key | _read(share, rate_intervals(share[:, None]), 0, scale=heads))
    wide = pd.DataFrame(cells)
    low, high = mean_rate_interval(wide.to_numpy(np.float64))
    ends = {"value": heads * wide.mean().mean(), "low": heads * low, "high": heads * high}
    return [*rows, {"method": "swap", "figure": "mnac"} | ends]


def _class_match(scored: Scored) -> list[dict[str, Any]]:
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
            key | {"n": int(np.isfinite(values).sum())} | _read(values[:, 0], rate_intervals(values), 0)
        )
    return rows
