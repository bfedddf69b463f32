"""Composition: does an edit that asks for nothing change nothing, however often it is made?

From noise it changes nothing by construction: a swap to the neutral prompt itself is the neutral image, the
same node of the prefix tree. On real images the edit is to invert the image and to sample it again; each
round starts from the image of the one before.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from latentpath.metrics.flips import Array, hard_label
from latentpath.metrics.intervals import mean_intervals

FIGURES = ("latent_error", "decisions_changed")


def composition_table(
    images: pd.DataFrame,
    latents: Array,
    heads: Sequence[str],
    classes: Sequence[str] = (),
    threshold: float = 0.5,
) -> pd.DataFrame:
    """Return one row per class and round m = 1, 2, ...:

        latent_error       |z_m - z_0| / |z_0|, z_0 of the real image: 0 is perfect
        decisions_changed  share of the decisions, about attributes and the class, that differ from round 0

    with <figure>_low and <figure>_high, 95 % intervals over images, and n, images. images: class, seed,
    round, prob_<head>, class_prob_<class>; latents (n, d) in that order. NaN where a score is missing.
    Source: Monteiro et al. 2023, the axiom of composition.
    """
    scores = images.reindex(columns=[f"prob_{head}" for head in heads]).to_numpy(np.float64)
    decided = [*hard_label(scores, threshold).T]
    if len(classes) > 1:
        chances = images.reindex(columns=[f"class_prob_{cls}" for cls in classes]).to_numpy(np.float64)
        known = np.isfinite(chances).all(axis=1)
        decided.append(np.where(known, np.nan_to_num(chances).argmax(axis=1), np.nan))
    decisions, places = np.stack(decided, axis=1), np.arange(len(images))
    start = images.assign(place=places)[images["round"] == 0].set_index(["class", "seed"])["place"]
    origin = start.loc[pd.MultiIndex.from_frame(images[["class", "seed"]])].to_numpy()
    flat = latents.reshape(len(latents), -1)
    error = np.linalg.norm(flat - flat[origin], axis=1) / np.linalg.norm(flat[origin], axis=1)
    missing = np.isnan(decisions) | np.isnan(decisions[origin])
    changed = np.where(missing, np.nan, decisions != decisions[origin]).mean(axis=1)
    rows = []
    for (cls, number), of in images.assign(place=places)[images["round"] > 0].groupby(["class", "round"]):
        row = {"class": cls, "round": number}
        for name, values, unit in zip(FIGURES, (error, changed), (0.0, 1 / decisions.shape[1]), strict=True):
            mine = values[of["place"]]
            low, high = mean_intervals(mine[:, None], unit=unit, within=(0, np.inf))
            known = mine[np.isfinite(mine)]
            mean = known.mean() if known.size else np.nan
            row |= {name: mean, f"{name}_low": low[0], f"{name}_high": high[0]}
        rows.append(row | {"n": len(of)})
    columns = [f"{figure}{end}" for figure in FIGURES for end in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=["class", "round", *columns, "n"])
