"""Synthetic scores and latents in the format of a large sweep, without any diffusion or decoding."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

CLASSES = ["MEL", "NV"]
ATTRIBUTES = ["hair", "gel_bubble", "ink", "ruler"]
SWAP_STEPS = list(range(5, 50, 5))
METHODS = ["bezier", "slerp", "lerp"]
STEPS, FRAMES = 50, 10


def rows_of_a_seed() -> pd.DataFrame:
    """List the images of one class and seed in scoring order: stored latents, then frames of curves.

    `progress` is 0 at the neutral image and 1 at the strong end.
    """
    blank = {"model": "finetuned", "swap_step": None, "until": None, "strength": 1.0, "frame": None}
    rows = [blank | {"attribute": "", "method": "neutral", "swap_step": STEPS, "progress": 0.0}]
    for attribute in ATTRIBUTES:
        swap = blank | {"attribute": attribute, "method": "swap", "until": STEPS}
        rows += [swap | {"swap_step": s, "progress": 1 - s / STEPS} for s in reversed(SWAP_STEPS)]
    for attribute in ATTRIBUTES:
        for method in METHODS:
            curve = blank | {"attribute": attribute, "method": method}
            rows += [curve | {"frame": f, "progress": f / (FRAMES - 1)} for f in range(FRAMES)]
    return pd.DataFrame(rows).astype(dict.fromkeys(("swap_step", "until", "frame"), "Int64"))


def draw_scores(rows: int, *, seed: int = 0) -> pd.DataFrame:
    """Draw at least `rows` rows with the columns of evaluate/scores.parquet: whole seeds of two classes."""
    plan = rows_of_a_seed()
    seeds = -(-rows // (len(plan) * len(CLASSES)))
    keys = pd.MultiIndex.from_product([CLASSES, range(seeds), plan.index], names=["class", "seed", "place"])
    table = keys.to_frame(index=False)
    table = table.join(plan.iloc[table.pop("place")].reset_index(drop=True))
    strength = table.pop("progress").to_numpy()
    rng = np.random.default_rng(seed)

    def noisy(centre: np.ndarray, spread: float) -> np.ndarray:
        return centre + rng.normal(scale=spread, size=len(table))

    def probability(logits: np.ndarray) -> np.ndarray:
        return (1 / (1 + np.exp(-logits))).astype(np.float32)

    melanoma = probability(noisy(np.where(table["class"] == "MEL", 4.0, -4.0), 2))
    table["class_prob_MEL"], table["class_prob_NV"] = melanoma, 1 - melanoma
    for attribute in ATTRIBUTES:
        own = (table["attribute"] == attribute).to_numpy()
        table[f"prob_{attribute}"] = probability(noisy(np.where(own, 8 * strength, 0) - 4, 2))
    table["lpips_alex"] = noisy(0.3 * strength, 0.05).clip(0).astype(np.float32)
    table["ssim"] = noisy(1 - 0.4 * strength, 0.05).clip(-1, 1).astype(np.float32)
    table["l1"] = noisy(0.1 * strength, 0.02).clip(0).astype(np.float32)
    swaps = (table["method"] == "swap").to_numpy()
    for column in ("cosine", "cosine_weakest"):
        table[column] = np.where(swaps, noisy(strength, 0.1).clip(-1, 1), np.nan)
    return table


def draw_latents(rows: pd.DataFrame, shape: tuple[int, int, int], *, seed: int = 0) -> Tensor:
    """Draw latents (rows, c, h, w) for the stored images among rows of `draw_scores`.

    Each attribute of a seed has its own direction; its trajectory deviates a little from a straight line.
    """
    progress = torch.from_numpy(1 - rows["swap_step"].to_numpy(np.float32) / STEPS)
    start, way = (rows.groupby(["class", "seed", *more]).ngroup() for more in ([], ["attribute"]))
    generator = torch.Generator().manual_seed(seed)
    latents = torch.empty(len(rows), *shape).normal_(std=0.1, generator=generator)
    for groups, weights in ((start, torch.ones_like(progress)), (way, progress)):
        drawn = torch.randn(int(groups.max()) + 1, *shape, generator=generator)
        for row, (group, weight) in enumerate(zip(groups, weights.tolist(), strict=True)):
            latents[row] += weight * drawn[group]
    return latents
