"""Fidelity: how like the held-out images the generated images look to each network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from latentpath.evaluation.real_images import RealImages
from latentpath.evaluation.shards import StoredSweep
from latentpath.metrics import fidelity
from latentpath.runs.files import read_parquet, write_csv


def write_fidelity(
    folder: Path,
    sweep: StoredSweep,
    features: pd.DataFrame,
    held_out: RealImages,
    *,
    names: Sequence[str],
    classes: Sequence[str],
    attributes: Sequence[str],
) -> list[str]:
    """Write tables/fidelity.csv under `folder`: a `fidelity_table` by each of the networks `names`.

    `features` are those of the images of `sweep`, as `shards.read_features` reads them. Held-out images of
    groups whose images were edited are left out. Returns a note for each network whose weights are missing.
    """
    originals = sweep.folder / "originals.parquet"  # real images that the edits started from
    own = list(read_parquet(originals).get("group", [])) if originals.is_file() else []
    held_out = held_out.without(own)
    there = [name for name in names if name in features]
    generated = sweep.index.loc[features["place"]].reset_index(drop=True)
    tables = {
        name: fidelity_table(
            generated,
            np.stack(features[name].tolist()),
            held_out,
            name,
            classes=classes,
            attributes=attributes,
        )
        for name in there
    }
    if tables:
        found = pd.concat(tables, names=["features"]).reset_index(level="features")
        write_csv(folder / "tables" / "fidelity.csv", found)
    missing = [name for name in names if name not in there]
    return [f"FID ({name}) is n/a: its weights are not on this machine" for name in missing]


def fidelity_table(
    generated: pd.DataFrame,
    features: NDArray[np.float32],
    held_out: RealImages,
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
            theirs = held_out.seen_by(network)[held_out.like(cls, present, attributes)]
            figures = fidelity(features[group.index.to_numpy()], theirs)
            rows.append({"class": cls, "images": attribute or "neutral"} | figures)
    return pd.DataFrame(rows)
