"""Tables of fronts: methods of editing at equal effect, with paired differences to the first of them."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from latentpath.metrics.flips import Array
from latentpath.metrics.front import (
    area,
    best_of_intervals,
    edited_share,
    leak_at,
    mean_over_cells,
    on_front,
    unit_over_cells,
)
from latentpath.metrics.front_outcomes import DECISIONS, Edits, Outcomes
from latentpath.metrics.intervals import ANY, Interval, Range
from latentpath.metrics.measures import figure
from latentpath.metrics.paired import sign_flips
from latentpath.metrics.scored import Scored

REFERENCE = "swap"  # differences are to it if it is there, otherwise to the first method
EQUAL = (0.5, 0.8)  # the effects at which methods are compared, and tested
CURVE = tuple(k / 20 for k in range(1, 21))  # the effects of the curves on the page
AT, AREA = "leak_at", "front_area"  # the figures of a front

POINTS = [
    "class",
    "attribute",
    "method",
    "strength",
    "swap_step",
    "measure",
    "effect",
    "leak",
    "on_front",
    "n",
]
FRONTS = ["class", "attribute", "method", "measure", "figure", "level", "value", "low", "high"]
FRONTS += ["difference", "difference_low", "difference_high", "p", "n", "reason"]


def front_tables(scored: Scored, *, resamples: int = 10_000) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the points of every setting, and the fronts through them; empty with fewer than two methods.

    points  one row per class, attribute, method, setting (strength and swap_step) and measure of leak: mean
            effect and leak over the n eligible seeds, and whether it is a corner of the front
    fronts  one row per class, attribute, method, measure and figure: `leak_at` a level of effect (CURVE),
            and the `front_area` (of decisions), with its 95 % interval (`best_of_intervals`); its difference
            to REFERENCE on the same seeds with its 95 % interval, and, at the levels EQUAL and of the area, p
            of the difference among all that are tested in this cell or, of the mean, overall (max-T over sign
            flips of whole seeds)
    Class and attribute are empty for the mean over all cells that every method was run for. `value` is NaN
    with its reason where a method does not reach the level. Without `resamples` there are no p.
    """
    edits = Edits(scored)
    methods = sorted(edits.methods, key=lambda method: method != REFERENCE)
    if len(methods) < 2:
        return pd.DataFrame(columns=POINTS), pd.DataFrame(columns=FRONTS)
    points, fronts = [], []
    shared = edits.cells(methods)
    groups = [(("", ""), methods, shared)] if shared else []
    for cell in edits.cells(methods[:1]):
        having = [m for m in methods if cell in edits.cells([m])]
        groups += [(cell, having, [cell])] if len(having) > 1 else []
    for cell, having, cells in groups:
        found = edits.outcomes(having, cells)
        if not any(np.isfinite(of.effect).any() for of in found.values()):
            continue
        effect = {m: mean_over_cells(of.effect) for m, of in found.items()}
        share = unit_over_cells(found[having[0]].effect)  # the same images, so the same for all methods
        for measure in edits.leaks:
            leak = {m: mean_over_cells(of.leaks[measure]) for m, of in found.items()}
            points += _points(cell, found, effect, leak, measure)
            units = (share / edits.decisions if measure in DECISIONS else 0.0, share)
            fronts += _fronts(cell, effect, leak, measure, units, resamples)
    return pd.DataFrame(points, columns=POINTS), pd.DataFrame(fronts, columns=FRONTS)


def _points(
    cell: tuple[str, str],
    found: Mapping[str, Outcomes],
    effects: Mapping[str, Array],
    leaks: Mapping[str, Array],
    measure: str,
) -> list[dict]:
    rows = []
    for method, of in found.items():
        known = np.isfinite(effects[method]).all(axis=1)
        effect, leak = (x[method][known].mean(axis=0) for x in (effects, leaks))
        corners = on_front(effect, leak)
        for k, setting in enumerate(of.settings):
            key = {"class": cell[0], "attribute": cell[1], "method": method, "measure": measure}
            key |= setting._asdict() | {"effect": effect[k], "leak": leak[k]}
            rows.append(key | {"on_front": k in corners, "n": int(known.sum())})
    return rows


def _fronts(
    cell: tuple[str, str],
    effect: Mapping[str, Array],
    leak: Mapping[str, Array],
    measure: str,
    units: tuple[float, float],
    resamples: int,
) -> list[dict]:
    """One row per method and figure; the first method is the reference of the differences.

    units: by how much the leak and the effect of an edit differ at least if they differ at all, 0 for any
    values; a mixture that edits a share of the seeds differs by that share of it.
    """
    methods = list(effect)
    figures = [(AT, level) for level in CURVE] + [(AREA, np.nan)] * (measure in DECISIONS)
    tested = [k for k, (_, level) in enumerate(figures) if level in EQUAL or np.isnan(level)]
    seeds = np.array([[_figure(f, x, effect[m], leak[m]) for f, x in figures] for m in methods])
    seeds = seeds.transpose(2, 0, 1)  # (S, methods, figures)
    apart = seeds - seeds[:, :1]
    moved = np.array([[_moved(f, x, effect[m], leak[m], units) for f, x in figures] for m in methods])
    p = np.full(seeds.shape[1:], np.nan)
    if resamples:
        _, adjusted = sign_flips(apart[:, 1:, tested].reshape(len(apart), -1), resamples=resamples)
        p[1:, tested] = adjusted.reshape(len(methods) - 1, len(tested))
    rows = []
    for i, method in enumerate(methods):
        ends = _ends(seeds[:, i], moved[i], leak[method].shape[1], figure(measure).range, figure(AREA).range)
        ends_apart = _ends(apart[:, i], np.maximum(moved[0], moved[i]))
        for k, (name, level) in enumerate(figures):
            n = int(np.isfinite(seeds[:, i, k]).sum())
            row = {"class": cell[0], "attribute": cell[1], "method": method, "measure": measure}
            row |= {"figure": name, "level": level, "n": n, "value": _mean(seeds[:, i, k])}
            row |= {"low": ends.low[k], "high": ends.high[k]}
            if i:
                row |= {"difference": _mean(apart[:, i, k]), "p": p[i, k]}
                row |= {"difference_low": ends_apart.low[k], "difference_high": ends_apart.high[k]}
            unreached = f"no mixture of its settings has an effect of {level:g}"
            rows.append(row | {"reason": "" if n else unreached})
    return rows


def _ends(values: Array, units: Array, settings: int = 1, leaks: Range = ANY, areas: Range = ANY) -> Interval:
    """Return the intervals of leaks at the levels of CURVE, the least of the settings, then of areas."""
    (at, rest), (unit, unit_rest) = (np.split(x, [len(CURVE)], axis=-1) for x in (values, units))
    least = best_of_intervals(at, settings, unit=unit, within=leaks)
    most = best_of_intervals(rest, settings, highest=True, unit=unit_rest, within=areas)
    return Interval(*(np.concatenate(ends) for ends in zip(least, most, strict=True)))


def _moved(name: str, level: float, effect: Array, leak: Array, units: tuple[float, float]) -> float:
    return units[0] * edited_share(effect, leak, level) if name == AT else units[1]


def _figure(name: str, level: float, effect: Array, leak: Array) -> Array:
    return leak_at(effect, leak, level) if name == AT else area(effect, leak)


def _mean(values: Array) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
