"""A figure from other papers on counterfactual images: MNAC, the mean number of attributes changed.

Their CD (correlation difference) is left out: it correlates the change of the attribute with those of others,
which is undefined for an edit that always works, because its change does not vary.

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
