"""Figures from other papers on counterfactual images: MNAC and CD.

Arrays: neutral (S, H) and edited (S, P, H), scores of H heads on the original images and on P edits of each
toward one attribute; NaN if there is none.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latentpath.metrics.flips import hard_label

Array = NDArray[np.float64]


def attributes_changed(neutral: ArrayLike, edited: ArrayLike, threshold: float = 0.5) -> Array:
    """Count the attributes with another decision on the edited than on the original image: (S, P) in 0..H.

    The mean is MNAC, the mean number of attributes changed: the attribute that was asked for counts too, so
    that 1 is what a faithful edit gives and 0 an edit that does nothing. NaN if a score is missing.
    Source: Jeanneret, Simon and Jurie 2022, DiME, with their code; Rodriguez et al. 2021.
    """
    before, after = hard_label(neutral, threshold), hard_label(edited, threshold)
    changed = before[:, None] != after
    missing = np.isnan(before)[:, None] | np.isnan(after)
    return np.where(missing.any(axis=-1), np.nan, changed.sum(axis=-1))


def correlation_difference(
    neutral: ArrayLike, edited: ArrayLike, labels: ArrayLike, attribute: int, threshold: float = 0.5
) -> float:
    """CD: difference between the correlations of an edit's changes and the correlations of the data's labels.

        CD_A = sum_h | corr( delta_A, delta_h ) - corr( label_A, label_h ) |,   in [0, 2 (H - 1)]
        delta_h = decision of head h on the edited image - decision on its original, in {-1, 0, 1}

    `labels` (n, H): labels 0, 1 or NaN of real images; each pair of heads uses the images that have both
    labels. CD is 0 if attributes change together as often as they occur together. So an edit that changes A
    alone has the CD of the data's own correlations, not 0. A head that never changes and a label that never
    varies have correlation 0. NaN if no image has all scores, or if A itself never changes. Source:
    Jeanneret, Simon and Jurie 2022, DiME, with their code.
    """
    before, after = hard_label(neutral, threshold), hard_label(edited, threshold)
    change = (after - before[:, None]).reshape(-1, before.shape[-1])  # (S P, H)
    change = change[np.isfinite(change).all(axis=1)]
    if not len(change) or np.ptp(change[:, attribute]) == 0:
        return float("nan")
    true = np.asarray(labels, dtype=np.float64)
    others = [h for h in range(before.shape[-1]) if h != attribute]
    return float(
        sum(
            abs(
                _correlation(change[:, attribute], change[:, h])
                - _correlation(true[:, attribute], true[:, h])
            )
            for h in others
        )
    )


def _correlation(a: Array, b: Array) -> float:
    """Return Pearson's correlation over rows with both values; 0 if one of them does not vary."""
    both = np.isfinite(a) & np.isfinite(b)
    a, b = a[both], b[both]
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])
