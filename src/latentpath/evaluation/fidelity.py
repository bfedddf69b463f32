"""Fidelity: how like the held-out images the generated images look to each network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from latentpath.data.images import ImageSpec
from latentpath.data.records import ImageTable
from latentpath.diffusion.autoencoder import decode, encode
from latentpath.evaluation.real_images import Network, joined, read_images
from latentpath.evaluation.scoring import Scorer
from latentpath.evaluation.shards import StoredSweep
from latentpath.metrics import fidelity
from latentpath.runs.files import read_parquet, write_csv

if TYPE_CHECKING:
    from diffusers import AutoencoderKL


def write_fidelity(
    folder: Path,
    sweep: StoredSweep,
    features: pd.DataFrame,
    scorer: Scorer,
    table: ImageTable,
    spec: ImageSpec,
    *,
    names: Sequence[str],
) -> list[str]:
    """Write tables/fidelity.csv under `folder`: a `fidelity_table` by each of the networks `names`.

    `features` are those of the images of `sweep`, as `shards.read_features` reads them. Returns a note for
    each network whose weights are missing.
    """
    networks = {name: network for name, network in scorer.feature_networks.items() if name in names}
    originals = sweep.folder / "originals.parquet"  # real images that the edits started from
    own = list(read_parquet(originals).get("group", [])) if originals.is_file() else []
    held_out = held_out_features(networks, table, spec, vae=scorer.vae, without=own)
    compared = features["compared"]
    generated = sweep.index[compared.to_numpy()].reset_index(drop=True)
    tables = {
        name: fidelity_table(
            generated,
            np.stack(features.loc[compared, name].tolist()),
            held_out,
            name,
            classes=table.classes,
            attributes=table.attributes,
        )
        for name in names
        if name in networks
    }
    if tables:
        found = pd.concat(tables, names=["features"]).reset_index(level="features")
        write_csv(folder / "tables" / "fidelity.csv", found)
    missing = [name for name in names if name not in networks]
    return [f"FID ({name}) is n/a: its weights are not on this machine" for name in missing]


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


def held_out_features(
    networks: Mapping[str, Network],
    table: ImageTable,
    spec: ImageSpec,
    *,
    vae: AutoencoderKL,
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
    for part, images in read_images(rows, spec):
        kept.append(part)
        seen = decode(vae, encode(vae, images))
        for name, network in networks.items():
            parts[name].append(network(seen))
    features = {name: joined(part).numpy() for name, part in parts.items()}
    found = pd.concat(kept, ignore_index=True) if kept else rows.iloc[:0]
    return HeldOut(found[["cls", "group", *table.attributes]], features)
