"""Figures of the judge's errors on real images, and of shares of generated images corrected for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from latentpath.keys import HELD_OUT
from latentpath.metrics import Scored
from latentpath.metrics.flips import hard_label
from latentpath.metrics.intervals import rate_intervals
from latentpath.metrics.judge_error import corrected_share
from latentpath.metrics.outcomes import outcome_table


def rows_of_judge_errors(
    scored: Scored, attributes: Sequence[str], strong: Sequence[int], held_out: pd.DataFrame
) -> list[Mapping[str, object]]:
    """Return what the judge misses on held-out images, and the swaps' shares with an attribute without it.

    held_out: real images of all classes after the VAE, with columns cls, group, a label in {0, 1, nan} for
    each attribute, and prob_<attribute>. Figures: sensitivity and specificity of each attribute; present and
    present_corrected of each class and attribute on the strong end.
    """
    swaps = outcome_table(scored)
    swaps = swaps[(swaps["method"] == "swap") & swaps["swap_step"].isin(list(strong))]
    rows = []
    for attribute in attributes:
        said = hard_label(held_out[f"prob_{attribute}"].to_numpy(np.float64), scored.threshold)
        true = held_out[attribute].to_numpy(np.float64)
        rows += [
            _rate(said == kind, true == kind, held_out["group"], attribute, figure)
            for kind, figure in ((1, "sensitivity"), (0, "specificity"))
        ]
        for cls in scored.classes:
            images = swaps[(swaps["class"] == cls) & (swaps["attribute"] == attribute)]
            shares = images.groupby("seed")["present"].mean().to_numpy(np.float64)
            key = {
                "class": cls,
                "attribute": attribute,
                "method": "swap",
                "n": int(np.isfinite(shares).sum()),
            }
            low, high = rate_intervals(shares[:, None])
            ends = {"value": np.nanmean(shares) if key["n"] else np.nan, "low": low[0], "high": high[0]}
            rows.append({**key, "figure": "present"} | ends)
            found = corrected_share(shares, said, true, held_out["group"].tolist())
            rows.append({**key, "figure": "present_corrected"} | vars(found))
    return rows


def _rate(
    right: np.ndarray, of: np.ndarray, groups: pd.Series, attribute: str, figure: str
) -> dict[str, object]:
    """Return the share of `right` among the images `of`, with an interval over their groups."""
    key = {"attribute": attribute, "method": HELD_OUT, "figure": figure, "n": int(of.sum())}
    if not of.any():
        return key | {"value": np.nan, "reason": "no held-out images with this label"}
    by_group = pd.Series(right[of].astype(float)).groupby(groups.to_numpy()[of]).agg(["mean", "size"])
    ends = rate_intervals(by_group[["mean"]], by_group[["size"]])
    return key | {"value": float(right[of].mean()), "low": ends.low[0], "high": ends.high[0]}
