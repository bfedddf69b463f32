"""Generated images against the data: how like the held-out images they are, and whether any is a copy of a
training image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentpath.callbacks import save_grid
from latentpath.data.images import load_images, to_model_range
from latentpath.data.latent_cache import LatentCache
from latentpath.data.records import ImageTable
from latentpath.diffusion.autoencoder import decode
from latentpath.evaluation.features import features_of
from latentpath.metrics import copies, fidelity

READ_AT_ONCE = 256
PAIRS = 8  # in copies.png
KEY = ["class", "seed", "method", "attribute", "swap_step"]


def fidelity_table(
    generated: pd.DataFrame,
    features: NDArray[np.float32],
    real: dict[str, NDArray[np.float32]],
    classes: Sequence[str],
) -> pd.DataFrame:
    """Columns class, images ("neutral", or the attribute at its strongest swap), and those of
    metrics.fidelity.

    `generated` has the columns class, attribute, a row for each row of `features` (n, d); `real` are the
    features of the held-out images of each class. Features are those of the judge, so a figure says how like
    they look to it, and compares only with figures of the same judge.
    """
    rows = []
    for cls in classes:
        for attribute, group in generated[generated["class"] == cls].groupby("attribute", sort=False):
            mine = features[group.index.to_numpy()]
            theirs = real.get(cls, np.empty((0, mine.shape[1]), np.float32))
            rows.append({"class": cls, "images": attribute or "neutral"} | fidelity(mine, theirs))
    return pd.DataFrame(rows)


def real_features(
    classifier: Any, table: ImageTable, *, split: str, size: int, resize: Any
) -> dict[str, NDArray[np.float32]]:
    """Class -> features (n, d) of the images of `split`."""
    found: dict[str, list[Tensor]] = {cls: [] for cls in table.classes}
    rows = table.split(split)
    for cls in table.classes:
        of_class = rows[rows["cls"] == cls]
        for start in range(0, len(of_class), READ_AT_ONCE):
            part = of_class.iloc[start : start + READ_AT_ONCE]
            images, _ = load_images(part, size=size, resize=resize, on_error="skip")
            found[cls].append(features_of(classifier, to_model_range(images)))
    return {cls: torch.cat(parts).numpy() for cls, parts in found.items() if parts}


def copy_table(
    index: pd.DataFrame, latents: Tensor, cache: LatentCache, scaling_factor: float
) -> pd.DataFrame:
    """`metrics.copies` of generated latents (n, c, h, w) among those of training: class, seed, attribute and
    swap_step of each image, `training`, the row of the nearest in the latent cache, distance, score,
    flagged."""
    channels = cache.moments.shape[1] // 2
    training = scaling_factor * np.asarray(cache.moments[:, :channels], np.float32)
    neighbours = min(50, len(training))
    table = copies(latents.numpy(), training, neighbours=neighbours)
    keys = index.iloc[table["generated"]][KEY].reset_index(drop=True)
    return pd.concat([keys, table], axis=1)


def save_pairs(file: Path, table: pd.DataFrame, latents: Tensor, cache: LatentCache, vae: Any) -> None:
    """The closest pairs, generated above training, both decoded.

    Training images are patients': the picture stays in the run's folder, and no report shows it.
    """
    closest = table.drop_duplicates("training").head(PAIRS)
    mine = latents[closest["generated"].tolist()]
    channels = cache.moments.shape[1] // 2
    theirs = np.asarray(cache.moments[closest["training"].to_numpy()][:, :channels], np.float32)
    pictures = [decode(vae, mine), decode(vae, vae.config.scaling_factor * torch.from_numpy(theirs))]
    save_grid(torch.stack(pictures), file)
