"""Curves through latents: Bezier, slerp and lerp over control points, neutral first, strongest swap last.

`points` is (K+1, ...): [neutral, weakest swap, ..., strongest swap]; `t` (F,) in [0, 1]. Every function
returns (F, ...) in the dtype and on the device of `points`, computed in float64 so that neither TF32 nor a
high degree shows. ValueError for fewer than 2 points or t outside [0, 1].
"""

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.special import gammaln, xlog1py, xlogy
from torch import Tensor

METHODS = ("bezier", "slerp", "lerp")

# |cos| above which the great circle through two directions is ill-conditioned (or, if opposite, not unique)
_PARALLEL = 0.9995


def interpolate(method: str, points: Tensor, frames: int) -> Tensor:
    """`frames` points of a curve, t = linspace(0, 1, frames): (frames, ...); frame 0 is the neutral latent.

    Raises ValueError for a method outside METHODS or fewer than 2 frames.
    """
    curves = {"bezier": bezier, "slerp": slerp, "lerp": lerp}
    if method not in curves:
        raise ValueError(f"unknown interpolation '{method}'; one of {', '.join(METHODS)}")
    if frames < 2:
        raise ValueError(f"an interpolation has at least 2 frames, got {frames}")
    return curves[method](points, np.linspace(0.0, 1.0, frames))


def bezier(points: Tensor, t: ArrayLike) -> Tensor:
    """B(t) = sum_k C(K, k) t^k (1 - t)^(K - k) P_k, of degree K: meets the first and last point only.

    Stable at any degree in use: the weights are positive, sum to 1 and come from logarithms.
    Source: the paper, degree 9 over the final latents [neutral, swap 45, ..., 5], 50 frames.
    """
    t = _parameters(points, t)
    degree = len(points) - 1
    k = np.arange(degree + 1)
    log_binomial = gammaln(degree + 1) - gammaln(k + 1) - gammaln(degree - k + 1)
    weights = np.exp(log_binomial + xlogy(k, t[:, None]) + xlog1py(degree - k, -t[:, None]))  # (F, K+1)
    return _weighted(points, weights)


def lerp(points: Tensor, t: ArrayLike) -> Tensor:
    """Straight segments through all points, each over an equal share of t."""
    t = _parameters(points, t)
    segment, local = _segments(t, len(points) - 1)
    weights = np.zeros((len(t), len(points)))
    weights[np.arange(len(t)), segment] = 1 - local
    weights[np.arange(len(t)), segment + 1] += local
    return _weighted(points, weights)


def slerp(points: Tensor, t: ArrayLike) -> Tensor:
    """Great-circle segments through all points, each over an equal share of t.

        slerp(p, q; u) = [ sin((1 - u) w) p + sin(u w) q ] / sin w,   w = angle(p, q)

    over the flattened latents, norms kept as they are. A segment whose ends are nearly parallel or opposite,
    or where one is zero, is straight.
    Source: Shoemake 1985.
    """
    t = _parameters(points, t)
    segment, local = _segments(t, len(points) - 1)
    flat = points.reshape(len(points), -1).double()
    norms = flat.norm(dim=1)
    cosines = (flat[:-1] * flat[1:]).sum(dim=1) / (norms[:-1] * norms[1:])  # (K,) NaN at a zero vector
    cosine = cosines.cpu().numpy()[segment]  # (F,)
    straight = ~(np.abs(cosine) <= _PARALLEL)  # so that NaN is straight
    angle = np.arccos(np.where(straight, 0.0, cosine))
    weights = np.zeros((len(t), len(points)))
    rows = np.arange(len(t))
    weights[rows, segment] = np.where(straight, 1 - local, np.sin((1 - local) * angle) / np.sin(angle))
    weights[rows, segment + 1] = np.where(straight, local, np.sin(local * angle) / np.sin(angle))
    return _weighted(points, weights)


def _parameters(points: Tensor, t: ArrayLike) -> np.ndarray:
    t = np.asarray(t, dtype=np.float64)
    if len(points) < 2:
        raise ValueError(f"a curve needs at least 2 points, got {len(points)}")
    if t.ndim != 1 or not ((t >= 0) & (t <= 1)).all():
        raise ValueError("t must be a vector of values in [0, 1]")
    return t


def _segments(t: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Which of `count` equal segments each t lies in, and where in it: (F,) int, (F,) in [0, 1]."""
    segment = np.minimum((t * count).astype(int), count - 1)
    return segment, t * count - segment


def _weighted(points: Tensor, weights: np.ndarray) -> Tensor:
    """weights (F, K+1), points (K+1, ...) -> (F, ...)"""
    flat = points.reshape(len(points), -1).double()
    mixed = torch.from_numpy(weights).to(points.device) @ flat
    return mixed.to(points.dtype).reshape(len(weights), *points.shape[1:])
