"""Splits a figure's variance by runs, judges and seeds, and computes how many of each are needed.

More seeds shorten an interval over seeds; they do not say how far the figure moves when the model is
fine-tuned again or the judge trained again. A study with several of each can tell these apart.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


@dataclass(frozen=True)
class Components:
    """Variances of one figure between runs, judges and seeds, and the residual; NaN if there is only one."""

    run: float
    judge: float
    seed: float
    residual: float

    def variance(self, runs: int, judges: int, seeds: int) -> float:
        """Return the variance of the figure's mean over R runs, J judges and S seeds.

            run / R + judge / J + seed / S + residual / (R J S)

        A component that is NaN, because it was never varied, counts as 0: the variance is then a lower bound.
        """
        parts = (
            self.run / runs,
            self.judge / judges,
            self.seed / seeds,
            self.residual / (runs * judges * seeds),
        )
        return float(np.nansum(parts))


def variance_components(values: ArrayLike) -> Components:
    """Estimate the components from the figure of every run, judge and seed, values (R, J, S), fully crossed.

        v_rjs = mean + run_r + judge_j + seed_s + e_rjs
        E[ MS_run ] = e + J S run,   E[ MS_judge ] = e + R S judge,   E[ MS_seed ] = e + R J seed

    each solved for its component, and 0 where that is negative. Interactions are part of the residual. NaN
    for a factor of a single level; the residual is NaN if fewer than two factors vary, and the component
    then holds it.
    Raises ValueError unless values are (R, J, S), finite, with two levels of something.
    Source: Searle, Casella and McCulloch 1992, chapter 4 (method of moments).
    """
    v = np.asarray(values, dtype=np.float64)
    if v.ndim != 3 or not np.isfinite(v).all() or v.size < 2:
        raise ValueError(f"values are (runs, judges, seeds), all finite and two or more; got {v.shape}")
    grand, squares, degrees = v.mean(), {}, {}
    rest = v - grand
    for axis, name in enumerate(("run", "judge", "seed")):
        others = tuple(a for a in range(3) if a != axis)
        effect = v.mean(axis=others, keepdims=True) - grand
        squares[name] = float((effect**2).sum()) * v.size / v.shape[axis]
        degrees[name] = v.shape[axis] - 1
        rest = rest - effect
    left = v.size - 1 - sum(degrees.values())
    residual = float((rest**2).sum()) / left if left > 0 else float("nan")
    found = {}
    for axis, name in enumerate(("run", "judge", "seed")):
        if degrees[name] == 0:
            found[name] = float("nan")
            continue
        mean_square = squares[name] / degrees[name]
        error = residual if left > 0 else 0.0
        found[name] = max(0.0, (mean_square - error) * v.shape[axis] / v.size)
    return Components(**found, residual=residual)


def seeds_needed(
    values: ArrayLike, half_width: float, *, level: float = 0.95, most: int = 1_000_000
) -> int | None:
    """Return how many seeds give a mean's interval this width, if they vary like the given seeds.

        the smallest S with t_{S-1} s / sqrt(S) <= half_width

    values (n,), one a seed, NaN left out. None if fewer than two have a value, or more than `most` are
    needed. Where all agree, s is 0 and says nothing: it then counts as if one more seed differed by 1, s^2
    = 1 / (n + 1).
    Raises ValueError unless half_width > 0.
    Source: the half-width of Student's interval.
    """
    if not half_width > 0:
        raise ValueError(f"half_width must be above 0, got {half_width}")
    v = np.asarray(values, dtype=np.float64)
    v = v[np.isfinite(v)]
    if len(v) < 2:
        return None
    deviation = float(v.std(ddof=1)) or (1 / (len(v) + 1)) ** 0.5
    low, high = 2, most  # the half-width falls as S grows
    if _half(deviation, most, level) > half_width:
        return None
    while low < high:
        middle = (low + high) // 2
        if _half(deviation, middle, level) <= half_width:
            high = middle
        else:
            low = middle + 1
    return low


def _half(deviation: float, seeds: int, level: float) -> float:
    return float(stats.t.ppf((1 + level) / 2, seeds - 1)) * deviation / seeds**0.5
