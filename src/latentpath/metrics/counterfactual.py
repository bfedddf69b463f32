"""Figures of edited images beside CFRT: MNAC, the mean number of attributes changed, and absolute dominance.

MNAC is from other papers on counterfactual images. Their CD (correlation difference) is left out: it
correlates the change of the attribute with those of others, which is undefined for an edit that always works,
because its change does not vary.

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


def moved_most(neutral: ArrayLike, edited: ArrayLike, attribute: int) -> Array:
    """Say whether the score moves most, up or down, of all heads on the same image: (S, P), 0 or 1.

        1[ |f_A(x_p) - f_A(x_0)| > |f_j(x_p) - f_j(x_0)| for every head j != A ]

    This is another reading of the first condition of the poster's CFRT, which compares edits there; the
    released CFRT compares heads too, but by how far they rise, over all positions. Further readings are
    excluded by the poster's own table: they would make the rates of all attributes sum to at most 1, and its
    row of melanoma sums to 3.23. NaN if a score is missing or there is one head.
    """
    change = np.abs(np.asarray(edited, np.float64) - np.asarray(neutral, np.float64)[:, None])
    others = np.delete(change, attribute, axis=-1)
    if others.shape[-1] == 0:
        return np.full(change.shape[:-1], np.nan)
    most = change[..., attribute] > others.max(axis=-1)
    return np.where(np.isnan(change).any(axis=-1), np.nan, most)
