"""Paired comparison of two runs or two methods: differences per seed, not differences of means.

Seeds differ far more than methods do, and the same seed starts both from the same noise. So each figure is
subtracted seed by seed. The test flips the signs of whole seeds: all cells of a seed flip together, which
keeps how they depend on each other, and the largest statistic over all cells accounts for how many there
are.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from latentpath.metrics.intervals import least_error, mean_intervals

Array = NDArray[np.float64]

_EXACT = 12  # seeds up to which all 2^S sign flips are tried


@dataclass(frozen=True)
class Differences:
    """Differences b - a of F figures over n seeds, each (F,): mean, 95 % interval, p alone, p among all.

    p_adjusted is the probability that the largest of all F statistics is as large where nothing differs:
    naming all figures with p_adjusted <= 0.05 names any wrongly in 5 % of studies.
    """

    mean: Array
    low: Array
    high: Array
    p: Array
    p_adjusted: Array
    n: NDArray[np.int64]


def paired_differences(
    a: ArrayLike,
    b: ArrayLike,
    *,
    unit: ArrayLike = 0.0,
    resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> Differences:
    """Return the differences b - a of F figures over the seeds that both have.

    a, b: (S, F), the value of each seed, the same seeds in the same order; NaN if a seed has none.
    unit: the least difference of two seeds that differ, for each figure (F,) or for all (see
    `intervals.mean_intervals`, which gives the intervals). With 0, seeds that all agree give an interval of
    width 0. resamples, seed: of the tests, see `sign_flips`.
    Figures are NaN if fewer than two seeds have both. Raises ValueError on shapes that differ.
    """
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if x.ndim != 2 or x.shape != y.shape:
        raise ValueError(f"both are (S, F), of the same seeds and figures; got {x.shape} and {y.shape}")
    d = y - x
    n = np.isfinite(d).sum(axis=0)
    units = np.broadcast_to(np.asarray(unit, dtype=np.float64), d.shape[1:])
    low, high = mean_intervals(d, unit=units, level=level)
    mean = np.where(n > 0, np.nansum(d, axis=0) / np.maximum(n, 1), np.nan)
    p, adjusted = sign_flips(d, resamples=resamples, seed=seed)
    return Differences(mean, low, high, p, adjusted, n)


def unpaired_differences(
    a: ArrayLike, b: ArrayLike, *, unit: ArrayLike = 0.0, level: float = 0.95
) -> Differences:
    """Return the differences of means b - a of F figures over different seeds, a (S, F) and b (T, F).

        mean b - mean a -+ t sqrt( s_a^2 / n_a + s_b^2 / n_b ),   t with Welch's degrees of freedom

    where s^2 / n is at least `intervals.least_error`^2, with `unit`. p is Welch's, p_adjusted Holm's among
    all figures; n is the smaller number of seeds. NaN if either has fewer than two. Raises ValueError if the
    number of figures differs.
    Sources: Welch 1947; Holm 1979.
    """
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"both are (seeds, F), of the same figures; got {x.shape} and {y.shape}")
    units = np.broadcast_to(np.asarray(unit, dtype=np.float64), x.shape[1:])
    means, errors, counts = [], [], []
    for values in (x, y):
        known = np.isfinite(values)
        n = known.sum(axis=0)
        mean = np.where(n > 0, np.where(known, values, 0).sum(axis=0) / np.maximum(n, 1), np.nan)
        square = np.where(known, (values - mean) ** 2, 0).sum(axis=0) / np.maximum((n - 1) * n, 1)
        means.append(mean)
        errors.append(np.where(n > 1, np.maximum(square, least_error(n, units) ** 2), np.nan))
        counts.append(n)
    error = errors[0] + errors[1]
    parts = [e**2 / np.maximum(n - 1, 1) for e, n in zip(errors, counts, strict=True)]
    degrees = np.maximum(error**2 / np.where(sum(parts) > 0, sum(parts), np.nan), 1)
    difference, half = means[1] - means[0], stats.t.ppf((1 + level) / 2, degrees) * np.sqrt(error)
    p = 2 * stats.t.sf(np.abs(difference) / np.sqrt(np.where(error > 0, error, np.nan)), degrees)
    n = np.minimum(*counts)
    return Differences(difference, difference - half, difference + half, p, _holm(p), n)


def _holm(p: Array) -> Array:
    """Adjust p-values for their number by Holm's method; NaN stays and does not count."""
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known])]
    adjusted = np.full(p.shape, np.nan)
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1)
    return adjusted


def sign_flips(differences: ArrayLike, *, resamples: int = 10_000, seed: int = 0) -> tuple[Array, Array]:
    """Return two-sided p-values that differences are centred on 0: each alone, and among all (max-T).

        u_f = | sum_s d_sf | / sqrt( sum_s d_sf^2 ),   in [0, sqrt S]; a function of Student's t
        p_f     = share of sign flips whose u_f is at least as large
        p_adj_f = share of sign flips whose max_g u_g is at least u_f

    differences (S, F), NaN if a seed has none. A flip changes the sign of all F differences of a seed.
    All 2^S flips are tried for S <= 12, else `resamples` random ones and the observed one. It assumes that
    where nothing differs a difference is as likely as its negative. The smallest p that S seeds can give is
    2 / 2^S: 5 seeds cannot reach 0.05. Returns p and p_adj, each (F,); NaN if fewer than two seeds have
    a value; 1 where all are 0.
    Source: Westfall and Young 1993, for max-T; Fisher 1935, for the flips.
    """
    d = np.asarray(differences, dtype=np.float64)
    seeds = len(d)
    n = np.isfinite(d).sum(axis=0)
    known = np.nan_to_num(d)
    size = np.sqrt((known**2).sum(axis=0))
    scaled = known / np.where(size > 0, size, 1)  # (S, F)
    if seeds <= _EXACT:
        signs = np.array(list(product((1.0, -1.0), repeat=seeds))).reshape(2**seeds, seeds)
    else:
        drawn = np.random.default_rng(seed).integers(0, 2, size=(resamples, seeds))
        signs = np.vstack([np.ones(seeds), 2.0 * drawn - 1])
    usable = n >= 2
    reach = np.abs(scaled.sum(axis=0)) - 1e-9  # what was observed
    alone, among_all = np.zeros((2, d.shape[1]))
    for part in np.array_split(signs, 1 + signs.shape[0] * d.shape[1] // 4_000_000):
        flips = np.abs(part @ scaled)  # (flips, F)
        alone += (flips >= reach).sum(axis=0)
        among_all += (flips[:, usable].max(axis=1, initial=0.0)[:, None] >= reach).sum(axis=0)
    p, adjusted = alone / len(signs), among_all / len(signs)
    return np.where(usable, p, np.nan), np.where(usable, adjusted, np.nan)
