"""Curves through latents: each frame is a weighted sum of the stored latents, so a method defines weights.

`points` is (K+1, ...): [neutral, weakest swap, ..., strongest swap]; `t` (F,) is in [0, 1]. A method computes
weights (F, K+1). The curve is weights @ points, (F, ...), in the dtype and on the device of `points`,
computed in float64 to avoid errors from TF32 and from high degrees. At t = 0 and t = 1 it equals the first
and last point exactly. Raises ValueError for fewer than 2 points or t outside [0, 1].
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.interpolate import CubicSpline
from scipy.stats import binom
from torch import Tensor

# |cos| above which the great circle through two directions is ill-conditioned (or, if opposite, not unique)
_PARALLEL = 0.9995
# Chords per piece between two points, for summing a curve's length; frames are then even to 0.1 %.
_CHORDS = 1024

# flat (K+1, D) float64, t (F,) -> weights (F, K+1)
_Weigh = Callable[[Tensor, np.ndarray], np.ndarray]


def interpolate(method: str, points: Tensor, frames: int, *, arc_length: bool = False) -> Tensor:
    """Return `frames` points of a curve, from the neutral latent to the strongest swap: (frames, ...).

    They are evenly spaced in t or, with `arc_length`, along the length of the curve (within 0.1 %), so that
    neighbouring frames are equally far apart in latent space. A curve of length zero is evenly spaced in t.
    Raises ValueError for a method outside METHODS or fewer than 2 frames.
    """
    if method not in _WEIGHTS:
        raise ValueError(f"unknown interpolation '{method}'; one of {', '.join(METHODS)}")
    if frames < 2:
        raise ValueError(f"an interpolation has at least 2 frames, got {frames}")
    t = np.linspace(0.0, 1.0, frames)
    if arc_length:
        t = _at_lengths(_WEIGHTS[method], points, t)
    return _curve(_WEIGHTS[method], points, t)


def bezier(points: Tensor, t: ArrayLike) -> Tensor:
    """B(t) = sum_k C(K, k) t^k (1 - t)^(K - k) P_k, of degree K, through the first and last point only.

    It is stable at any degree, because the weights are binomial probabilities: positive with sum 1.
    Source: the paper, degree 9 over the final latents [neutral, swap 45, ..., 5], 50 frames.
    """
    return _curve(_bezier, points, t)


def cubic(points: Tensor, t: ArrayLike) -> Tensor:
    """The natural cubic spline through all points, each piece over an equal share of t.

        S(k / K) = P_k,   S, S', S'' continuous,   S''(0) = S''(1) = 0

    It is the smoothest curve through the points (least integral of |S''|^2). Some weights are negative, so it
    may overshoot the points. Through 2 points it is straight.
    Source: de Boor 1978, A Practical Guide to Splines.
    """
    return _curve(_cubic, points, t)


def slerp(points: Tensor, t: ArrayLike) -> Tensor:
    """Great-circle segments through all points, each over an equal share of t.

        slerp(p, q; u) = [ sin((1 - u) w) p + sin(u w) q ] / sin w,   w = angle(p, q)

    over the flattened latents, without normalising them. A segment is straight if its ends are nearly
    parallel or opposite, or if one of them is zero. Source: Shoemake 1985.
    """
    return _curve(_slerp, points, t)


def lerp(points: Tensor, t: ArrayLike) -> Tensor:
    """Straight segments through all points, each over an equal share of t."""
    return _curve(_lerp, points, t)


def _bezier(flat: Tensor, t: np.ndarray) -> np.ndarray:
    degree = len(flat) - 1
    return binom.pmf(np.arange(degree + 1), degree, t[:, None])


def _cubic(flat: Tensor, t: np.ndarray) -> np.ndarray:
    last = len(flat) - 1
    unit = np.eye(last + 1)  # a spline is linear in its points, so splines of unit vectors are the weights
    weights = CubicSpline(np.arange(last + 1), unit, bc_type="natural")(t * last)
    weights[t == 1] = unit[last]  # the last piece's polynomial gives this only up to rounding
    return weights


def _slerp(flat: Tensor, t: np.ndarray) -> np.ndarray:
    norms = flat.norm(dim=1)
    cosines = (flat[:-1] * flat[1:]).sum(dim=1) / (norms[:-1] * norms[1:])  # (K,) NaN at a zero vector
    segment = np.minimum((t * len(cosines)).astype(int), len(cosines) - 1)
    cosine = cosines.cpu().numpy()[segment, None]  # (F, 1)
    straight = ~(np.abs(cosine) <= _PARALLEL)  # NaN counts as straight
    angle = np.arccos(np.where(straight, 0.0, cosine))
    shares = _lerp(flat, t)  # 1 - u and u at the ends of the segment, 0 elsewhere
    return np.where(straight, shares, np.sin(shares * angle) / np.sin(angle))


def _lerp(flat: Tensor, t: np.ndarray) -> np.ndarray:
    k = np.arange(len(flat))
    return np.maximum(1 - np.abs(t[:, None] * k[-1] - k), 0)


_WEIGHTS: dict[str, _Weigh] = {"bezier": _bezier, "cubic": _cubic, "slerp": _slerp, "lerp": _lerp}
METHODS = tuple(_WEIGHTS)


def _curve(weigh: _Weigh, points: Tensor, t: ArrayLike) -> Tensor:
    flat, t = _flat(points), np.asarray(t, dtype=np.float64)
    if t.ndim != 1 or not ((t >= 0) & (t <= 1)).all():
        raise ValueError("t must be a vector of values in [0, 1]")
    mixed = torch.from_numpy(weigh(flat, t)).to(points.device) @ flat
    return mixed.to(points.dtype).reshape(len(t), *points.shape[1:])


def _at_lengths(weigh: _Weigh, points: Tensor, shares: np.ndarray) -> np.ndarray:
    """Return the t (F,) at which the curve has covered these shares (F,) of its length.

    A chord is dw @ points, of length sqrt(dw G dw^T) with the Gram matrix G. So once G is known, a chord
    costs (K+1)^2 operations, regardless of the size of a latent. Both use the basis [P_0, P_1 - P_0, P_2 -
    P_1, ...] instead of the points, so that latents with small differences lose no digits.
    """
    flat = _flat(points)
    basis = torch.diff(flat, dim=0, prepend=torch.zeros_like(flat[:1]))
    gram = (basis @ basis.T).cpu().numpy()  # (K+1, K+1)
    # a whole number of chords per piece, so that no chord cuts a corner
    t = np.linspace(0.0, 1.0, (len(flat) - 1) * max(_CHORDS, len(shares)) + 1)
    weights = weigh(flat, t)[:, ::-1].cumsum(axis=1)[
        :, ::-1
    ]  # P_k is the sum of all basis vectors up to the k-th
    dw = np.diff(weights, axis=0)  # (chords, K+1)
    lengths = np.sqrt(np.maximum(((dw @ gram) * dw).sum(axis=1), 0))
    behind = np.concatenate([[0.0], lengths.cumsum()])
    if not 0 < behind[-1] < np.inf:  # the points are all equal, or not finite
        return shares
    found = np.interp(shares * behind[-1], behind, t)
    found[0] = 0  # even if the curve does not move at first
    return found


def _flat(points: Tensor) -> Tensor:
    if len(points) < 2:
        raise ValueError(f"a curve needs at least 2 points, got {len(points)}")
    return points.reshape(len(points), -1).double()
