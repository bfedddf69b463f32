"""What each setting of each method did to each seed: from scores to the arrays of `metrics.front`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from latentpath.errors import UserError
from latentpath.keys import EDIT_KEY
from latentpath.metrics.flips import Array, hard_label
from latentpath.metrics.measures import MEASURES, measures_in
from latentpath.metrics.outcomes import outcome_table
from latentpath.metrics.scored import Scored

OTHERS = "others_changed"  # of `metrics.outcomes`
LEAK = "leak"  # OTHERS minus what the placebo changes
DECISIONS = (LEAK, OTHERS)  # leaks in decisions of the judge; the others are distances between images


class Setting(NamedTuple):
    """A setting of a method: its dial, and the step from which it edits."""

    strength: float
    swap_step: int


@dataclass(frozen=True)
class Outcomes:
    """What K settings of one method did in S seeds and C cells, each a class and an attribute.

    effect  (S, C, K) 1 where the attribute newly appears, 0 where it does not
    leaks   measure -> (S, C, K), one of `leaks_of`
    NaN where the neutral image already shows the attribute, or where a score is missing in any setting of any
    method: all methods are compared on the same images.
    """

    method: str
    settings: tuple[Setting, ...]
    effect: Array
    leaks: dict[str, Array]


class Edits:
    """The edits of a run that lead from the neutral image to one attribute, by any method and setting.

    Of the plain swap, the strength of the target prompt is the dial. `leaks` names the measures of leak that
    the scores of the run allow, the one to rank by first. Raises UserError if the scores hold an image twice.
    """

    def __init__(self, scored: Scored) -> None:
        rows = scored.rows
        images = [m for m in measures_in(rows) if MEASURES[m].net and rows[m].notna().any()]
        table = outcome_table(scored)
        table = table[table["attribute"].isin(list(scored.heads)) & table["class"].isin(list(scored.classes))]
        key = [*EDIT_KEY, "seed"]
        table = table.merge(rows[[*key, *images]].drop_duplicates(key), on=key, how="left")
        table = table.replace({"method": {"strength": "swap"}})
        for twice in table[table.duplicated(key)][key].to_dict("records"):
            named = ", ".join(f"{name} {value}" for name, value in twice.items())
            raise UserError(f"the scores hold an image twice ({named}): run `latentpath evaluate` again.")
        table[LEAK] = table[OTHERS] - table["placebo_changed"]
        self.table = table[_eligible(scored, table)]
        others = len(scored.heads) - 1 + (len(scored.classes) > 1)
        self.decisions = max(others, 1)  # how many decisions a leak is a share of
        self.leaks = [*([LEAK] if table[LEAK].notna().any() else []), OTHERS, *images]

    @property
    def methods(self) -> list[str]:
        """The methods, in the order of the table."""
        return list(dict.fromkeys(self.table["method"]))

    def cells(self, methods: Sequence[str]) -> list[tuple[str, str]]:
        """Return the pairs (class, attribute) that all of the methods were run for, in order of the table."""
        pairs = self.table[["class", "attribute"]].itertuples(index=False, name=None)
        of = {m: set(zip(r["class"], r["attribute"], strict=True)) for m, r in self.table.groupby("method")}
        return [pair for pair in dict.fromkeys(pairs) if all(pair in of.get(m, ()) for m in methods)]

    def outcomes(self, methods: Sequence[str], cells: Sequence[tuple[str, str]]) -> dict[str, Outcomes]:
        """Return the outcomes of the methods in the cells, for the seeds that any cell has, ascending."""
        seeds, values = sorted(self.table["seed"].unique()), ["present", *self.leaks]
        found = {}
        for method in methods:
            rows = self.table[self.table["method"] == method]
            key = ["class", "attribute", "strength", "swap_step"]
            wide = rows.pivot(index="seed", columns=key, values=values).reindex(index=seeds)
            settings = sorted({(column[3], column[4]) for column in wide.columns})
            columns = [(v, *cell, *setting) for v in values for cell in cells for setting in settings]
            wide = wide.reindex(columns=pd.MultiIndex.from_tuples(columns, names=wide.columns.names))
            shape = (len(seeds), len(values), len(cells), len(settings))
            found[method] = settings, wide.to_numpy(np.float64, na_value=np.nan).reshape(shape)
        there = np.all([np.isfinite(array).all(axis=(1, 3)) for _, array in found.values()], axis=0)  # (S, C)
        made = {}
        for method, (settings, array) in found.items():
            effect, *leaks = np.where(there[:, None, :, None], array, np.nan).swapaxes(0, 1)
            named = tuple(Setting(float(dial), int(step)) for dial, step in settings)
            made[method] = Outcomes(method, named, effect, dict(zip(self.leaks, leaks, strict=True)))
        return made


def _eligible(scored: Scored, table: pd.DataFrame) -> pd.Series:
    """Return whether the neutral image of an edit's seed is known not to show its attribute."""
    neutral = scored.rows[scored.rows["method"] == "neutral"].drop_duplicates(["class", "seed"])
    columns = [f"prob_{head}" for head in scored.heads]
    labels = hard_label(
        neutral.reindex(columns=columns).to_numpy(np.float64, na_value=np.nan), scored.threshold
    )
    absent = pd.DataFrame(labels == 0, columns=list(scored.heads)).assign(
        **{"class": neutral["class"].to_numpy(), "seed": neutral["seed"].to_numpy()}
    )
    long = absent.melt(["class", "seed"], var_name="attribute", value_name="absent")
    known = long.set_index(["class", "seed", "attribute"])["absent"]
    places = pd.MultiIndex.from_frame(table[["class", "seed", "attribute"]])
    return pd.Series(known.reindex(places, fill_value=False).to_numpy(bool), index=table.index)
