"""How well a judge tells labelled images apart: AUROC, sensitivity, specificity, with intervals over groups.

Images of one group (a patient, a lesion) are alike, so the group is the unit of every interval. Nothing is
drawn at random.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from latentpath.metrics.intervals import rate_intervals

Array = NDArray[np.float64]


def head_figures(
    scores: ArrayLike, decided: ArrayLike, labels: ArrayLike, groups: ArrayLike | None = None
) -> dict[str, object]:
    """Return {auroc, sensitivity, specificity, positives, negatives, groups} of one head.

    scores (n,): larger where the head sees the label; decided (n,): whether it says so; labels (n,): 1, 0 or
    NaN (left out); groups (n,): each image its own by default. Each figure is {value, low, high}, with 95 %
    intervals; None where it is undefined: sensitivity without images that have the label, specificity without
    others, AUROC without both, intervals with fewer than two groups.
    """
    score, said, true = (np.asarray(x, dtype=np.float64) for x in (scores, decided, labels))
    group = np.arange(len(true)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    known = np.isfinite(true)
    score, said, true, group = score[known], said[known], true[known], group[known]
    positive = true == 1
    return {
        "auroc": _figure(*auroc(score[positive], score[~positive], group[positive], group[~positive])),
        "sensitivity": _rate(said[positive], group[positive]),
        "specificity": _rate(1 - said[~positive], group[~positive]),
        "positives": int(positive.sum()),
        "negatives": int((~positive).sum()),
        "groups": len(np.unique(group)),
    }


def auroc(
    x: Array, y: Array, x_groups: np.ndarray, y_groups: np.ndarray, *, level: float = 0.95
) -> tuple[float, float, float]:
    """Return the AUROC of scores x (m,) of images with the label against y (n,) of others, and its interval.

        theta = mean over pairs of ( x_i > y_j ) + ( x_i = y_j ) / 2
        var   = S_xx / m^2 + S_yy / n^2 + 2 S_xy / (m n)

    where S are sums over groups of products of the groups' sums of V_i - theta, V_i the share of the other
    kind that image i is right about. The interval is Wilson's, with theta (1 - theta) / var images, but at
    most as many as by Hanley and McNeil's variance of as many images as groups, for var is too small where
    few pairs are wrong; where none is, as many as there are groups of the rarer kind. NaN without both kinds.
    Measured coverage: experiments/interval_coverage.
    Sources: Obuchowski 1997, for groups; DeLong et al. 1988; Hanley and McNeil 1982; Wilson 1927.
    """
    m, n = len(x), len(y)
    if not m or not n:
        return float("nan"), float("nan"), float("nan")
    ranks, own_x, own_y = (stats.rankdata(values) for values in (np.concatenate([x, y]), x, y))
    of_x, of_y = (ranks[:m] - own_x) / n, 1 - (ranks[m:] - own_y) / m  # V of each image
    theta = float(of_x.mean())
    _, member = np.unique(np.concatenate([x_groups, y_groups]), return_inverse=True)
    sums = [
        np.bincount(places, values - theta, minlength=int(member.max()) + 1)
        for places, values in ((member[:m], of_x), (member[m:], of_y))
    ]
    counts = [len(np.unique(g)) for g in (x_groups, y_groups)]
    if min(counts) < 2:
        return theta, float("nan"), float("nan")
    shares = [s / size * np.sqrt(k / (k - 1)) for s, size, k in zip(sums, (m, n), counts, strict=True)]
    variance = float(((shares[0] + shares[1]) ** 2).sum())
    pairs, others = counts[0] * counts[1], sum(counts) / 2 - 1
    most = pairs / (1 + others * ((1 - theta) / (2 - theta) + theta / (1 + theta)))  # Hanley and McNeil
    size = min(theta * (1 - theta) / variance, most) if variance > 1e-12 else float(min(counts))
    z = stats.norm.ppf((1 + level) / 2)
    centre = (theta + z**2 / (2 * size)) / (1 + z**2 / size)
    half = z * np.sqrt(theta * (1 - theta) / size + z**2 / (4 * size**2)) / (1 + z**2 / size)
    return theta, max(float(centre - half), 0.0), min(float(centre + half), 1.0)


def psnr(images: np.ndarray, other: np.ndarray) -> Array:
    """Return the peak signal-to-noise ratio (n,) in dB of images (n, 3, h, w) in [-1, 1]; inf for equal ones.

    10 log10( 4 / mean squared difference )
    """
    error = ((np.asarray(images, np.float64) - np.asarray(other, np.float64)) ** 2).mean(axis=(1, 2, 3))
    with np.errstate(divide="ignore"):
        return 10 * np.log10(4 / error)


def _rate(right: Array, groups: np.ndarray) -> dict[str, float | None]:
    """The share of images that the head is right about, by the sums of each group."""
    names, member, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if not len(names):
        return _figure(float("nan"), float("nan"), float("nan"))
    shares, weights = (np.bincount(member, right) / sizes)[:, None], sizes[:, None]
    ends = rate_intervals(shares, weights)
    return _figure(float(right.mean()), float(ends.low[0]), float(ends.high[0]))


def _figure(value: float, low: float, high: float) -> dict[str, float | None]:
    numbers = {"value": value, "low": low, "high": high}
    return {name: number if np.isfinite(number) else None for name, number in numbers.items()}
