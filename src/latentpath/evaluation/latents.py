"""Geometry of trajectories and a t-SNE map, both from the stored latents without decoding."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd

from latentpath.evaluation.shards import StoredSweep
from latentpath.keys import LATENT_KEY
from latentpath.metrics import geometry_bands, geometry_table, image_distances
from latentpath.runs.files import write_parquet
from latentpath.traversal.store import read_latents

log = logging.getLogger(__name__)

MOST_ON_MAP = 10_000  # latents; t-SNE of more takes too much time and memory


def geometry(sweep: StoredSweep, scores: pd.DataFrame) -> pd.DataFrame:
    """Return distances, cosines and curvature of the trajectories, with bands over seeds (`geometry_bands`).

    The latents are read shard by shard, because all of them need not fit into memory.
    """
    tables = [geometry_table(rows, read_latents(sweep.folder, rows).numpy()) for _, rows in sweep.shards]
    return geometry_bands(pd.concat([*tables, image_distances(scores)], ignore_index=True))


def write_map(sweep: StoredSweep, file: Path, *, random_state: int) -> None:
    """Write the t-SNE map of the latents to `file`: their keys and the coordinates x and y.

    It takes whole seeds, the first of each class, as many as give MOST_ON_MAP latents.
    """
    from latentpath.metrics.embedding import tsne  # openTSNE takes a second to import

    index = sweep.index
    a_seed = index.groupby(["class", "seed"]).size().max()
    seeds = sorted(index["seed"].unique())[: max(1, MOST_ON_MAP // (a_seed * index["class"].nunique()))]
    index = index[index["seed"].isin(seeds)]
    log.info("t-SNE of %d latents", len(index))
    points = tsne(read_latents(sweep.folder, index).numpy(), random_state=random_state)
    write_parquet(file, index[LATENT_KEY].assign(x=points[:, 0], y=points[:, 1]))
