"""Copies: whether any generated image is a copy of a training image, by latents or by the judge."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from latentpath.data.latent_cache import LatentCache
from latentpath.evaluation.copies_page import NAMES, write_copies_page
from latentpath.evaluation.real_images import RealImages
from latentpath.evaluation.scoring import Scorer
from latentpath.evaluation.shards import StoredSweep
from latentpath.keys import LATENT_KEY
from latentpath.metrics import copies
from latentpath.metrics.conformal import benjamini_hochberg, lowest_score_p
from latentpath.runs.files import write_csv
from latentpath.traversal.store import read_latents

log = logging.getLogger(__name__)

FDR = 0.1  # false discovery rate: expected share of wrong ones among the seeds named as copies


def write_copies(
    folder: Path,
    sweep: StoredSweep,
    features: pd.DataFrame,
    scorer: Scorer,
    *,
    training: RealImages,
    held_out: RealImages,
) -> list[str]:
    """Write copies.html and tables/copies.csv, copies_by_class.csv under `folder`.

    `features` are those of the images of `sweep`, as `shards.read_features` reads them. Returns a note for
    each space in which a seed is named as a copy.
    """
    judged = [real.seen_by("judge") for real in (training, held_out)]
    index = sweep.index.loc[features["place"]].reset_index(drop=True)
    latents = read_latents(sweep.folder, index)
    spaces = {
        "latent": (latents.numpy(), training.latents, held_out.latents),
        "judge": (np.stack(features["judge"].tolist()), *judged),
    }
    found = copy_table(index, spaces)
    for name, table in (("copies", found), ("copies_by_class", copies_by_class(found))):
        write_csv(folder / "tables" / f"{name}.csv", table)
    lpips = next(((net, network) for net, network in scorer.lpips.items() if network is not None), None)
    write_copies_page(
        folder / "copies.html", found, latents, torch.from_numpy(training.latents), scorer.vae, lpips
    )
    log.info("closest training images, not for others' eyes: %s", folder / "copies.html")
    return [
        f"{rows['flagged'].sum()} of {len(rows[['class', 'seed']].drop_duplicates())} seeds look like copies "
        f"of a training image by {NAMES[str(space)]}, at a false discovery rate of {FDR}"
        for space, rows in found.groupby("space", sort=False)
        if rows["flagged"].any()
    ]


def copy_table(
    index: pd.DataFrame, spaces: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]]
) -> pd.DataFrame:
    """Score each generated image (row of `index`) as a copy of a training image, in each space.

    Columns: the image's key, `space`, `training` (the row of the nearest in the latent cache), distance,
    score, p and q of the image's class and seed, flagged; space by space, the likeliest copy first.

    spaces: name -> generated (n, ...), training (m, ...), held-out (k, ...); rows in the order of `index`
    and of the cache. Held-out images cannot be copies, so their scores say how low a score comes about by
    itself. p is the conformal p-value of the lowest score of a seed's images; q is p adjusted for all seeds
    (see `metrics.conformal`). Flagged is the image with that score, of seeds with q <= FDR: among the seeds
    so named at most one in ten is named wrongly, on average. Without held-out images p and q are NaN and
    nothing is flagged.
    """
    tables = []
    for space, (mine, training, held_out) in spaces.items():
        neighbours = min(50, len(training))
        table = copies(mine, training, neighbours=neighbours).drop(columns="flagged")
        ordinary = [*copies(held_out, training, neighbours=neighbours)["score"]] if len(held_out) else []
        keys = index.iloc[table["generated"]][LATENT_KEY].reset_index(drop=True)
        table = pd.concat([keys, table], axis=1).assign(space=space)
        tables.append(_named(table, ordinary))
    return pd.concat(tables, ignore_index=True)


def _named(table: pd.DataFrame, ordinary: Sequence[float]) -> pd.DataFrame:
    """Add p, q and flagged to the images of one space, which are sorted by score."""
    seed = ["class", "seed"]
    lowest = table.groupby(seed, sort=False)["score"].agg(["min", "size"])
    lowest["p"] = lowest_score_p(lowest["min"], lowest["size"], ordinary) if len(ordinary) else np.nan
    lowest["q"] = benjamini_hochberg(lowest["p"])
    table = table.join(lowest[["p", "q"]], on=seed)
    return table.assign(flagged=~table.duplicated(seed) & (table["q"] <= FDR))


def copies_by_class(table: pd.DataFrame) -> pd.DataFrame:
    """Summarize `copy_table` without naming training images: one row per class and space.

    Columns class, space, images, seeds, the lowest and median score, the lowest q, flagged (seeds that are
    named).
    """
    groups = table.groupby(["class", "space"], sort=False)
    return groups.agg(
        images=("score", "size"),
        seeds=("seed", "nunique"),
        lowest=("score", "min"),
        median=("score", "median"),
        q=("q", "min"),
        flagged=("flagged", "sum"),
    ).reset_index()


def training_latents(cache: LatentCache, scaling_factor: float) -> Tensor:
    """Return the scaled means (n, c, h, w) of the cache, for comparison with final latents."""
    channels = cache.moments.shape[1] // 2
    return scaling_factor * torch.from_numpy(np.asarray(cache.moments[:, :channels], np.float32))
