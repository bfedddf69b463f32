"""Geometry of trajectories, whether directions name attributes, and a t-SNE map: of latents, undecoded."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from latentpath.evaluation.shards import StoredSweep
from latentpath.keys import LATENT_KEY
from latentpath.metrics import geometry_bands, geometry_table, image_distances
from latentpath.metrics.attribute_directions import name_attributes
from latentpath.metrics.commutativity import other_order
from latentpath.metrics.intervals import overall_rate_interval, rate_intervals
from latentpath.runs.files import write_parquet
from latentpath.traversal.store import read_latents

log = logging.getLogger(__name__)

MOST_ON_MAP = 10_000  # latents; t-SNE of more takes too much time and memory
MOST_NAMED = (
    800  # directions tested at a swap step, so that their permutations fit into memory and take seconds
)


def geometry(sweep: StoredSweep, scores: pd.DataFrame) -> pd.DataFrame:
    """Return distances, cosines and curvature of the trajectories, with bands over seeds (`geometry_bands`).

    The latents are read shard by shard, because all of them need not fit into memory.
    """
    tables = [geometry_table(rows, read_latents(sweep.folder, rows).numpy()) for _, rows in sweep.shards]
    bands = geometry_bands(pd.concat([*tables, image_distances(scores)], ignore_index=True))
    named = named_directions(sweep.index, lambda rows: read_latents(sweep.folder, rows).numpy())
    return pd.concat([bands, named], ignore_index=True)


def axiom_distances(sweep: StoredSweep) -> pd.DataFrame:
    """Return the L2 distance of swaps, windows and orders to the neutral latent of their seed.

    Columns: those of a stored latent, distance, and apart, which is the distance of two edits in one order to
    the same two in the other, NaN for other images. Empty without windows, so that no latent is read then.
    """
    wanted = ("neutral", "swap", "window", "order")
    if "window" not in set(sweep.index["method"]):
        none = pd.Series(dtype=float)
        return sweep.index.iloc[:0][LATENT_KEY].assign(distance=none, apart=none)
    parts = []
    for _, rows in sweep.shards:
        rows = rows[rows["method"].isin(wanted)].reset_index(drop=True)
        z = read_latents(sweep.folder, rows).flatten(1).double().numpy()
        for _, of_seed in rows.groupby(["class", "seed"]):
            start = of_seed.index[of_seed["method"] == "neutral"][0]
            distance = np.linalg.norm(z[of_seed.index] - z[start], axis=1)
            parts.append(of_seed[LATENT_KEY].assign(distance=distance, apart=_apart(of_seed, z)))
    return pd.concat(parts, ignore_index=True)


def _apart(rows: pd.DataFrame, latents: np.ndarray) -> np.ndarray:
    """Return the distance of each order to the other order of its seed, (rows,); NaN for other images.

    The labels of `rows` are places in `latents` (n, d).
    """
    orders = rows[rows["method"] == "order"]
    keys = zip(orders["attribute"], orders["swap_step"], orders["until"], strict=True)
    place = dict(zip(keys, orders.index, strict=True))
    apart = pd.Series(np.nan, index=rows.index)
    for (attribute, step, until), mine in place.items():
        other = place.get((other_order(attribute), step, until))
        if other is not None:
            apart[mine] = float(np.linalg.norm(latents[mine] - latents[other]))
    return apart.to_numpy()


def named_directions(index: pd.DataFrame, read: Callable[[pd.DataFrame], np.ndarray]) -> pd.DataFrame:
    """Say how often the direction of a plain swap names its attribute, by class and swap step.

    `read` gives the latents (rows, c, h, w) of rows of the index. Columns as `geometry_bands`, without
    quantiles: the figures direction_named of each attribute and of all (attribute empty), and direction_null
    and direction_p of all. See `metrics.attribute_directions`. Of many seeds the first are taken. No row with
    a single attribute or a single seed, nor of a swap step that lacks an image.
    """
    swaps = index[index["method"] == "swap"]
    attributes = list(dict.fromkeys(swaps["attribute"]))
    rows = []
    for cls, of_class in swaps.groupby("class", sort=False) if len(attributes) > 1 else ():
        seeds = sorted(of_class["seed"].unique())[: max(2, MOST_NAMED // len(attributes))]
        neutral = index[(index["method"] == "neutral") & (index["class"] == cls)]
        origins = read(neutral.set_index("seed").loc[seeds].reset_index())
        for step, at_step in of_class.groupby("swap_step"):
            wanted = pd.MultiIndex.from_product([seeds, attributes])
            at_step = at_step.set_index(["seed", "attribute"]).reindex(wanted).dropna(subset=["shard"])
            if len(at_step) < len(wanted) or len(seeds) < 2:
                continue
            edited = read(at_step.reset_index())
            edited = edited.reshape(len(seeds), len(attributes), *edited.shape[1:])
            rows += _naming(edited - origins[:, None], attributes, {"class": cls, "swap_step": step})
    columns = ["class", "attribute", "figure", "swap_step", "mean", "low", "high", "n"]
    return pd.DataFrame(rows, columns=columns).astype({"swap_step": "Int64"})


def _naming(directions: np.ndarray, attributes: list[str], key: dict[str, object]) -> list[dict[str, object]]:
    """Return the rows of one class and swap step; directions (S, A, ...)."""
    found = name_attributes(directions)
    right = found.right.astype(float)
    low, high = overall_rate_interval(right)
    ends, key = rate_intervals(right), key | {"n": found.n}
    named = key | {"figure": "direction_named"}
    rows = [
        named | {"attribute": a, "mean": found.by_attribute[i], "low": ends.low[i], "high": ends.high[i]}
        for i, a in enumerate(attributes)
    ]
    rows.append(named | {"mean": found.accuracy, "low": low, "high": high})
    return [*rows, *(key | {"figure": f"direction_{k}", "mean": getattr(found, k)} for k in ("null", "p"))]


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
