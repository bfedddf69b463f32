"""Attribute-specific directions: can the attribute of an edit be told from the direction in latent space?

If "hair" moves every seed's latent in one direction and "ruler" in another, the direction of a seed that was
left out names its attribute. This tests the poster's claim that trajectories in latent space are specific to
an attribute.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

_AT_ONCE = 50_000_000  # numbers in memory for the permutations that are computed together


@dataclass(frozen=True)
class Naming:
    """The result of naming A attributes from n seeds with a direction toward each; NaN if n < 2.

    confusion    (A, A) share of seeds whose edit toward i is named a
    by_attribute (A,) share rightly named, its diagonal
    accuracy     their mean, in [0, 1]
    null, p      mean accuracy with the seeds' labels exchanged, and how often it is at least as high
    right        (n, A) whether each direction was rightly named, for intervals
    """

    confusion: Array
    by_attribute: Array
    accuracy: float
    null: float
    p: float
    n: int
    right: NDArray[np.bool_]


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
    flat = (d[usable] / length[usable]).reshape(-1, d.shape[2])  # (n A, d)
    n = len(flat) // count
    if n < 2:
        no = float("nan")
        return Naming(
            np.full((count, count), no), np.full(count, no), no, no, no, n, np.zeros((n, count), dtype=bool)
        )
    gram = flat @ flat.T
    as_they_are = np.tile(np.arange(count), (1, n, 1))
    named = _named(gram, as_they_are)[0]  # (n, A)
    right = named == np.arange(count)
    rng = np.random.default_rng(seed)
    orders = rng.permuted(np.tile(as_they_are, (permutations, 1, 1)), axis=2)
    parts = np.array_split(orders, 1 + orders.size * count // _AT_ONCE)
    null = np.concatenate([(_named(gram, part) == part).mean(axis=(1, 2)) for part in parts])
    accuracy = float(right.mean())
    return Naming(
        confusion=(named[..., None] == np.arange(count)).mean(axis=0),
        by_attribute=right.mean(axis=0),
        accuracy=accuracy,
        null=float(null.mean()) if permutations else float("nan"),
        p=float((1 + (null >= accuracy - 1e-12).sum()) / (1 + permutations)),
        n=n,
        right=right,
    )


def _named(gram: Array, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Name each direction by the labels (K, n, A) of the directions of the other seeds: (K, n, A).

    gram (n A, n A): all products. Of the mean direction M_a = sum_r u_ra without the seed s itself,
    u_si . (M_a - u_sa) and |M_a - u_sa|^2 = |M_a|^2 - 2 M_a . u_sa + 1 follow from the products alone.
    """
    number, n, count = labels.shape
    own = np.eye(count)[labels]  # (K, n, i, a): is direction i labelled a?
    member = own.reshape(number, n * count, count).transpose(1, 0, 2).reshape(n * count, number * count)
    products = gram @ member  # (n A, K A): u_si . M_a
    squares = np.einsum("mk,mk->k", member, products).reshape(number, 1, count)  # |M_a|^2
    toward = products.reshape(n, count, number, count).transpose(2, 0, 1, 3)  # (K, n, i, a)
    within = np.einsum("nijn->nij", gram.reshape(n, count, n, count).transpose(0, 1, 3, 2))  # u_si . u_sj
    same = np.einsum("nij,knja->knia", within, own)  # u_si . u_s(a)
    itself = np.einsum("knia,knia->kna", toward, own)  # M_a . u_s(a)
    square = squares - 2 * itself + 1
    return ((toward - same) / np.sqrt(np.maximum(square, 1e-30))[:, :, None]).argmax(axis=3)
