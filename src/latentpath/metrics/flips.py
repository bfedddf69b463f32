"""Hard labels of a classifier head, and the positions along a trajectory where they flip."""

from collections.abc import Sequence
from typing import Literal

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


def flip_rate(neutral: ArrayLike, edited: ArrayLike, *, threshold: float = 0.5) -> Array:
    """Return the fraction of seeds that flip from absent (neutral) to present, at each position.

    neutral (S,) and edited (S, P): scores of head A on the neutral images and on the images toward A.
    Returns (P,). Seeds without a score are left out at that position; NaN if no seed is left. A seed
    whose neutral image already shows A counts as not flipped.
    """
    flips = flipped(neutral, edited, threshold)
    decided = np.isfinite(flips).sum(axis=0)
    return np.where(decided > 0, np.nansum(flips, axis=0) / np.maximum(decided, 1), np.nan)


def flip_step(
    neutral: ArrayLike,
    edited: ArrayLike,
    positions: Sequence[int],
    *,
    strongest: Literal["smallest", "largest"] = "smallest",
    threshold: float = 0.5,
) -> Array:
    """Return each seed's weakest edit from which A is present all the way to the strong end.

    neutral (S,), edited (S, P), positions (P,): swap steps (strongest is the smallest) or frames (the
    largest). Returns (S,) positions; NaN if A is absent at the strong end, present on the neutral image,
    or a score is NaN.
    """
    order = np.argsort(positions)  # strongest first
    if strongest == "largest":
        order = order[::-1]
    flips = flipped(neutral, edited, threshold)
    holds = np.cumprod(flips[:, order], axis=1)  # NaN spreads, 0 stays 0
    steps = np.asarray(positions, dtype=np.float64)[order]
    last = np.nansum(holds, axis=1).astype(int) - 1  # index of the last position that still holds
    known = np.isfinite(holds).all(axis=1) & (last >= 0)
    return np.where(known, steps[np.maximum(last, 0)], np.nan)
