"""Hard labels of a classifier head, and whether an edit flips them."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def hard_label(scores: ArrayLike, threshold: float = 0.5) -> Array:
    """Return 1 for scores above the threshold, else 0; NaN stays NaN. Same shape."""
    scores = np.asarray(scores, dtype=np.float64)
    return np.where(np.isnan(scores), np.nan, scores > threshold)


def flipped(neutral: ArrayLike, edited: ArrayLike, threshold: float = 0.5) -> Array:
    """Return whether images flip: absent on neutral (S,), present on edited (S, P); 0, 1 or NaN."""
    return (1 - hard_label(neutral, threshold))[:, None] * hard_label(edited, threshold)
