"""Calibration: do events predicted with probability 0.8 happen in 80 % of cases? And temperature scaling."""

from __future__ import annotations

import math

import numpy as np
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from torch import Tensor

BINS = 15
WIDEST = 3.0  # |log T| searched: temperatures from 1/20 to 20
SPREAD = 0.5  # of log T, before any image is seen


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Find T > 0 that minimizes the NLL of softmax or sigmoid of `logits` / T (Guo et al. 2017, section 4.2).

    logits (n, C) and labels (n,) in 0..C-1, or logits (n,) and labels (n,) in {0, 1}. T > 1 softens, T < 1
    sharpens; the order of an image's logits and their signs stay, so argmax and "above 0.5" decide as before.

    log T has a normal prior of standard deviation 1/2, worth two nats at T = e: it decides where the split
    says little. Without it a split without a single error has T -> 0, and all probabilities are 0 or 1. T is
    1 without images, and the NLL is never above that of T = 1. Deterministic.
    """
    if len(labels) == 0:
        return 1.0
    logits = logits.double()

    def loss(log_t: float) -> float:
        return len(labels) * nll(logits * math.exp(-log_t), labels) + (log_t / SPREAD) ** 2 / 2

    # NLL is convex in 1 / T, but with the prior it may have two minima: a coarse grid finds the lower.
    grid = np.linspace(-WIDEST, WIDEST, 61)
    best = int(np.argmin([loss(u) for u in grid]))
    bounds = (grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)])
    found = float(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-7}).x)  # pyright: ignore[reportAttributeAccessIssue]
    return math.exp(found) if loss(found) < loss(0.0) else 1.0


def nll(logits: Tensor, labels: Tensor) -> float:
    """Mean negative log-likelihood, in nats; shapes as in `fit_temperature`."""
    if logits.ndim == 2:
        return float(F.cross_entropy(logits, labels.long()))
    return float(F.binary_cross_entropy_with_logits(logits, labels.to(logits)))


def ece(probs: np.ndarray, came_true: np.ndarray, *, bins: int = BINS) -> float:
    """Expected calibration error in [0, 1]: mean |frequency - mean probability| over bins of equal width.

    Bins are weighted by their counts. probs (n,) in [0, 1], came_true (n,) 0 or 1, n > 0.
    """
    gaps = np.bincount(_bin_of(probs, bins), weights=came_true - probs, minlength=bins)
    return float(np.abs(gaps).sum() / len(probs))


def adaptive_ece(probs: np.ndarray, came_true: np.ndarray, *, bins: int = BINS) -> float:
    """`ece` over bins of equal counts, which resolve better if most probabilities are near 0 or 1."""
    order = np.argsort(probs, kind="stable")
    parts = np.array_split((came_true - probs)[order], min(bins, len(probs)))
    return float(sum(abs(part.sum()) for part in parts) / len(probs))


def reliability(
    probs: np.ndarray, came_true: np.ndarray, *, bins: int = BINS
) -> dict[str, list[float | None]]:
    """Return the numbers of a reliability diagram with bins of equal width: {count, predicted, observed}.

    `predicted` is the mean probability and `observed` the frequency in a bin; None in an empty bin.
    """
    index = _bin_of(probs, bins)
    count = np.bincount(index, minlength=bins)

    def mean(values: np.ndarray) -> list[float | None]:
        sums = np.bincount(index, weights=values, minlength=bins)
        return [float(total / n) if n else None for total, n in zip(sums, count, strict=True)]

    return {"count": count.tolist(), "predicted": mean(probs), "observed": mean(came_true)}


def calibration(logits: Tensor, labels: Tensor) -> dict[str, object]:
    """Return {ece, adaptive_ece, nll, reliability} of one head, None if empty; shapes as `fit_temperature`.

    Of a softmax the probability of its first choice counts, which comes true where the choice is right.
    """
    if len(labels) == 0:
        return {"ece": None, "adaptive_ece": None, "nll": None, "reliability": None}
    logits = logits.double()
    if logits.ndim == 2:
        highest, choice = logits.softmax(dim=1).max(dim=1)
        probs, came_true = highest.numpy(), (choice == labels).double().numpy()
    else:
        probs, came_true = logits.sigmoid().numpy(), labels.double().numpy()
    return {
        "ece": ece(probs, came_true),
        "adaptive_ece": adaptive_ece(probs, came_true),
        "nll": nll(logits, labels),
        "reliability": reliability(probs, came_true),
    }


def _bin_of(probs: np.ndarray, bins: int) -> np.ndarray:
    """(n,) index of the bin; its lower edge belongs to a bin, and 1 to the last."""
    return np.digitize(probs, np.linspace(0, 1, bins + 1)[1:-1])
