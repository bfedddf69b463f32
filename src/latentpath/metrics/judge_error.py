"""Shares of generated images with an attribute, corrected for the judge's errors.

A judge that misses a third of all hairs measures too low a share of images with hair. Two corrections are
here: by the judge's errors on labelled images (Rogan and Gladen), and by human labels of a few of the
generated images (prediction-powered inference).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from latentpath.metrics.intervals import effective_samples, least_error

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
    groups: Sequence[object] | None = None,
    *,
    level: float = 0.95,
) -> Estimate:
    """Return `rogan_gladen` of generated images, with an interval for the errors of both samples.

        value = rogan_gladen(p, se, sp)
        ends  = pi + d -+ z sqrt( p (1 - p) / n + pi^2 se (1 - se) / m1 + (1 - pi)^2 sp (1 - sp) / m0 ) / j
        j     = se + sp - 1,   pi = (p + sp - 1) / j
        d     = 2 z^2 ( pi se (1 - se) / m1 - (1 - pi) sp (1 - sp) / m0 )

    shares (S,): of each seed, the share p of its images that the judge says have the attribute. decisions,
    labels (m,) of 0, 1 or NaN: what the judge says of held-out images, decoded by the same VAE, and what
    they are. `groups` (m,): the patient or lesion of each, its own by default. In the interval p is moved
    toward 1/2 by z^2 further images, se and sp by two each, which n, m1 and m0 include; these are the
    numbers of independent images that seeds and groups are worth (`intervals.effective_samples`). The ends
    are clipped to [0, 1]. There is no interval if it lies outside: the judge then errs on generated images
    in another way than on real ones. The share is undefined without held-out images of both kinds, for a
    judge no better than chance, and with fewer than two seeds.
    Measured coverage: experiments/interval_coverage. A bootstrap of both samples covered 0.10 to 1.00, for
    it promises certainty where all seeds agree.
    Source: Lang and Reiczigel 2014.
    """
    values = np.asarray(shares, dtype=np.float64)
    values = values[np.isfinite(values)]
    said, true = np.asarray(decisions, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    members = np.arange(len(true)) if groups is None else np.asarray(groups)
    known = np.isfinite(said) & np.isfinite(true)
    right, counts = {}, {}
    for kind, name in ((1, "with"), (0, "without")):
        of_kind = known & (true == kind)
        if not of_kind.any():
            return Estimate(np.nan, reason=f"no labelled held-out images {name} the attribute")
        right[kind], counts[kind] = _by_group(said[of_kind] == kind, members[of_kind])
    if len(values) < 2:
        return Estimate(np.nan, reason="fewer than two seeds have a score")
    se, sp = (float(right[kind] @ counts[kind] / counts[kind].sum()) for kind in (1, 0))
    p, value = float(values.mean()), float(rogan_gladen(values.mean(), se, sp))
    if np.isnan(value):
        return Estimate(value, reason="the judge is no better than chance on held-out images")
    z = float(stats.norm.ppf((1 + level) / 2))
    n, m1, m0 = (
        float(effective_samples(v[:, None], w[:, None], level=level)[0])
        for v, w in ((values, np.ones_like(values)), (right[1], counts[1]), (right[0], counts[0]))
    )
    p, n = (n * p + z**2 / 2) / (n + z**2), n + z**2
    (se, m1), (sp, m0) = (((m * rate + 1) / (m + 2), m + 2) for rate, m in ((se, m1), (sp, m0)))
    j = se + sp - 1
    if j <= 0:
        return Estimate(value, reason="too few held-out images to tell the judge from chance")
    pi, spread1, spread0 = (p + sp - 1) / j, se * (1 - se) / m1, sp * (1 - sp) / m0
    centre = pi + 2 * z**2 * (pi * spread1 - (1 - pi) * spread0)
    half = z * np.sqrt(p * (1 - p) / n + pi**2 * spread1 + (1 - pi) ** 2 * spread0) / j
    if centre - half > 1 or centre + half < 0:
        return Estimate(value, reason="the judge's errors on real images do not explain what it says here")
    low, high = (float(np.clip(end, 0, 1)) for end in (centre - half, centre + half))
    return Estimate(value, low, high)


def _by_group(right: NDArray[np.bool_], groups: np.ndarray) -> tuple[Array, Array]:
    """Return the share of right decisions of each group, and how many there are, (G,) each."""
    _, members = np.unique(groups, return_inverse=True)
    counts = np.bincount(members).astype(np.float64)
    return np.bincount(members, right) / counts, counts


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
        half  = max over both ways to know the second part of
                q sqrt( lambda^2 var_N(f) / N + error^2 )
                error = sd_m( Y - lambda f ) / sqrt(m),  q Student's t, m - 1 degrees of freedom
                error = intervals.least_error(m, unit),  q normal

    `predicted` (N,): f, the classifier's scores or decisions of generated images without a human label;
    `labelled` (m,): f of those with one; `truth` (m,): their human labels Y, 0 or 1. Entries are
    independent: give one a seed (its mean), not one an image. `unit` is the least difference of two entries'
    labels, 1 for a single image: no mistake in m images does not promise that the classifier makes none.
    lambda is 0 for a useless classifier and without other images (N < 2), and theta is then the mean of the
    labels alone; for a perfect classifier lambda is near 1. Unlike Rogan-Gladen, this needs no real images
    and no equal error on real and generated ones. The ends are clipped to [0, 1]. Undefined for m < 2.
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
    of_judge = weight**2 * f.var(ddof=1) / n if weight else 0.0
    half = max(
        quantile * np.sqrt(of_judge + error**2)
        for quantile, error in (
            (stats.t.ppf((1 + level) / 2, m - 1), rest.std(ddof=1) / np.sqrt(m)),
            (stats.norm.ppf((1 + level) / 2), float(least_error(m, unit))),
        )
    )
    value, low, high = (float(np.clip(x, 0, 1)) for x in (theta, theta - half, theta + half))
    return Estimate(value, low, high)
