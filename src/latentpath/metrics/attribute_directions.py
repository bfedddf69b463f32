"""Attribute-specific directions: can the attribute of an edit be told from the direction in latent space?

If "hair" moves every seed's latent in one direction and "ruler" in another, the direction of a seed that was
left out identifies its attribute. This tests the poster's claim that trajectories in latent space are
specific to an attribute.

If "hair" moves every seed's latent the same way and "ruler" another way, the direction of a seed that was
not looked at names its attribute: the poster's claim that trajectories in latent space are specific to an
attribute.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Naming:
    """The result of naming A attributes from n seeds with a direction toward each; NaN if n < 2.

    confusion    (A, A) share of seeds whose edit toward i is named a
    by_attribute (A,) share rightly named, its diagonal
    accuracy     their mean, in [0, 1]
    null, p      mean accuracy with the seeds' labels exchanged, and how often it is at least as high
    per_seed     (n,) share of each seed's attributes rightly named, for intervals
    """

    confusion: Array
    by_attribute: Array
    accuracy: float
    null: float
    p: float
    n: int
    per_seed: Array


def name_attributes(directions: ArrayLike, *, permutations: int = 1000, seed: int = 0) -> Naming:
    """Leave one seed out, name its directions by the nearest mean direction of the other seeds.

        u_sA = d_sA / |d_sA|,   d_sA = z_s(edit toward A) - z_s(neutral)
        named(s, i) = argmax_A cos( u_si, sum_{r != s} u_rA )

    directions (S, A, ...) at one swap step, any latent shape. Seeds that lack a direction, or have one of
    length 0, are left out. Chance is 1 / A; `null` and `p` come from exchanging the labels within each
    seed, in the same way before means are taken, so that a direction common to all attributes helps nobody.
    Raises ValueError on fewer than two attributes.
    Source: nearest class mean; leave-one-out as in Hastie, Tibshirani and Friedman 2009, section 7.10.
    """
    d = np.asarray(directions, dtype=np.float64)
    if d.ndim < 3 or d.shape[1] < 2:
        raise ValueError(f"directions are (S, A, ...) with two attributes or more; got {d.shape}")
    count = d.shape[1]
    d = d.reshape(len(d), count, -1)
    length = np.linalg.norm(d, axis=2, keepdims=True)
    usable = (np.isfinite(length) & (length > 0)).all(axis=(1, 2))
    u = d[usable] / length[usable]
    n = len(u)
    if n < 2:
        no = float("nan")
        return Naming(np.full((count, count), no), np.full(count, no), no, no, no, n, np.full(n, no))
    flat = u.reshape(n * count, -1)
    gram = (flat @ flat.T).reshape(n, count, n, count)
    right = _named(gram) == np.arange(count)  # (n, A)
    named = _named(gram)[..., None] == np.arange(count)  # (n, A, A)
    rng = np.random.default_rng(seed)
    null = np.empty(permutations)
    rows = np.arange(n)[:, None]
    for k in range(permutations):
        order = rng.permuted(np.tile(np.arange(count), (n, 1)), axis=1)
        exchanged = gram[rows, order][:, :, rows, order]  # labels exchanged on both sides
        null[k] = (_named(exchanged) == np.arange(count)).mean()
    accuracy = float(right.mean())
    return Naming(
        confusion=named.mean(axis=0),
        by_attribute=right.mean(axis=0),
        accuracy=accuracy,
        null=float(null.mean()) if permutations else float("nan"),
        p=float((1 + (null >= accuracy - 1e-12).sum()) / (1 + permutations)),
        n=n,
        per_seed=right.mean(axis=1),
    )


def _named(gram: Array) -> NDArray[np.int64]:
    """Return the attribute (S, A) whose mean over the other seeds is nearest, from all products (S, A, S, A).

    |sum_{r != s} u_rA|^2 is the sum of all products, less twice the row of s, plus its own.
    """
    toward = gram.sum(axis=2) - np.einsum("sisa->sia", gram)  # (S, i, A): u_si . sum_{r != s} u_rA
    same = np.einsum("sara->asr", gram)  # (A, S, S)
    row = same.sum(axis=2)  # (A, S)
    square = row.sum(axis=1)[:, None] - 2 * row + np.einsum("ass->as", same)
    return (toward / np.sqrt(np.maximum(square.T[:, None], 1e-30))).argmax(axis=2)
