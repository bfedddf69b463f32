"""Bootstrap confidence intervals over seeds: how far a mean could be off, had other seeds been drawn.

The positions of one seed share its noise and are dependent; seeds are independent. So seeds are resampled,
each with all that belongs to it.
"""

import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

_BLOCK = 8_000_000  # numbers in a block of resampling counts: 64 MB


class Interval(NamedTuple):
    """Ends of the intervals, (F,) each; NaN where fewer than two seeds have a value."""

    low: Array
    high: Array


def bootstrap_intervals(
    values: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    rates: bool = False,
    averaged: bool = False,
) -> Interval:
    """Percentile intervals of the means over seeds of F figures at once.

        mean_f^b = sum_s c_s^b w_sf v_sf / sum_s c_s^b w_sf,   c^b ~ Multinomial(S, 1/S),  b = 1..resamples
        [low, high] = the (1 - level)/2 and (1 + level)/2 quantiles of mean^b

    values (S, F): a value a seed, NaN left out. `weights` (S, F), >= 0: how many samples a value is the mean
    of, so that the figure is the mean over samples though a seed may lack some; 1 each by default. All
    figures meet the same resamples. The same arguments give the same intervals.
    A resample without any value of a figure is left out of that figure.

    `rates=True`: the values lie in [0, 1]. Where all n seeds with a value say 0, or all say 1, every resample
    says the same, and the bootstrap would claim certainty; there the exact binomial bound takes its place:
    [((1 - level)/2)^(1/n), 1] for all 1 (16 seeds: [0.79, 1]), its mirror image for all 0.

    `averaged=True`: one interval, ends (1,), of the plain mean of the F figures. Rows are then the same seed
    in every figure: what shares its noise varies together, and F figures of one seed are not F seeds.

    Raises ValueError on wrong shapes or ranges.
    Source: Efron and Tibshirani 1993, chapter 13; Clopper and Pearson 1934.
    """
    v = np.asarray(values, dtype=np.float64)
    if v.ndim != 2 or resamples < 1 or not 0 < level < 1:
        raise ValueError(f"values are (S, F), not {v.shape}; resamples >= 1; 0 < level < 1")
    known = np.isfinite(v)
    w = np.where(known, 1.0 if weights is None else np.asarray(weights, dtype=np.float64), 0.0)
    if w.shape != v.shape or (w < 0).any():
        raise ValueError(f"weights are {v.shape} and >= 0")
    known &= w > 0
    means = _resampled_means(np.where(known, v, 0.0) * w, w, resamples, np.random.default_rng(seed))
    all_0, all_1 = (v == 0) | ~known, (v == 1) | ~known
    if averaged:
        with warnings.catch_warnings():  # a resample may lack every figure
            warnings.simplefilter("ignore", RuntimeWarning)
            means = np.nanmean(means, axis=1, keepdims=True)
        all_0, all_1 = (each.all(axis=1, keepdims=True) for each in (all_0, all_1))
        known = known.any(axis=1, keepdims=True)
    tail = (1 - level) / 2
    n = known.sum(axis=0)  # (F,)
    low, high = np.full((2, len(n)), np.nan)
    if (some := n >= 2).any():
        # numpy takes one figure at a time where some may be NaN
        quantile = np.nanquantile if np.isnan(means[:, some]).any() else np.quantile
        low[some], high[some] = quantile(means[:, some], [tail, 1 - tail], axis=0)
    if rates:
        bound = tail ** (1 / np.maximum(n, 1))
        high = np.where(some & all_0.all(axis=0), 1 - bound, high)
        low = np.where(some & all_1.all(axis=0), bound, low)
    return Interval(low, high)


def _resampled_means(weighted: Array, weights: Array, resamples: int, rng: np.random.Generator) -> Array:
    """(S, F), (S, F) -> (resamples, F), as products with a matrix of how often each seed was drawn."""
    seeds, figures = weights.shape
    both = np.hstack([weighted, weights])  # (S, 2F)
    means = np.full((resamples, figures), np.nan)
    block = max(1, _BLOCK // max(seeds, 1))
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = rng.integers(seeds, size=(rows, seeds)) if seeds else np.empty((rows, 0), dtype=int)
        flat = (drawn + np.arange(rows)[:, None] * seeds).ravel()
        counts = np.bincount(flat, minlength=rows * seeds).reshape(rows, seeds).astype(np.float64)
        sums = counts @ both
        total = sums[:, figures:]
        np.divide(sums[:, :figures], total, out=means[start : start + rows], where=total > 0)
    return means
