"""How straight a trajectory is: cosines between directions in latent space, and path length over chord.

`neutral` is the neutral latent z_0 of a seed, any shape (...); `trajectory` (K, ...) its latents at
`swap_steps` (K,), in any order; both on the CPU. The weakest edit is the largest swap step.
Computed in float64.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def direction_cosines(
    neutral: ArrayLike,
    trajectory: ArrayLike,
    swap_steps: Sequence[int],
    *,
    reference: Literal["strongest", "weakest"] = "strongest",
) -> Array:
    """cos( z_ref - z_0, z_s - z_0 ) of every swap step s: (K,) in [-1, 1], in the order of `swap_steps`.

    'weakest' takes the latest swap as z_ref, as the paper does (1.0 there, falling toward early swaps);
    'strongest' the earliest. NaN where a latent equals the neutral one: a zero vector has no direction.
    Source: the paper, cosine similarity of trajectory directions; poster, figure 6.
    """
    offsets = _offsets(neutral, trajectory, swap_steps)
    pick = {"strongest": np.argmin, "weakest": np.argmax}[reference]
    return _cosine(offsets[pick(np.asarray(swap_steps))], offsets)


def consecutive_cosines(neutral: ArrayLike, trajectory: ArrayLike, swap_steps: Sequence[int]) -> Array:
    """Cosine between each step of the path and the next: (K-1,), from the weak end to the strong end.

    The path runs z_0 -> weakest -> ... -> strongest. 1 everywhere is a straight line; NaN where a step has
    length 0.
    """
    steps = _path_steps(neutral, trajectory, swap_steps)
    return _cosine(steps[:-1], steps[1:])


def path_over_chord(neutral: ArrayLike, trajectory: ArrayLike, swap_steps: Sequence[int]) -> float:
    """sum_k |z_k - z_{k-1}| / |z_K - z_0| along z_0 -> weakest -> ... -> strongest: >= 1, 1 if straight.

    NaN where the strongest latent equals the neutral one.
    """
    steps = _path_steps(neutral, trajectory, swap_steps)
    chord = float(np.linalg.norm(steps.sum(axis=0)))
    return float(np.linalg.norm(steps, axis=1).sum() / chord) if chord > 0 else float("nan")


def _offsets(neutral: ArrayLike, trajectory: ArrayLike, swap_steps: Sequence[int]) -> Array:
    z_0, z = np.asarray(neutral, dtype=np.float64), np.asarray(trajectory, dtype=np.float64)
    if z.shape != (len(swap_steps), *z_0.shape) or len(swap_steps) == 0:
        raise ValueError(f"trajectory must be ({len(swap_steps)}, *{z_0.shape}), K >= 1; got {z.shape}")
    return (z - z_0).reshape(len(z), -1)  # (K, d)


def _path_steps(neutral: ArrayLike, trajectory: ArrayLike, swap_steps: Sequence[int]) -> Array:
    offsets = _offsets(neutral, trajectory, swap_steps)
    weakest_first = np.argsort(swap_steps)[::-1]
    return np.diff(offsets[weakest_first], axis=0, prepend=np.zeros_like(offsets[:1]))  # (K, d)


def _cosine(a: Array, b: Array) -> Array:
    """(..., d) and (K, d) -> (K,); NaN where a norm is zero."""
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return np.where(norms > 0, (a * b).sum(axis=-1) / np.where(norms > 0, norms, 1), np.nan).clip(-1, 1)
