"""Generated images against the data: how like the held-out images they are, and whether any is a copy of a
training image."""

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
FDR = 0.1  # of the seeds that are named as copies, at most this share wrongly, on average

Network = Callable[[Tensor], Tensor]  # images (n, 3, h, w) in [-1, 1] -> features (n, d) on the CPU


@dataclass(frozen=True)
class HeldOut:
    """Held-out images as the networks see them after the VAE: rows of the data set, and features in that
    order.

    rows      cls, group and a column an attribute in {0, 1, nan}
    features  network -> (n, d)
    """

    rows: pd.DataFrame
    features: dict[str, NDArray[np.float32]]

    def like(self, cls: str, present: Sequence[str], attributes: Sequence[str]) -> NDArray[np.bool_]:
        """(n,) True where an image of `cls` is known to show all of `present` and no other of
        `attributes`."""
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
    """Columns class, images ("neutral", or the attribute at its strongest swap), and those of
    `metrics.fidelity`.

    `generated` has the columns class, attribute, a row for each row of `features` (n, d), by `network`.
    Each set is held against the held-out images of its class that show the same of `attributes`: those free
    of all for neutral images, those with the attribute and no other for its edits. A figure says how like
    they look to that network, and compares only with figures of the same one.
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
    """The images of the test split, encoded and decoded by `vae`, as each network sees them.

    They are read once for all networks. Generated images have passed the VAE's decoder, and what it makes
    of an image is for a network not that image. Images of the groups `without` are left out: those that
    edits started from.
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
    """`metrics.copies` in each space, of a row of `index` for each generated image.

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
    """p, q and flagged of the images of one space, the lowest score first, of which `ends` count."""
    seed = ["class", "seed"]
    lowest = table[ends].groupby(seed, sort=False)["score"].agg(["min", "size"])
    lowest["p"] = lowest_score_p(lowest["min"], lowest["size"], ordinary) if len(ordinary) else np.nan
    lowest["q"] = benjamini_hochberg(lowest["p"])
    table = table.join(lowest[["p", "q"]], on=seed)
    first = table.index.isin(table.loc[ends, seed].drop_duplicates().index)
    return table.assign(flagged=first & (table["q"] <= FDR))


def _ends(index: pd.DataFrame) -> NDArray[np.bool_]:
    """Neutral images and the strongest swaps; of a seed that has none of them, all images."""
    swaps = index["method"] == "swap"
    strongest = swaps & (index["swap_step"] == index.loc[swaps, "swap_step"].min())
    ends = (index["method"] == "neutral") | strongest
    return (ends | ~ends.groupby([index["class"], index["seed"]]).transform("any")).to_numpy()


def copies_by_class(table: pd.DataFrame) -> pd.DataFrame:
    """`copy_table` in short, without any training image: a row a class and space.

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
    """Scaled means (n, c, h, w) of the cache: what final latents are to be compared with."""
    channels = cache.moments.shape[1] // 2
    return scaling_factor * torch.from_numpy(np.asarray(cache.moments[:, :channels], np.float32))


def held_out_latents(vae: Any, table: ImageTable, spec: ImageSpec) -> Tensor:
    """Scaled latents (n, c, h, w) of the images of the test split; (0,) where it has none."""
    return _joined(encode(vae, images) for images in _read(table.split("test"), spec))


def decoded_features(
    vae: Any, network: Network, latents: Tensor, on_images: Callable[[int], object] = lambda n: None
) -> NDArray[np.float32]:
    """Features (n, d) of scaled latents (n, c, h, w), decoded; (0,) of none.

    Of real images too, where generated ones are to be compared with them: what a VAE makes of an image is for
    a network not that image. Of phantoms' latents decoded, the right training image was the nearest of 100 %,
    against decoded ones, and of 68 %, against the images themselves.
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
