"""Commutativity: does the order of two edits matter?

An order asks for one attribute in the steps s..r-1 and for both from r on: e, e_A, e_AB, or e, e_B, e_AB. If
the edits are independent, both end with the same image.
"""

import numpy as np
import pandas as pd

from latentpath.keys import JOIN, LATENT_KEY
from latentpath.metrics.flips import Array, hard_label
from latentpath.metrics.intervals import mean_intervals, rate_intervals
from latentpath.metrics.scored import Scored

KEY = ["class", "attribute", "swap_step", "until"]
FIGURES = ("apart", "scores_apart", "decided_alike")


def other_order(attribute: str) -> str:
    """Return the name of the same two edits in the other order: `ruler+hair` of `hair+ruler`."""
    return JOIN.join(reversed(attribute.split(JOIN)))


def commutativity_table(scored: Scored, distances: pd.DataFrame) -> pd.DataFrame:
    """Return one row per pair of attributes and window (class, attribute, swap_step, until):

        apart          |z_AB - z_BA| / ( |z_AB - z_neutral| + |z_BA - z_neutral| ), in [0, 1]: 0 for the same
                       image, 1 for opposite directions, 0.71 for directions that are at right angles
        scores_apart   mean over heads of | f_h(AB) - f_h(BA) |, in [0, 1]
        decided_alike  share of seeds in which all heads, and the class, are decided alike on both images

    with <figure>_low and <figure>_high, 95 % intervals over seeds, and n, seeds. attribute names the pair in
    the order that comes first. distances: the columns of a stored latent, `distance`, the L2 distance to the
    neutral latent of the seed, and `apart`, that to the other order. NaN where nothing is known. No row
    without orders.
    Source: the interventions do(A) and do(B) of a causal model commute (Pearl 2009, section 3.2).
    """
    rows = scored.rows[scored.rows["method"] == "order"]
    key = [name for name in LATENT_KEY if name in distances]
    rows = rows.merge(distances, on=key, how="left").astype({"distance": float, "apart": float})
    table, done = [], set()
    for of, images in rows.groupby(KEY, sort=False):
        cls, attribute, step, until = of
        other = (cls, other_order(str(attribute)), step, until)
        done.add(of)
        if other in done:
            continue
        mine = images.set_index("seed")
        theirs = rows[(rows[KEY] == list(other)).all(axis=1)].set_index("seed")
        seeds = mine.index.intersection(theirs.index)
        row = dict(zip(KEY, of, strict=True))
        for name, value in _compared(mine.loc[seeds], theirs.loc[seeds], scored).items():
            rate = name == "decided_alike"
            ends = rate_intervals(value[:, None]) if rate else mean_intervals(value[:, None], within=(0, 1))
            known = value[np.isfinite(value)]
            row |= {
                name: float(known.mean()) if known.size else np.nan,
                f"{name}_low": float(ends.low[0]),
                f"{name}_high": float(ends.high[0]),
            }
        table.append(row | {"n": len(seeds)})
    columns = [f"{figure}{end}" for figure in FIGURES for end in ("", "_low", "_high")]
    return pd.DataFrame(table, columns=[*KEY, *columns, "n"])


def _compared(mine: pd.DataFrame, theirs: pd.DataFrame, scored: Scored) -> dict[str, Array]:
    """Return the FIGURES of each seed, (S,); the rows of both tables are in the order of the seeds."""
    heads = [f"prob_{head}" for head in scored.heads]
    classes = [f"class_prob_{cls}" for cls in scored.classes] if len(scored.classes) > 1 else []
    scores = [part.reindex(columns=[*heads, *classes]).to_numpy(np.float64) for part in (mine, theirs)]
    f, g = (part[:, : len(heads)] for part in scores)
    alike = (hard_label(f, scored.threshold) == hard_label(g, scored.threshold)).all(axis=1)
    if classes:
        chosen, other = (part[:, len(heads) :].argmax(axis=1) for part in scores)
        alike &= chosen == other
    known = np.isfinite(np.hstack(scores)).all(axis=1)
    far = mine["distance"].to_numpy() + theirs["distance"].to_numpy()
    apart = np.divide(mine["apart"].to_numpy(), far, out=np.full(len(far), np.nan), where=far > 0)
    return dict(
        zip(FIGURES, (apart, np.abs(f - g).mean(axis=1), np.where(known, alike, np.nan)), strict=True)
    )
