"""Conformal p-values: how unusual a score is among the scores of images that cannot be copies.

The rule "lower than every held-out image" gives false alarms: among n ordinary images and m held-out ones,
one of the n is the lowest with probability n / (n + m). Instead each seed gets one p-value, for the lowest
score of all its images, and the procedure of Benjamini and Hochberg bounds the share of false alarms among
the seeds that it names.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

Array = NDArray[np.float64]


def lowest_score_p(lowest: ArrayLike, images: ArrayLike, held_out: ArrayLike) -> Array:
    """Return a p-value per seed: the chance that as many ordinary images have a lowest score ranking as low.

        p_s = 1 - C(m + n_s - k_s - 1, n_s) / C(m + n_s, n_s),   k_s = #{ held-out score <= lowest_s }

    `lowest` (S,) is the lowest score over the n_s = `images` (S,) images of a seed, `held_out` (m,) the
    scores of m images that cannot be copies. If the images of a seed were exchangeable with them, the
    chance that none of the k + 1 lowest of all m + n is the seed's is the ratio of the binomials. For n = 1
    it is the usual (1 + k) / (1 + m). The images of one seed resemble each other, so that their minimum is
    higher than that of as many independent ones: p then errs on the side of no alarm. No p is below n / (m
    + n): few held-out images can name no seed.
    Returns (S,) in (0, 1]. Raises ValueError without held-out scores or images.
    Sources: Vovk, Gammerman and Shafer 2005; Bates et al. 2023, Testing for outliers with conformal p-values.
    """
    low, n = np.asarray(lowest, dtype=np.float64), np.asarray(images, dtype=np.float64)
    others = np.sort(np.asarray(held_out, dtype=np.float64))
    if not len(others) or (n < 1).any() or low.shape != n.shape:
        raise ValueError(
            f"give held-out scores (here {len(others)}) and one image or more for each lowest score"
        )
    m, k = len(others), np.searchsorted(others, low, side="right")
    free = np.maximum(m - k, 1)  # C(m + n - k - 1, n) is 0 for k = m
    log_ratio = gammaln(free + n) - gammaln(free) - gammaln(m + n + 1) + gammaln(m + 1)
    return np.where(k < m, -np.expm1(log_ratio), 1.0)


def benjamini_hochberg(p: ArrayLike) -> Array:
    """Adjust p-values: naming all with q <= alpha bounds the expected share of false names by alpha.

        q_(i) = min_{j >= i} min( 1, p_(j) N / j ),   p_(1) <= ... <= p_(N)

    p (N,), in any order; q in the same. It holds for independent p-values and for conformal ones that share
    their held-out scores.
    Sources: Benjamini and Hochberg 1995; Bates et al. 2023.
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values)
    scaled = values[order] * len(values) / np.arange(1, len(values) + 1)
    q = np.empty_like(values)
    q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1)
    return q
