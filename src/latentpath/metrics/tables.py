"""CFRT and flip tables of a run's scores: one row per class and attribute, with intervals over seeds.

CFRT is the Classifier Flip Rate along a Trajectory (see `metrics.cfrt`). Every function takes the scores as
`Scored` and the `method` whose images it looks at: the positions of 'swap' are swap steps, those of every
other method frames. The baseline x of a seed is its 'neutral' row. A function that is not given positions
takes the strong end, or all positions without frame 0, which is the neutral image itself.
All raise UserError if the method or a position has no rows, or if an image has two.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from latentpath.metrics.cfrt import Rate, cfrt_released, cfrt_strict
from latentpath.metrics.intervals import overall_rate_interval, rate_intervals
from latentpath.metrics.scored import ScoreArrays, Scored, Sweep

THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7)
_COUNTS = 12  # at most so many sizes of the strong end


class Cell(NamedTuple):
    """One row of a table: its key, its rates, and the seeds behind them in order."""

    key: Mapping[str, Any]  # Any: columns have many types
    rates: Mapping[str, Rate]
    seeds: Sequence[int] = ()


def cfrt_table(
    scored: Scored,
    method: str,
    positions: Sequence[int] | None = None,
) -> pd.DataFrame:
    """Return both CFRT definitions and each condition, one row per class and attribute.

    `positions`: the strong end, by default `strong_swap_steps` or `strong_frames` of what is there.
    Columns: class, attribute, method, positions, n_seeds, n_images, n_eligible (seeds that can flip),
    cfrt_released, cfrt_strict, flipped, flipped_eligible, dominant_heads, dominant_images, class_kept,
    others_kept, all_released, all_strict, already_present (in [0, 1], NaN if undefined), for each of these
    <figure>_low and <figure>_high, its 95 % interval over seeds, and reason ('' or 'column: why; ...' for
    each figure that is undefined or left images out; several reasons of one figure are joined by 'and').
    """
    return rate_table(_cells(scored, method, positions))


def cfrt_means(
    scored: Scored,
    method: str,
    positions: Sequence[int] | None = None,
    *,
    of: Sequence[str] | None = None,
) -> dict[str, float]:
    """Return the mean of each figure of `cfrt_table` over classes and the attributes `of` (default: all).

    Keys: <figure>, <figure>_low, <figure>_high.

    Cells where a figure is undefined are left out; NaN if it is so in all. One seed has the same noise in
    every class and attribute, so the interval is of the seeds' means over all cells (see
    `metrics.intervals`): those of the cells do not make it.
    """
    cells = _cells(scored, method, positions)
    cells = [cell for cell in cells if of is None or cell.key["attribute"] in of]
    seeds = sorted({seed for cell in cells for seed in cell.seeds})
    means = {}
    for figure in cells[0].rates if cells else ():
        known = [cell for cell in cells if np.isfinite(cell.rates[figure].value)]
        means[figure] = float(np.mean([c.rates[figure].value for c in known])) if known else np.nan
        values, weights = np.full((2, len(seeds), len(known)), np.nan)
        for column, cell in enumerate(known):
            rows = np.searchsorted(seeds, cell.seeds)
            values[rows, column] = cell.rates[figure].per_seed
            weights[rows, column] = cell.rates[figure].samples_per_seed
        low, high = overall_rate_interval(values, np.nan_to_num(weights))
        means |= {f"{figure}_low": low, f"{figure}_high": high}
    return means


OF_SEEDS = ["class", "attribute", "figure", "seed", "value"]


def cfrt_of_seeds(scored: Scored, method: str, positions: Sequence[int] | None = None) -> pd.DataFrame:
    """Return the value of each seed in each figure of `cfrt_table`: class, attribute, figure, seed, value.

    value is the mean over the seed's images, in [0, 1], NaN where undecided. Paired comparisons of runs need
    it (see `metrics.paired`).
    """
    return pd.concat(
        [
            pd.DataFrame({"figure": figure, "seed": cell.seeds, "value": rate.per_seed}).assign(
                **{name: cell.key[name] for name in ("class", "attribute")}
            )
            for cell in _cells(scored, method, positions)
            for figure, rate in cell.rates.items()
        ],
        ignore_index=True,
    )[OF_SEEDS]


def cfrt_by_position(
    scored: Scored,
    method: str,
) -> pd.DataFrame:
    """Return `cfrt_table` at every position alone, with the column `position` instead of `positions`.

    With one position a seed, D_a of the released definition is the change of a single image.
    """
    sweep = Sweep(scored, method)
    everywhere = sweep.positions(strong=False)
    cells = []
    for cls in scored.classes:
        arrays = sweep.arrays(cls, everywhere)
        for position in everywhere:
            rates = _all_rates(arrays.at([position]), scored.heads, scored.threshold)
            for attribute, of_attribute in zip(scored.heads, rates, strict=True):
                key = {"class": cls, "attribute": attribute, "method": method, "position": position}
                cells.append(Cell(key, of_attribute))
    return rate_table(cells)


def cfrt_sensitivity(
    scored: Scored,
    method: str,
    positions: Sequence[int] | None = None,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    counts: Sequence[int] | None = None,
    temperatures: Mapping[str, float] | None = None,
    log_weights: Mapping[str, Sequence[float]] | None = None,
) -> pd.DataFrame:
    """Return how every figure depends on the settings of CFRT, varied one at a time.

    Rows with varies = 'threshold' have the strong end of `cfrt_table` and each of `thresholds`; dominance and
    with it the released CFRT hold no threshold and stay. Rows with varies = 'strong' have `threshold` and as
    the strong end the first n strongest positions, n of `counts`: by default 1, 2, ..., all, of many frames a
    dozen sizes. With the `temperatures` of the classifier's calibration (head -> T; with its `log_weights`,
    see `Scored.uncalibrated`) there are two rows more, varies = 'calibration': with it, as in `scores`, and
    without. Columns as `cfrt_table`, and varies, threshold, n_strong, calibrated.
    """
    sweep = Sweep(scored, method)
    strong, order = sweep.positions(positions), sweep.strongest_first(sweep.positions(strong=False))
    if counts is None:
        steps = min(len(order), _COUNTS)
        counts = sorted({round(len(order) * (i + 1) / steps) for i in range(steps)})
    if not all(1 <= n <= len(order) for n in counts):
        raise ValueError(f"counts lie in 1..{len(order)}: {list(counts)}")
    settings = [("threshold", sweep, t, strong) for t in thresholds]
    settings += [("strong", sweep, scored.threshold, order[:n]) for n in counts]
    if temperatures:
        raw = Sweep(scored.uncalibrated(temperatures, log_weights), method)
        settings += [("calibration", each, scored.threshold, strong) for each in (sweep, raw)]
    cells = []
    for cls in scored.classes:
        arrays = {each: each.arrays(cls, order) for each in dict.fromkeys(each for _, each, _, _ in settings)}
        for varies, each, at, chosen in settings:
            rates = _all_rates(arrays[each].at(sorted(chosen)), scored.heads, at)
            for attribute, of_attribute in zip(scored.heads, rates, strict=True):
                key = {"class": cls, "attribute": attribute, "method": method, "varies": varies}
                key |= {"threshold": at, "n_strong": len(chosen), "positions": sorted(chosen)}
                cells.append(Cell(key | {"calibrated": each is sweep}, of_attribute))
    return rate_table(cells)


def cfrt_rates(
    arrays: ScoreArrays, attributes: Sequence[str], attribute: int, threshold: float = 0.5
) -> dict[str, Rate]:
    """Return every figure of `cfrt_table` for one class and attribute."""
    args = (arrays.neutral, arrays.edited, attribute)
    classes = dict(neutral_class=arrays.neutral_class, edited_class=arrays.edited_class)
    released = cfrt_released(*args, **classes, threshold=threshold, names=attributes)
    strict = cfrt_strict(*args, **classes, threshold=threshold, names=attributes)
    return {
        "cfrt_released": released.cfrt,
        "cfrt_strict": strict.cfrt,
        "flipped": strict.flipped,
        "flipped_eligible": strict.flipped_eligible,
        "dominant_heads": released.dominant,
        "dominant_images": strict.dominant,
        "class_kept": strict.class_kept,
        "others_kept": strict.others_kept,
        "all_released": released.all,
        "all_strict": strict.all,
        "already_present": strict.already_present,
    }


def rate_table(cells: Sequence[Cell]) -> pd.DataFrame:
    """Return one row per cell: its key, the numbers of seeds and images, rates, intervals, reasons."""
    ends = _intervals([rate for cell in cells for rate in cell.rates.values()])
    table = []
    for key, rates, _ in cells:
        row = dict(key) | {"n_seeds": len(rates["flipped"].per_seed), "n_images": rates["flipped"].n}
        row["n_eligible"] = int(np.isfinite(rates["flipped_eligible"].per_seed).sum())
        row |= {name: rate.value for name, rate in rates.items()}
        for name in rates:
            row[f"{name}_low"], row[f"{name}_high"] = next(ends)
        reasons = {name: rate.reason.replace("; ", " and ") for name, rate in rates.items() if rate.reason}
        row["reason"] = "; ".join(f"{name}: {why}" for name, why in reasons.items())
        table.append(row)
    return pd.DataFrame(table)


def _intervals(rates: Sequence[Rate]) -> Iterator[list[float]]:
    """Yield [low, high] of each rate; rates with equally many seeds are computed together."""
    found = np.full((len(rates), 2), np.nan)
    for seeds in {len(rate.per_seed) for rate in rates}:
        places = [i for i, rate in enumerate(rates) if len(rate.per_seed) == seeds]
        values = np.stack([rates[i].per_seed for i in places], axis=1)  # (S, F)
        weights = np.stack([rates[i].samples_per_seed for i in places], axis=1)
        found[places] = np.stack(rate_intervals(values, weights), axis=1)
    return iter(found.tolist())


def _cells(scored: Scored, method: str, positions: Sequence[int] | None) -> list[Cell]:
    """Return the cells of `cfrt_table`."""
    sweep = Sweep(scored, method)
    strong = sweep.positions(positions)
    cells = []
    for cls in scored.classes:
        arrays = sweep.arrays(cls, strong)
        for attribute, rates in zip(
            scored.heads, _all_rates(arrays, scored.heads, scored.threshold), strict=True
        ):
            key = {"class": cls, "attribute": attribute, "method": method, "positions": list(strong)}
            cells.append(Cell(key, rates, arrays.seeds))
    return cells


def _all_rates(arrays: ScoreArrays, attributes: Sequence[str], threshold: float) -> Iterable[dict[str, Rate]]:
    return [cfrt_rates(arrays, attributes, i, threshold) for i in range(len(attributes))]
