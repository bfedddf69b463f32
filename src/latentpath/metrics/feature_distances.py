"""Likeness of generated to real images, and variety of generated images, in features of a network."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

LEAST = 8  # images on each side, below which no figure is given
FIGURES = ("fid", "kid", "precision", "recall", "vendi")


def fidelity(
    generated: ArrayLike, real: ArrayLike, *, neighbours: int = 3, draws: int = 20, seed: int = 0
) -> dict[str, float | str]:
    """Compare features of `generated` (n, d) with `real` (m, d), and real with real images.

        fid         |mu - mu'|^2 + tr(S + S' - 2 (S S')^1/2)
        kid         squared MMD of the kernel (x.y / d + 1)^3, unbiased
        precision   share of generated images within the reach of a real one, its k-th neighbour
        recall      share of real images within the reach of a generated one
        vendi       effective number of different images, 1..each
        <figure>_real   the same of other real images, not generated ones: what to read it against
        each        images on each side, min(n, m // 2)
        generated, real   n, m
        reason      why all figures are NaN; '' where they are not

    All these figures depend on how many images they are taken of, and on what the images show: `real`
    should show what `generated` was asked to show. So each draw takes `each` generated images, as many real
    ones and as many other real ones, without replacement, and the figures are means over `draws`. NaN below
    8 on a side.

    Sources: Heusel et al. 2017; Binkowski et al. 2018; Kynkaanniemi et al. 2019; Friedman and Dieng 2023.
    Figures of two networks do not compare. KID, precision and recall by torch-fidelity.
    """
    x, y = (np.asarray(features, dtype=np.float64) for features in (generated, real))
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"features are (n, d) and (m, d); got {x.shape} and {y.shape}")
    each = min(len(x), len(y) // 2)
    counts = {"each": each, "generated": len(x), "real": len(y)}
    if each < LEAST:
        reason = f"needs {LEAST} generated and {2 * LEAST} real images; there are {len(x)} and {len(y)}"
        names = [name + end for name in FIGURES for end in ("", "_real")]
        return dict.fromkeys(names, float("nan")) | counts | {"reason": reason}
    rng, found = np.random.default_rng(seed), []
    for _ in range(draws):
        mine, order = rng.permutation(len(x))[:each], rng.permutation(len(y))
        reference, others = y[order[:each]], y[order[each : 2 * each]]
        floor = _figures(others, reference, neighbours)
        drawn = _figures(x[mine], reference, neighbours)
        found.append(drawn | {f"{name}_real": value for name, value in floor.items()})
    means = {name: float(np.mean([figures[name] for figures in found])) for name in found[0]}
    return means | counts | {"reason": ""}


def _figures(x: NDArray[np.float64], y: NDArray[np.float64], neighbours: int) -> dict[str, float]:
    """Return FIGURES of x (n, d) against y (n, d)."""
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torch_fidelity.metric_prc import prc_features_to_metric

    a, b = torch.from_numpy(x), torch.from_numpy(y)
    kid = kid_features_to_metric(a, b, kid_subset_size=len(x), kid_subsets=1, rng_seed=0, verbose=False)
    prc = prc_features_to_metric(
        a.float(),
        b.float(),
        prc_neighborhood=neighbours,
        prc_batch_size=1000,
        save_cpu_ram=False,
        verbose=False,
    )
    return {
        "fid": frechet_distance(x, y),
        "kid": float(kid["kernel_inception_distance_mean"]),
        "precision": float(prc["precision"]),
        "recall": float(prc["recall"]),
        "vendi": vendi_score(x),
    }


def frechet_distance(x: ArrayLike, y: ArrayLike) -> float:
    """|mu - mu'|^2 + tr(S + S' - 2 (S S')^1/2) of the means and covariances of x (n, d) and y (m, d): >= 0.

    With centred X and Y, tr (S S')^1/2 is the sum of the singular values of X Y^T / sqrt((n - 1)(m - 1)):
    exact though the covariances are singular, and cheap for few images of many features.
    Source: Dowson and Landau 1982; Heusel et al. 2017.
    """
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    shift = a.mean(axis=0) - b.mean(axis=0)
    a, b = (z - z.mean(axis=0) for z in (a, b))
    a, b = (z / np.sqrt(len(z) - 1) for z in (a, b))
    # the triangle (d, d) of z = QR has the singular values of z, where there are more images than features
    a_small, b_small = (np.asarray(np.linalg.qr(z, mode="r")) if len(z) > z.shape[1] else z for z in (a, b))
    cross = float(np.linalg.svd(a_small @ b_small.T, compute_uv=False).sum())
    return float(shift @ shift + (a**2).sum() + (b**2).sum() - 2 * cross)


def vendi_score(features: ArrayLike) -> float:
    """exp of the entropy of the eigenvalues of K / n, K the cosines between features (n, d): in [1, n].

    n images that are all alike count as 1, n that are all orthogonal as n.
    Source: Friedman and Dieng 2023, The Vendi Score.
    """
    x = np.asarray(features, dtype=np.float64)
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    x = x / np.where(norms > 0, norms, 1)
    # The eigenvalues of K / n are those of the smaller of X X^T and X^T X.
    gram = x @ x.T if len(x) <= x.shape[1] else x.T @ x
    eigenvalues = np.linalg.eigvalsh(gram / len(x))
    positive = eigenvalues[eigenvalues > 1e-12]
    return float(np.exp(-(positive * np.log(positive)).sum()))
