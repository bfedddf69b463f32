"""How like real images the generated ones are, and how unlike each other, by the features of a network."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

LEAST = 8  # images of each kind, below which no figure is given
FIGURES = ("fid", "kid", "kid_std", "precision", "recall", "vendi", "vendi_real")


def fidelity(
    generated: ArrayLike, real: ArrayLike, *, neighbours: int = 3, subset: int = 100, subsets: int = 100
) -> dict[str, Any]:
    """Figures of `generated` (n, d) against `real` (m, d) features, NaN with fewer than 8 images of a kind:

        fid             |mu - mu'|^2 + tr(S + S' - 2 (S S')^1/2)
        kid, kid_std    squared MMD of the kernel (x.y / d + 1)^3, unbiased, over subsets
        precision       share of generated images within the reach of a real one, its k-th neighbour
        recall          share of real images within the reach of a generated one
        vendi           effective number of different images, 1..n; vendi_real: of as many real ones
        generated, real counts

    Sources: Heusel et al. 2017; Binkowski et al. 2018; Kynkaanniemi et al. 2019; Friedman and Dieng 2023.
    FID falls with the number of images, and with d > n its covariances are singular: compare at equal n, or
    take KID, whose mean does not depend on n. Figures of two networks do not compare. All but Vendi by
    torch-fidelity.
    """
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torch_fidelity.metric_prc import prc_features_to_metric

    x, y = (torch.as_tensor(np.asarray(a, dtype=np.float64)) for a in (generated, real))
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"features are (n, d) and (m, d); got {tuple(x.shape)} and {tuple(y.shape)}")
    counts = {"generated": len(x), "real": len(y)}
    if min(len(x), len(y)) < LEAST:
        return dict.fromkeys(FIGURES, float("nan")) | counts
    few = min(len(x), len(y))
    statistics = [fid_features_to_statistics(z) for z in (x, y)]
    fid = fid_statistics_to_metric(*statistics, verbose=False)
    kid = kid_features_to_metric(
        x, y, kid_subset_size=min(subset, few), kid_subsets=subsets, rng_seed=0, verbose=False
    )
    prc = prc_features_to_metric(
        x.float(),
        y.float(),
        prc_neighborhood=neighbours,
        prc_batch_size=1000,
        save_cpu_ram=False,
        verbose=False,
    )
    return {
        "fid": float(fid["frechet_inception_distance"]),
        "kid": float(kid["kernel_inception_distance_mean"]),
        "kid_std": float(kid["kernel_inception_distance_std"]),
        "precision": float(prc["precision"]),
        "recall": float(prc["recall"]),
        "vendi": vendi_score(x[:few]),
        "vendi_real": vendi_score(y[:few]),
        **counts,
    }


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
