"""Confidence intervals over seeds, in closed form: how much a figure varies with the choice of seeds.

The positions of one seed share its noise and depend on each other; seeds are independent. So the unit is
the seed: each enters with one value. Inversion takes one image of each patient or lesion, so that there, too,
seeds are independent. Nothing is drawn at random, so the same values always have the same interval. No
interval has a width of 0 because a few seeds agree. experiments/interval_coverage measures how often each
contains the truth.

Arrays, for S seeds and F figures at once: values (S, F), NaN if a seed has none; weights (S, F) >= 0,
how many samples a value is the mean of (1 each by default).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

Array = NDArray[np.float64]
Range = tuple[float, float]  # the least and the greatest value that there can be
ANY: Range = (-np.inf, np.inf)


class Interval(NamedTuple):
    """Ends of the intervals, (F,) each; NaN if fewer than two seeds have a value."""

    low: Array
    high: Array


def rate_intervals(values: ArrayLike, weights: ArrayLike | None = None, *, level: float = 0.95) -> Interval:
    """Return mid-p intervals of rates in [0, 1], using the effective number of samples of their seeds.

        p     = sum_s w_s v_s / sum_s w_s                              the rate
        low   = the q with P_q(X > n p) + P_q(X = n p) / 2 = (1 - level) / 2,   X binomial(n, q)
        high  = the q with P_q(X < n p) + P_q(X = n p) / 2 = (1 - level) / 2,   n = `effective_samples`

    n and n p need not be whole: P_q(X >= x) is the regularised beta function I_q(x, n - x + 1). All 8 of 8
    seeds give [0.69, 1], all of 16 give [0.83, 1]. For a cell both ends rise with the rate.
    Returns ends in [0, 1], NaN with fewer than two seeds. Raises ValueError on wrong shapes or ranges.
    Sources: Lancaster 1961 and Berry and Armitage 1995, for mid-p; Korn and Graubard 1998, for n.
    """
    v, w, seeds = _checked(values, weights, level)
    if ((v < 0) | (v > 1)).any():
        raise ValueError("rates lie in [0, 1]")
    rate = _divide((w * v).sum(axis=0), w.sum(axis=0))
    return mid_p(rate, np.where(seeds >= 2, _effective(v, w, seeds, level), np.nan), level=level)


def overall_rate_interval(
    values: ArrayLike, weights: ArrayLike | None = None, *, level: float = 0.95
) -> tuple[float, float]:
    """Return the interval of the mean of F rates of the same seeds, such as a figure over all cells.

    As `rate_intervals` of what the seeds say of the mean, u_s, with pseudo-seeds of weight 1 / C^2,

        p_f = sum_s w_sf v_sf / sum_s w_sf,   u_s = mean_f( p_f + (S w_sf / sum_s w_sf) (v_sf - p_f) )
        C   = mean_f( var_s v_sf ) / var_s u_s,   at least 1: how many independent cells

    The cells of a seed share its noise and are not independent: u_s keeps them together, and a cell that is
    there twice narrows nothing. Where all agree, C is 1 and the interval that of a single cell, for then
    nothing tells how much they depend on each other. Figures without any value are left out.
    Source: linearisation of a mean of ratios, as in Cochran 1977, section 6.
    """
    rate, n = overall_samples(values, weights, level=level)
    low, high = mid_p(np.array([rate]), np.array([n]), level=level)
    return float(low[0]), float(high[0])


def mean_intervals(
    values: ArrayLike,
    *,
    unit: ArrayLike = 0.0,
    within: Range = ANY,
    level: float = 0.95,
) -> Interval:
    """Return intervals of means of any values, such as score changes, distances, or differences of rates.

        low  = mean - max( s / sqrt(n) (t + max(0, -k)),  floor ),   t with n - 1 degrees of freedom
        high = mean + max( s / sqrt(n) (t + max(0,  k)),  floor )
        k    = g (1 + 2 t^2) / (6 sqrt(n)),   g the skewness, mean (v - mean)^3 / ( mean (v - mean)^2 )^1.5
        floor = z least_error(n, unit)

    n seeds have a value. Student's interval misses a mean on the side of the long tail; k is Johnson's
    correction for that, used only where it lengthens an end. `unit` says by how much the values of two seeds
    differ at least if they differ at all: 1 for differences of rates, 1/5 for one changed decision of five.
    The floor then stands in for seeds that might have differed; it is near the mid-p interval of a rate that
    all seeds agree on, and k is 0. Without a unit, seeds that all agree have an interval of width 0. Ends are
    clipped to `within`, the range that the values can have.
    Sources: Student 1908; Johnson 1978, for k.
    """
    v, w, n = _checked(values, None, level)
    least, t = np.broadcast_to(np.asarray(unit, dtype=np.float64), n.shape), student(n, level)
    mean = _divide(v.sum(axis=0), n)
    apart = w * (v - mean)
    error = np.sqrt(_divide((apart**2).sum(axis=0), (n - 1) * n))
    skewness = _divide((apart**3).sum(axis=0) * np.sqrt(n), (apart**2).sum(axis=0) ** 1.5)
    k = np.where(least > 0, 0.0, np.nan_to_num(skewness) * (1 + 2 * t**2) / (6 * np.sqrt(np.maximum(n, 1))))
    floor = stats.norm.ppf((1 + level) / 2) * least_error(n, least)
    below, above = (np.maximum(error * (t + np.maximum(0, side * k)), floor) for side in (-1, 1))
    return Interval((mean - below).clip(*within), (mean + above).clip(*within))


def overall_mean_interval(
    values: ArrayLike,
    *,
    unit: float = 0.0,
    within: Range = ANY,
    level: float = 0.95,
) -> tuple[float, float]:
    """Return the interval of the mean of F means of the same seeds, such as selectivity over all cells.

    As `mean_intervals` of the values that the seeds have for the mean, with unit / C; see
    `overall_rate_interval`, for C too.
    """
    u, cells = _of_all(values, None, level)
    low, high = mean_intervals(u, unit=unit / cells, within=within, level=level)
    return float(low[0]), float(high[0])


def least_error(n: ArrayLike, unit: ArrayLike) -> Array:
    """Return the least standard error of a mean of n values that differ by `unit` if they differ at all.

    unit sqrt( 2 / (n (n + 2)) ): that of n + 2 values of which two differ from the others, one in either
    direction. Source: Bonett and Price 2012, for two differences of paired shares.
    """
    count = np.asarray(n, dtype=np.float64)
    return np.asarray(unit, dtype=np.float64) * np.sqrt(_divide(2.0, count * (count + 2)))


def effective_samples(values: ArrayLike, weights: ArrayLike | None = None, *, level: float = 0.95) -> Array:
    """Return how many independent samples the rates of seeds are worth, (F,).

        n   = max( K, (z / t)^2 K m (1 - m) / var_w(v) ),   K = (sum_s w_s)^2 / sum_s w_s^2
        var = sum_s w_s (v_s - m)^2 + pseudo-seeds, divided by the sum of weights
        t   = Student's quantile with nu = (S - 1) (var / var without pseudo-seeds)^2 degrees of freedom

    Where all positions of a seed say the same, n is the number of seeds; positions that vary within a seed
    are worth more, and no seed less than one sample, as values in [0, 1] vary by m (1 - m) at most. Two
    pseudo-seeds of weight 1, of zeros and of ones, keep the variance from being underestimated where nearly
    all seeds agree; m includes them. As t does in an interval of a mean, (z / t)^2 makes up for a variance
    that is itself estimated.
    Sources: Korn and Graubard 1998, for n and t; Agresti and Coull 1998, for pseudo-counts; Satterthwaite
    1946, for nu.
    """
    v, w, seeds = _checked(values, weights, level)
    return _effective(v, w, seeds, level)


def overall_samples(
    values: ArrayLike, weights: ArrayLike | None = None, *, level: float = 0.95
) -> tuple[float, float]:
    """Return the rate of `overall_rate_interval`, and how many samples its seeds are worth.

    Both NaN without any value; the second with fewer than two seeds.
    """
    u, cells = _of_all(values, weights, level)
    _, w, seeds = _checked(u, None, level)
    n = _effective(u, w, seeds, level, cells)[0] if seeds[0] >= 2 else np.nan
    return float(u.mean()), float(n)


def mid_p(rate: Array, n: Array, *, level: float = 0.95) -> Interval:
    """Return the ends of `rate_intervals` for rates (F,) of n (F,) samples; NaN where either is.

    By bisection; equal cells are computed once.
    """
    (p, n), places = np.unique(np.stack([rate, n]), axis=1, return_inverse=True, equal_nan=True)
    k = p * n
    rest = np.where(p < 1, n - k, 0.0)

    def above(q: Array) -> Array:
        """P_q(X > k) + P_q(X = k) / 2."""
        at_least = np.where(k > 0, special.betainc(np.maximum(k, 1e-300), rest + 1, q), 1.0)
        more = np.where(rest > 0, special.betainc(k + 1, np.maximum(rest, 1e-300), q), 0.0)
        return (at_least + more) / 2

    ends = []
    for tail, sure in (((1 - level) / 2, 0.0), ((1 + level) / 2, 1.0)):
        low, high = np.zeros_like(k), np.ones_like(k)
        for _ in range(36):  # to 1e-11
            middle = (low + high) / 2
            left = above(middle) < tail
            low, high = np.where(left, middle, low), np.where(left, high, middle)
        ends.append(np.where(np.isfinite(k), np.where(p == sure, sure, (low + high) / 2), np.nan)[places])
    return Interval(*ends)


def student(n: Array, level: float) -> Array:
    """Return the quantile of Student's t with n - 1 degrees of freedom; NaN for n < 2."""
    return np.where(n >= 2, stats.t.ppf((1 + level) / 2, np.maximum(n - 1, 1)), np.nan)


def _effective(v: Array, w: Array, seeds: Array, level: float, cells: float = 1.0) -> Array:
    total = w.sum(axis=0)
    pseudo = _divide(total, seeds) / cells**2  # the weight of each of the two pseudo-seeds
    m = _divide((w * v).sum(axis=0) + pseudo, total + 2 * pseudo)
    seen = (w * (v - m) ** 2).sum(axis=0)
    square = seen + pseudo * (m**2 + (1 - m) ** 2)
    kish = _divide(total**2, (w**2).sum(axis=0))
    degrees = np.maximum(seeds - 1, 1) * (square / np.maximum(seen, 1e-12)) ** 2
    quantile = (1 + level) / 2
    shrink = (stats.norm.ppf(quantile) / stats.t.ppf(quantile, degrees)) ** 2
    return np.maximum(kish, shrink * kish * _divide(m * (1 - m) * (total + 2 * pseudo), square))


def _of_all(values: ArrayLike, weights: ArrayLike | None, level: float) -> tuple[Array, float]:
    """Return u (S, 1) and C of `overall_rate_interval`, of the seeds and figures that have a value."""
    v, w, _ = _checked(values, weights, level)
    known = w.sum(axis=0) > 0
    v, w = v[:, known], w[:, known]
    there = (w > 0).any(axis=1)
    if not known.any():
        return np.full((1, 1), np.nan), 1.0
    share = w / w.sum(axis=0)  # (S, F)
    rates = (share * v).sum(axis=0)  # (F,)
    u = (rates + there.sum() * share * (v - rates)).mean(axis=1, keepdims=True)[there]  # (S, 1)
    spread, alone = float(u.var()), float((share * (v - rates) ** 2).sum(axis=0).mean())
    return u, max(alone / spread, 1.0) if spread > 1e-12 else 1.0


def _checked(values: ArrayLike, weights: ArrayLike | None, level: float) -> tuple[Array, Array, Array]:
    """Values (S, F), 0 where there is none; weights, 0 there too; how many seeds have a value (F,)."""
    v = np.asarray(values, dtype=np.float64)
    if v.ndim != 2 or not 0 < level < 1:
        raise ValueError(f"values are (S, F), not {v.shape}; 0 < level < 1, not {level}")
    w = np.ones_like(v) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape != v.shape or not (w >= 0).all():
        raise ValueError(f"weights are {v.shape} and >= 0")
    w = np.where(np.isfinite(v), w, 0.0)
    return np.where(w > 0, v, 0.0), w, (w > 0).sum(axis=0).astype(np.float64)


def _divide(a: ArrayLike, b: ArrayLike) -> Array:
    """a / b; NaN if b is 0."""
    a, b = np.broadcast_arrays(np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64))
    return np.divide(a, b, out=np.full(a.shape, np.nan), where=b > 0)
