"""What an edit did to each image, beside what a placebo does to it.

Any swap of the prompt redraws an image a little, whatever the prompt asks for. A placebo asks for nothing: it
swaps to a paraphrase of the neutral prompt at the same step. What the judge sees after the placebo is what
an edit gets for nothing.
"""

import numpy as np
import pandas as pd

from latentpath.keys import EDIT_KEY, JOIN, ORIGINS, PLACEBO
from latentpath.metrics.flips import Array, hard_label
from latentpath.metrics.scored import Scored

# Images that are not edited from neutral to an attribute until the last step: no placebo fits them.
_OTHERS = (*ORIGINS, PLACEBO, "removal", "window")


def outcome_table(scored: Scored) -> pd.DataFrame:
    """Return one row per image that was edited from neutral toward attributes, by any method.

    Columns: those of EDIT_KEY, seed, and, with the decisions of the judge d(x) in {0, 1},

        present          1 if all named attributes are present: d_A(x_s) = 1
        others_changed   share of the other decisions, about attributes and the class, that differ from the
                         neutral image's: mean over h != A of [ d_h(x_s) != d_h(x_0) ], in [0, 1]
        placebo_present  present, of the placebo of the same class, seed and swap step
        placebo_changed  others_changed, of that placebo and the same h

    NaN where a score is missing, where the judge has no head for a named attribute, and without a placebo.
    """
    rows = scored.rows
    neutral = rows[rows["method"] == "neutral"].drop_duplicates(["class", "seed"])
    placebo = rows[rows["method"] == PLACEBO].drop_duplicates(["class", "seed", "swap_step"])
    edits = rows[rows["swap_step"].notna() & ~rows["method"].isin(_OTHERS)].reset_index(drop=True)
    before = _at(edits, neutral, ["class", "seed"], scored)
    beside = _at(edits, placebo, ["class", "seed", "swap_step"], scored)
    after = _decisions(edits, scored)  # (images, heads and the class)
    heads = list(scored.heads)
    asked = [str(attribute).split(JOIN) for attribute in edits["attribute"]]
    named = np.zeros(after.shape, dtype=bool)
    for i, names in enumerate(asked):
        named[i, :-1] = [head in names for head in heads]
    known = np.array([set(names) <= set(heads) for names in asked], dtype=bool)
    return edits[[*EDIT_KEY, "seed"]].assign(
        present=np.where(known, _all(after, named), np.nan),
        others_changed=_share(_changed(before, after), ~named),
        placebo_present=np.where(known, _all(beside, named), np.nan),
        placebo_changed=_share(_changed(before, beside), ~named),
    )


def _decisions(rows: pd.DataFrame, scored: Scored) -> Array:
    """Return the decision of each head, 0, 1 or NaN, then the index of the class; (images, H + 1)."""
    heads = rows.reindex(columns=[f"prob_{head}" for head in scored.heads])
    labels = hard_label(heads.to_numpy(np.float64, na_value=np.nan), scored.threshold)
    columns = [f"class_prob_{cls}" for cls in scored.classes]
    classes = rows.reindex(columns=columns).to_numpy(np.float64, na_value=np.nan)
    decided = np.isfinite(classes).all(axis=1) & (len(columns) > 1)
    chosen = np.where(decided, np.nan_to_num(classes).argmax(axis=1), np.nan)
    return np.column_stack([labels, chosen])


def _at(edits: pd.DataFrame, others: pd.DataFrame, keys: list[str], scored: Scored) -> Array:
    """Return the decisions of that image of `others` that has the same keys as each edit; NaN without one."""
    places = pd.MultiIndex.from_frame(others[keys]).get_indexer(pd.MultiIndex.from_frame(edits[keys]))
    decisions = np.vstack([_decisions(others, scored), np.full((1, len(scored.heads) + 1), np.nan)])
    return decisions[places]  # -1, not found, is the last row


def _changed(before: Array, after: Array) -> Array:
    return np.where(np.isfinite(before) & np.isfinite(after), before != after, np.nan)


def _all(labels: Array, chosen: Array) -> Array:
    """Return whether all chosen labels of an image are 1; NaN if one is unknown or none is chosen."""
    values = np.where(chosen, labels, 1.0).min(axis=1)
    return np.where(chosen.any(axis=1), values, np.nan)


def _share(values: Array, chosen: Array) -> Array:
    """Return the mean of the chosen values of each image that are known; NaN if none is."""
    known = chosen & np.isfinite(values)
    count = known.sum(axis=1)
    return np.where(count > 0, np.where(known, values, 0.0).sum(axis=1) / np.maximum(count, 1), np.nan)
