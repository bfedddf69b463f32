"""Shares of generated images with an attribute, corrected for the judge's errors.

A judge that misses a third of all hairs measures too low a share of images with hair. Two corrections are
here: by the judge's errors on labelled images (Rogan and Gladen), and by human labels of a few of the
generated images (prediction-powered inference).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A share with its interval, all in [0, 1]; NaN with a `reason` where it is undefined."""

    value: float
    low: float = float("nan")
    high: float = float("nan")
    reason: str = ""


def rogan_gladen(share: ArrayLike, sensitivity: ArrayLike, specificity: ArrayLike) -> Array:
    """Return the true share of images with the attribute, from the share that the judge reports.

        pi = ( share + specificity - 1 ) / ( sensitivity + specificity - 1 ),   clipped to [0, 1]

    Arrays in [0, 1] of shapes that broadcast. NaN if sensitivity + specificity <= 1: such a judge does
    not tell the images apart.
    Source: Rogan and Gladen 1978.
    """
    p, se, sp = np.broadcast_arrays(
        *(np.asarray(x, dtype=np.float64) for x in (share, sensitivity, specificity))
    )
    informative = se + sp > 1 + 1e-12
    corrected = (p + sp - 1) / np.where(informative, se + sp - 1, 1)
    return np.where(informative, corrected.clip(0, 1), np.nan)


def corrected_share(
    shares: ArrayLike,
    decisions: ArrayLike,
    labels: ArrayLike,
    groups: Sequence[Any] | None = None,
    *,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """Return `rogan_gladen` of generated images, with an interval for the errors of both samples.

    shares (S,): of each seed, the share of its images that the judge says have the attribute. decisions,
    labels (m,) of 0, 1 or NaN: what the judge says of held-out images, decoded by the same VAE, and what
    they are. `groups` (m,): the patient or lesion of each, its own by default. Each resample draws seeds
    and groups, both with replacement, and computes sensitivity, specificity and share anew; the interval is
    the percentiles of the corrected shares. Undefined without held-out images of both kinds, for a judge no
    better than chance, and with fewer than two seeds; resamples without images of both kinds are left out.
    Source: Lang and Reiczigel 2014, for the error of both samples; here by bootstrap, since images come in
    groups.
    """
    values = np.asarray(shares, dtype=np.float64)
    values = values[np.isfinite(values)]
    said, true = np.asarray(decisions, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    members = (
        np.arange(len(true)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    )
    known = np.isfinite(said) & np.isfinite(true)
    said, true, members = said[known], true[known], members[known]
    for kind, name in ((1, "with"), (0, "without")):
        if not (true == kind).any():
            return Estimate(np.nan, reason=f"no labelled held-out images {name} the attribute")
    if len(values) < 2:
        return Estimate(np.nan, reason="fewer than two seeds have a score")
    number = members.max() + 1
    # per group: images with the attribute, of them found; images without, of them rightly passed
    columns = np.stack([true == 1, (true == 1) & (said == 1), true == 0, (true == 0) & (said == 0)])
    counts = np.stack([np.bincount(members, column, minlength=number) for column in columns])  # (4, G)
    counts = counts[:, counts.sum(axis=0) > 0]
    value = float(
        rogan_gladen(values.mean(), counts[1].sum() / counts[0].sum(), counts[3].sum() / counts[2].sum())
    )
    if np.isnan(value):
        return Estimate(value, reason="the judge is no better than chance on held-out images")
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(counts.shape[1], np.full(counts.shape[1], 1 / counts.shape[1]), size=resamples)
    totals = drawn @ counts.T  # (resamples, 4)
    both = (totals[:, 0] > 0) & (totals[:, 2] > 0)
    means = values[rng.integers(len(values), size=(resamples, len(values)))].mean(axis=1)
    again = rogan_gladen(means[both], totals[both, 1] / totals[both, 0], totals[both, 3] / totals[both, 2])
    again = again[np.isfinite(again)]
    if len(again) < resamples / 2:
        return Estimate(value, reason="most resamples of the held-out images lack one kind")
    low, high = np.quantile(again, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(low), float(high))


def prediction_powered(
    predicted: ArrayLike,
    labelled: ArrayLike,
    truth: ArrayLike,
    *,
    unit: float = 1.0,
    level: float = 0.95,
) -> Estimate:
    """Estimate a mean over many classifier-judged images, some of which a human also labelled.

        theta = lambda mean_N(f) + mean_m( Y - lambda f )
        lambda = cov_m(Y, f) / ( (1 + m / N) var(f) ),  in [0, 1]
        var   = lambda^2 var_N(f) / N + v_m( Y - lambda f ) / m
        v_m(d) = max( var_m(d), 2 unit^2 / (m + 1) )

    `predicted` (N,): f, the classifier's scores or decisions of generated images without a human label;
    `labelled` (m,): f of those with one; `truth` (m,): their human labels Y, 0 or 1. Entries are
    independent: give one a seed (its mean), not one an image. `unit` is the least difference of two entries'
    labels, 1 for a single image. v_m is at least the variance of m seeds without a mistake and two that
    differ by `unit`: no mistake in m images does not promise that the classifier makes none. lambda is 0 for
    a useless classifier and without other images (N < 2), and theta then the mean of the labels alone; for a
    perfect one it is near 1. Unlike Rogan-Gladen, it needs no real images and no equal error on real and
    generated ones. The interval is Student's, m - 1 degrees of freedom, clipped to [0, 1]. Undefined for
    m < 2.
    Measured coverage: experiments/interval_coverage.
    Source: Angelopoulos, Duchi and Zrnic 2023, PPI++.
    """
    f, g, y = (np.asarray(x, dtype=np.float64) for x in (predicted, labelled, truth))
    if g.shape != y.shape or f.ndim != 1 or y.ndim != 1:
        raise ValueError(
            f"predictions are (N,), labelled and truth (m,); got {f.shape}, {g.shape}, {y.shape}"
        )
    f, both = f[np.isfinite(f)], np.isfinite(g) & np.isfinite(y)
    g, y = g[both], y[both]
    n, m = len(f), len(y)
    if m < 2:
        return Estimate(np.nan, reason=f"labelled seeds: {m}, expected two or more")
    spread = np.concatenate([f, g]).var(ddof=1)
    weight = float(np.cov(y, g)[0, 1] / ((1 + m / n) * spread)) if n > 1 and spread > 0 else 0.0
    weight = min(max(weight, 0.0), 1.0)
    rest = y - weight * g
    theta = rest.mean() + (weight * f.mean() if weight else 0.0)
    variance = max(rest.var(ddof=1), 2 * unit**2 / (m + 1))
    error = np.sqrt(variance / m + (weight**2 * f.var(ddof=1) / n if weight else 0.0))
    half = stats.t.ppf((1 + level) / 2, m - 1) * error
    value, low, high = (float(np.clip(x, 0, 1)) for x in (theta, theta - half, theta + half))
    return Estimate(value, low, high)
