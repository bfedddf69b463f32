"""Reversibility: does an image come back if the prompt does?

A window asks for an attribute in the steps s..r-1 and for the neutral prompt again from r on: e, e', e. A
reversible edit comes back to the neutral image; one that the later steps cannot undo stays where it went.
"""

import numpy as np
import pandas as pd

from latentpath.keys import IMAGE_KEY
from latentpath.metrics.flips import Array, hard_label
from latentpath.metrics.intervals import Interval, mean_intervals, rate_intervals
from latentpath.metrics.scored import Scored

KEY = ["class", "attribute", "swap_step", "until"]
FIGURES = ("remaining", "scores_edited", "scores_back", "still_present")


def reversal_table(scored: Scored, distances: pd.DataFrame) -> pd.DataFrame:
    """Return one row per window (class, attribute, swap_step, until), against the swap at the same step.

        remaining      |z_window - z_neutral| / |z_swap - z_neutral|: 0 came back, 1 is as far as without
        scores_edited  mean over heads of | f_h(swap) - f_h(neutral) |, in [0, 1]
        scores_back    mean over heads of | f_h(window) - f_h(neutral) |, in [0, 1]
        still_present  share of the seeds whose neutral image lacks the attribute and whose swap has it, in
                       which the window still has it

    with <figure>_low and <figure>_high, 95 % intervals over seeds, and n, seeds. distances: the columns of a
    stored latent and `distance`, the L2 distance to the neutral latent of the seed. NaN where nothing is
    known. No row without windows.
    Source: Monteiro et al. 2023, the axiom of reversibility, for edits along a trajectory.
    """
    rows = scored.rows[scored.rows["swap_step"].notna()]
    heads = [f"prob_{head}" for head in scored.heads]
    neutral = rows[rows["method"] == "neutral"].set_index(["class", "seed"])
    swaps = rows[rows["method"] == "swap"].set_index(["class", "seed", "attribute", "swap_step"])
    key = [name for name in IMAGE_KEY if name in distances]
    far = distances.set_index(key)["distance"]
    table = []
    for window, images in rows[rows["method"] == "window"].groupby(KEY, sort=False):
        cls, attribute, step, _ = window
        seeds = images["seed"].tolist()
        swap = swaps.reindex([(cls, seed, attribute, step) for seed in seeds]).reset_index()
        start = neutral.reindex([(cls, seed) for seed in seeds])
        before, edited, back = (_scores(part, heads) for part in (start, swap, images))
        went = far.reindex(pd.MultiIndex.from_frame(swap[key])).to_numpy(np.float64)
        stays = far.reindex(pd.MultiIndex.from_frame(images[key])).to_numpy(np.float64)
        known = [i for i, head in enumerate(scored.heads) if head == attribute]
        labels = [hard_label(part[:, known], scored.threshold) for part in (before, edited, back)]
        flips = (labels[0] == 0) & (labels[1] == 1)
        values = {
            "remaining": np.divide(stays, went, out=np.full(len(seeds), np.nan), where=went > 0),
            "scores_edited": np.abs(edited - before).mean(axis=1),
            "scores_back": np.abs(back - before).mean(axis=1),
            "still_present": np.where(flips, labels[2], np.nan)[:, 0]
            if known
            else np.full(len(seeds), np.nan),
        }
        row = dict(zip(KEY, window, strict=True))
        for name, value in values.items():
            of, rate = value[:, None], name == "still_present"
            ends = rate_intervals(of) if rate else mean_intervals(of, within=(0, np.inf))
            row |= _read(name, value, ends)
        table.append(row | {"n": len(seeds)})
    ends = [f"{figure}{end}" for figure in FIGURES for end in ("", "_low", "_high")]
    return pd.DataFrame(table, columns=[*KEY, *ends, "n"])


def _scores(rows: pd.DataFrame, heads: list[str]) -> Array:
    return rows.reindex(columns=heads).to_numpy(np.float64, na_value=np.nan)


def _read(name: str, values: Array, ends: Interval) -> dict[str, float]:
    known = values[np.isfinite(values)]
    mean = float(known.mean()) if known.size else float("nan")
    return {name: mean, f"{name}_low": float(ends.low[0]), f"{name}_high": float(ends.high[0])}
