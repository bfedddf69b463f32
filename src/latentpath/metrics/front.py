"""The front of a method: how often it brings an attribute in, against how much else it changes.

A *setting* of a method is its dial and a swap step. In a setting an edit has an effect (does the attribute
newly appear?) and a leak (what else changes?), one number each a seed. Whoever may use setting j on some
seeds and setting k on others reaches every point on the line between the two; the front is the best of all
that: the lower convex hull of the points (mean effect, mean leak), from the neutral image at (0, 0) on.
Comparing methods at equal effect reads their fronts at one effect.

Arrays, for S seeds and K settings: effect (S, K) and leak (S, K); a seed that says nothing is a row of NaN.
`metrics.front_table` makes them from scores.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latentpath.metrics.intervals import ANY, Interval, Range, mean_intervals

Array = NDArray[np.float64]

BUDGET = 0.2  # `area` averages over budgets of leak from 0 to this share of the other decisions
_BUDGETS = 40  # at so many budgets, the midpoints of equal parts


class Mixture(NamedTuple):
    """The cheapest mixture of settings that reaches a level of effect.

    weights (K,): how often each setting is used, >= 0; the rest, 1 - sum, is the neutral image. At most two
    are above 0. cost: its mean leak, infinite if no mixture reaches the level. price >= 0: what one more unit
    of effect would cost.
    """

    weights: Array
    cost: float
    price: float


def cheapest(effect: ArrayLike, leak: ArrayLike, level: float) -> Mixture:
    """Return the mixture of least leak whose effect is at least `level`; the neutral image is free.

        L(level) = min_w sum_k w_k leak_k    with  sum_k w_k effect_k >= level,  w >= 0,  sum_k w_k <= 1

    effect, leak (K,): means over seeds. A linear programme with two constraints has a solution of at most two
    points, so all pairs of points are tried, the neutral image (0, 0) among them.
    """
    e, cost = (np.append(np.asarray(x, dtype=np.float64), 0.0) for x in (effect, leak))  # (K + 1,)
    nothing = Mixture(np.zeros(len(e) - 1), np.inf, 0.0)
    above, below = np.flatnonzero(e >= level), np.flatnonzero(e < level)
    if not len(above):
        return nothing
    k = above[cost[above].argmin()]  # one setting that reaches more than was asked for
    best = Mixture(np.eye(len(e))[k, :-1], float(cost[k]), 0.0)
    if len(below):
        price = (cost[above] - cost[below, None]) / (e[above] - e[below, None])  # (below, above)
        total = cost[below, None] + price * (level - e[below, None])
        j, k = np.unravel_index(total.argmin(), total.shape)
        if total[j, k] < best.cost:
            share = (level - e[below[j]]) / (e[above[k]] - e[below[j]])
            weights = (1 - share) * np.eye(len(e))[below[j]] + share * np.eye(len(e))[above[k]]
            best = Mixture(weights[:-1], float(total[j, k]), float(price[j, k]))
    return best


def leak_at(effect: ArrayLike, leak: ArrayLike, level: float) -> Array:
    """Return what each seed says of the leak at equal effect, (S,); NaN if the method does not reach it.

        v_s = sum_k w_k leak_sk + price (level - sum_k w_k effect_sk)

    w and price are those of `cheapest` for the seeds' means. The mean of v is L(level), and the spread of v
    tells how L depends on the choice of seeds: to first order the best mixture may be held fixed, because at
    an optimum changing it changes nothing (envelope theorem). So the paired tests of means in
    `metrics.paired` apply to leaks at equal effect (experiments/leaderboard/coverage.py measures how far).
    The best of many settings looks better than it is, so L itself lies too low, the more so the fewer the
    seeds: `best_of_intervals` allows for that. A difference of two methods with equally many settings has no
    such error.
    """
    effect, leak, known = _checked(effect, leak)
    best = cheapest(effect[known].mean(axis=0), leak[known].mean(axis=0), level)
    if not np.isfinite(best.cost):
        return np.full(len(effect), np.nan)
    return leak @ best.weights + best.price * (level - effect @ best.weights)


def edited_share(effect: ArrayLike, leak: ArrayLike, level: float) -> float:
    """Return the share of seeds in [0, 1] that the mixture of `leak_at` edits; 0 if it does not reach it."""
    effect, leak, known = _checked(effect, leak)
    return float(cheapest(effect[known].mean(axis=0), leak[known].mean(axis=0), level).weights.sum())


def effect_within(effect: ArrayLike, leak: ArrayLike, budget: float) -> Array:
    """Return what each seed says of the greatest effect of mean leak at most `budget` >= 0, (S,).

    The same linear programme with effect and leak exchanged.
    """
    return -leak_at(-np.asarray(leak), -np.asarray(effect), -budget)


def area(effect: ArrayLike, leak: ArrayLike, *, limit: float = BUDGET) -> Array:
    """Return what each seed says of the area under the front, (S,): its mean lies in [0, 1].

        A = 1 / limit  integral from 0 to limit of  E(b) db,    E(b): the greatest effect of leak at most b

    1 is a method that always brings the attribute in and never changes anything else.
    """
    budgets = (np.arange(_BUDGETS) + 0.5) * limit / _BUDGETS
    return np.mean([effect_within(effect, leak, b) for b in budgets], axis=0)


def best_of_intervals(
    values: ArrayLike,
    settings: int,
    *,
    highest: bool = False,
    unit: ArrayLike = 0.0,
    within: Range = ANY,
    level: float = 0.95,
) -> Interval:
    """Return intervals of figures that are the best of K settings, such as a leak at equal effect.

        low  = the low end of `mean_intervals` at `level`
        high = the high end of `mean_intervals` at 1 - (1 - level) / K

    values (S, F): what each seed says of F figures. The least of K estimates lies below the least of the K
    true values by no more than the largest of K errors, and at this level the bounds of all K errors hold
    together (Bonferroni). So only the end behind which the truth hides moves; of the `highest` of K, such as
    `area`, it is the low one. A single setting has the interval of a mean. Each end is the farther of two,
    both of `mean_intervals`: Johnson's, for values with a long tail, and that of least width by `unit`, for
    seeds that agree. experiments/leaderboard/coverage.py measures how often they contain the truth.
    Returns ends (F,) inside `within`, NaN with fewer than two seeds. Source: Dunn 1961, for K means together.
    """
    v, stricter = np.asarray(values, dtype=np.float64), 1 - (1 - level) / settings
    low, high = (stricter, level) if highest else (level, stricter)
    lows = [mean_intervals(v, unit=u, within=within, level=low).low for u in (0.0, unit)]
    highs = [mean_intervals(v, unit=u, within=within, level=high).high for u in (0.0, unit)]
    return Interval(np.minimum(*lows), np.maximum(*highs))


def on_front(effect: ArrayLike, leak: ArrayLike) -> list[int]:
    """Return the settings that are corners of the front, by rising effect; effect, leak (K,) are means."""
    e, cost = np.asarray(effect, dtype=np.float64), np.asarray(leak, dtype=np.float64)
    corners, (e0, c0) = [], (0.0, 0.0)
    while (more := np.flatnonzero(e > e0)).size:
        slope = (cost[more] - c0) / (e[more] - e0)
        steepest = np.flatnonzero(slope == slope.min())
        k = int(more[steepest[e[more][steepest].argmax()]])
        corners.append(k)
        e0, c0 = e[k], cost[k]
    return corners


def mean_over_cells(values: ArrayLike) -> Array:
    """Combine cells, values (S, C, K), into (S, K) whose mean over seeds is the mean of the cells' means.

        u_sk = mean_c( m_ck + (S / n_c) (v_sck - m_ck) ),   m_ck = mean over the n_c seeds of cell c

    A cell is a class and an attribute; a seed that has no value in it is NaN there, and says nothing of it.
    All cells of a seed share its noise, and u keeps them together. Cells without any seed are left out;
    a seed without any cell is a row of NaN and does not count in S.
    Source: linearisation of a mean of ratios, as in Cochran 1977, section 6.
    """
    v = np.asarray(values, dtype=np.float64)
    there = np.asarray(np.isfinite(v).all(axis=2))  # (S, C)
    v, there = v[:, there.any(axis=0)], there[:, there.any(axis=0)]
    seeds = np.asarray(there.any(axis=1))
    count = there.sum(axis=0)[:, None]  # (C, 1)
    mean = np.where(there[..., None], v, 0.0).sum(axis=0) / count  # (C, K)
    deviation = np.where(there[..., None], v - mean, 0.0)
    combined = (mean + seeds.sum() / count * deviation).mean(axis=1)
    return np.where(seeds[:, None], combined, np.nan)


def unit_over_cells(values: ArrayLike) -> float:
    """Return by how much `mean_over_cells` moves for a seed if one of its values (S, C, K) moves by 1.

    mean_c( S / (n_c C) ): 1 for one cell, 1 / C where all S seeds have a value in all C cells.
    """
    there = np.asarray(np.isfinite(np.asarray(values, dtype=np.float64)).all(axis=2))  # (S, C)
    count = there.sum(axis=0)[there.any(axis=0)]
    return float((there.any(axis=1).sum() / (count * len(count))).mean())


def _checked(effect: ArrayLike, leak: ArrayLike) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Return both arrays, and which seeds say something (S,). Raises ValueError if none does."""
    a, b = np.asarray(effect, dtype=np.float64), np.asarray(leak, dtype=np.float64)
    if a.ndim != 2 or a.shape != b.shape:
        raise ValueError(f"effect and leak are (S, K) of the same seeds and settings: {a.shape}, {b.shape}")
    known = np.asarray(np.isfinite(a + b).all(axis=1))
    if not known.any():
        raise ValueError("no seed has an effect and a leak in every setting")
    return a, b, known
