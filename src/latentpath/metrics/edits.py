"""Measures what each edit did to the attributes that it names, and to the others."""

from collections.abc import Hashable

import numpy as np
import pandas as pd

from latentpath.keys import EDIT_KEY, JOIN, ORIGINS, PLACEBO, origin_of
from latentpath.metrics.flips import hard_label
from latentpath.metrics.intervals import mean_intervals
from latentpath.metrics.outcomes import outcome_table
from latentpath.metrics.scored import Scored

BEYOND = [f"{figure}{end}" for figure in ("effectiveness", "leak") for end in ("", "_low", "_high")]


def edit_table(scored: Scored) -> pd.DataFrame:
    """Return one row per edit (class, attribute, method, swap_step, until, strength) with shares of seeds:

        before       all named attributes are present on the image that the edit starts from
        after        all named attributes are present on the edited image (for a removal: still present)
        match        the predicted attributes are exactly those asked for: the named ones, of a removal none
        others_kept  every other attribute is as on the image that it departs from
        probability  mean probability of the named attributes on the edited image
        effectiveness, leak   beyond a placebo (`metrics.outcomes`), with 95 % intervals, _low and _high; NaN
                     for removals and windows, and without a placebo
        n            seeds

    Frames of interpolations and the placebo are left out. A combination is named `hair+ruler`. An edit
    departs from the neutral image of its seed, a removal from the image that has the attribute. NaN if a
    named attribute has no head; a missing score leaves the seed out.
    """
    heads, rows = list(scored.heads), scored.rows
    rows = rows[rows["swap_step"].notna()]
    columns = [f"prob_{head}" for head in heads]
    probabilities = rows.reindex(columns=columns).to_numpy(np.float64, na_value=np.nan)
    labels = dict(zip(rows.index, hard_label(probabilities, scored.threshold), strict=True))
    origins = {
        (key["class"], key["seed"], key["attribute"]): index
        for index, key in rows[rows["method"].isin(ORIGINS)].iterrows()
    }
    table, beyond = [], _beyond_placebo(scored)
    for edit, of_edit in rows[~rows["method"].isin((*ORIGINS, PLACEBO))].groupby(EDIT_KEY, sort=False):
        cls, attribute, method, *_ = map(str, edit)
        names = attribute.split(JOIN)
        named = [heads.index(name) for name in names if name in heads]
        known = len(named) == len(names)
        origin = origin_of(method, attribute)
        after = np.array([labels[index] for index in of_edit.index])  # (seeds, heads)
        before = np.array([labels[origins[cls, seed, origin]] for seed in of_edit["seed"]])
        asked = np.zeros(len(heads))
        asked[named] = method != "removal"
        others = np.delete(after == before, named, axis=1)
        own = of_edit.reindex(columns=[columns[k] for k in named]).to_numpy(np.float64, na_value=np.nan)
        table.append(
            dict(zip(EDIT_KEY, edit, strict=True))
            | {
                "before": _share(before[:, named] == 1, before, known),
                "after": _share(after[:, named] == 1, after, known),
                "match": _share(after == asked, after, known),
                "others_kept": _share(others, before + after, known),
                "probability": float(np.mean(own[np.isfinite(own)]))
                if known and np.isfinite(own).any()
                else np.nan,
                **beyond.get(edit, dict.fromkeys(BEYOND, np.nan)),
                "n": len(of_edit),
            }
        )
    shares = ["before", "after", "match", "others_kept", "probability"]
    return pd.DataFrame(table, columns=[*EDIT_KEY, *shares, *BEYOND, "n"])


def _beyond_placebo(scored: Scored) -> dict[Hashable, dict[str, float]]:
    """Return the figures BEYOND of each edit that has a placebo, by its EDIT_KEY."""
    found = {}
    for edit, images in outcome_table(scored).groupby(EDIT_KEY, sort=False):
        effect = images["present"] - images["placebo_present"]
        leak = images["others_changed"] - images["placebo_changed"]
        others = (
            len(scored.heads) + (len(scored.classes) > 1) - len(str(images["attribute"].iloc[0]).split(JOIN))
        )
        figures = []
        for values, unit in ((effect, 1.0), (leak, 1 / max(others, 1))):
            low, high = mean_intervals(values.to_numpy(np.float64)[:, None], unit=unit, within=(-1, 1))
            figures += [values.mean(), low[0], high[0]]
        found[edit] = dict(zip(BEYOND, map(float, figures), strict=True))
    return found


def _share(holds: np.ndarray, needs: np.ndarray, known: bool) -> float:
    """Return the share of seeds with all of `holds` (seeds, ...) true, among those with all `needs` known."""
    decided = np.isfinite(needs).all(axis=1)
    return float(holds[decided].all(axis=1).mean()) if known and decided.any() else np.nan
