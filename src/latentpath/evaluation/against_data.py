"""Compares generated images with the data: likeness to held-out images, and copies of training images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentpath.data.images import ImageSpec, load_images
from latentpath.data.latent_cache import LatentCache
from latentpath.data.pixels import to_model_range
from latentpath.data.records import ImageTable
from latentpath.diffusion.autoencoder import decode, encode
from latentpath.keys import LATENT_KEY
from latentpath.metrics import copies, fidelity
from latentpath.metrics.conformal import benjamini_hochberg, lowest_score_p

READ_AT_ONCE = 256
FDR = 0.1  # false discovery rate: expected share of wrong ones among the seeds named as copies

Network = Callable[[Tensor], Tensor]  # images (n, 3, h, w) in [-1, 1] -> features (n, d) on the CPU


@dataclass(frozen=True)
class HeldOut:
    """Held-out images after the VAE: rows of the data set, and the features of each network in that order.

    rows      cls, group and a column an attribute in {0, 1, nan}
    features  network -> (n, d)
    """

    rows: pd.DataFrame
    features: dict[str, NDArray[np.float32]]

    def like(self, cls: str, present: Sequence[str], attributes: Sequence[str]) -> NDArray[np.bool_]:
        """Mark (n,) images of `cls` that are known to show all of `present` and no other of `attributes`."""
        pattern = [float(attribute in present) for attribute in attributes]
        same = (self.rows[list(attributes)].to_numpy(np.float64) == pattern).all(axis=1)
        return same & (self.rows["cls"] == cls).to_numpy()


def fidelity_table(
    generated: pd.DataFrame,
    features: NDArray[np.float32],
    held_out: HeldOut,
    network: str,
    *,
    classes: Sequence[str],
    attributes: Sequence[str],
) -> pd.DataFrame:
    """Compare generated with held-out images, for neutral images and each strongest swap.

    Columns: class, images ("neutral" or the attribute), and those of `metrics.fidelity`.

    `generated` has the columns class, attribute, a row for each row of `features` (n, d), by `network`.
    Each set is compared with the held-out images of its class that show the same `attributes`: none for
    neutral images, only the edited attribute for its edits. Figures of different networks are not comparable.
    """
    rows = []
    for cls in classes:
        for attribute, group in generated[generated["class"] == cls].groupby("attribute", sort=False):
            present = [str(attribute)] if attribute else []
            theirs = held_out.features[network][held_out.like(cls, present, attributes)]
            figures = fidelity(features[group.index.to_numpy()], theirs)
            rows.append({"class": cls, "images": attribute or "neutral"} | figures)
    return pd.DataFrame(rows)


def held_out_features(
    networks: Mapping[str, Network],
    table: ImageTable,
    spec: ImageSpec,
    *,
    vae: Any,
    without: Iterable[str] = (),
) -> HeldOut:
    """Return the features of the images of the test split after encoding and decoding by `vae`.

    Each image is read once for all networks. Real images pass the VAE too, because generated images have
    passed its decoder, which changes what a network sees. Groups in `without` (whose images were edited) are
    left out.
    """
    rows = table.split("test")
    rows = rows[~rows["group"].isin(list(without))]
    parts: dict[str, list[Tensor]] = {name: [] for name in networks}
    kept: list[pd.DataFrame] = []
    for start in range(0, len(rows), READ_AT_ONCE):
        part = rows.iloc[start : start + READ_AT_ONCE]
        images, places = load_images(part, spec)
        if len(images):
            kept.append(part.iloc[places])
            seen = decode(vae, encode(vae, to_model_range(images)))
            for name, network in networks.items():
                parts[name].append(network(seen))
    features = {name: _joined(part).numpy() for name, part in parts.items()}
    found = pd.concat(kept, ignore_index=True) if kept else rows.iloc[:0]
    return HeldOut(found[["cls", "group", *table.attributes]], features)


def copy_table(
    index: pd.DataFrame, spaces: Mapping[str, tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]
) -> pd.DataFrame:
    """Score each generated image (row of `index`) as a copy of a training image, in each space.

    Columns: the image's key, `space`, `training` (the row of the nearest in the latent cache), distance,
    score, p and q of the image's class and seed, flagged; space by space, the likeliest copy first.

    spaces: name -> generated (n, ...), training (m, ...), held-out (k, ...); rows in the order of `index`
    and of the cache. Held-out images cannot be copies, so their scores say how low a score comes about by
    itself. p is the conformal p-value of the lowest score of a seed's neutral image and strongest swaps,
    which the others lie between; q is p adjusted for all seeds (see `metrics.conformal`). Flagged is the
    image with that score, of seeds with q <= FDR: among the seeds so named at most one in ten is named
    wrongly, on average. Without held-out images p and q are NaN and nothing is flagged.
    """
    tables = []
    for space, (mine, training, held_out) in spaces.items():
        neighbours = min(50, len(training))
        table = copies(mine, training, neighbours=neighbours).drop(columns="flagged")
        ordinary = [*copies(held_out, training, neighbours=neighbours)["score"]] if len(held_out) else []
        keys = index.iloc[table["generated"]][LATENT_KEY].reset_index(drop=True)
        table = pd.concat([keys, table], axis=1).assign(space=space)
        tables.append(_named(table, _ends(index)[table["generated"]], ordinary))
    return pd.concat(tables, ignore_index=True)


def _named(table: pd.DataFrame, ends: NDArray[np.bool_], ordinary: Sequence[float]) -> pd.DataFrame:
    """Add p, q and flagged to the images of one space, sorted by score; only images in `ends` count."""
    seed = ["class", "seed"]
    lowest = table[ends].groupby(seed, sort=False)["score"].agg(["min", "size"])
    lowest["p"] = lowest_score_p(lowest["min"], lowest["size"], ordinary) if len(ordinary) else np.nan
    lowest["q"] = benjamini_hochberg(lowest["p"])
    table = table.join(lowest[["p", "q"]], on=seed)
    first = table.index.isin(table.loc[ends, seed].drop_duplicates().index)
    return table.assign(flagged=first & (table["q"] <= FDR))


def _ends(index: pd.DataFrame) -> NDArray[np.bool_]:
    """Mark neutral images and strongest swaps, or all images of a seed that has none of these."""
    swaps = index["method"] == "swap"
    strongest = swaps & (index["swap_step"] == index.loc[swaps, "swap_step"].min())
    ends = (index["method"] == "neutral") | strongest
    return (ends | ~ends.groupby([index["class"], index["seed"]]).transform("any")).to_numpy()


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


def held_out_latents(vae: Any, table: ImageTable, spec: ImageSpec) -> Tensor:
    """Return the scaled latents (n, c, h, w) of the images of the test split; (0,) if it is empty."""
    return _joined(encode(vae, images) for images in _read(table.split("test"), spec))


def decoded_features(
    vae: Any, network: Network, latents: Tensor, on_images: Callable[[int], object] = lambda n: None
) -> NDArray[np.float32]:
    """Decode scaled latents (n, c, h, w) and return their features (n, d); (0,) for no latents.

    Use it also for real images that are compared with generated ones, because decoding changes what a network
    sees. For decoded phantoms the nearest training image was the right one in 100 % of cases among decoded
    training images, and in 68 % among the original ones.
    """

    def parts() -> Iterator[Tensor]:
        for start in range(0, len(latents), READ_AT_ONCE):
            part = latents[start : start + READ_AT_ONCE]
            yield network(decode(vae, part))
            on_images(len(part))

    return _joined(parts()).numpy()


def _joined(parts: Iterable[Tensor]) -> Tensor:
    parts = list(parts)
    return torch.cat(parts) if parts else torch.empty(0)


def _read(rows: pd.DataFrame, spec: ImageSpec) -> Iterator[Tensor]:
    for start in range(0, len(rows), READ_AT_ONCE):
        part = rows.iloc[start : start + READ_AT_ONCE]
        images, _ = load_images(part, spec)
        if len(images):
            yield to_model_range(images)
