"""What each setting of each way of editing did to each seed: from scores to the arrays of `metrics.front`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from latentpath.keys import INTERPOLATIONS, ORIGINS
from latentpath.metrics.flips import Array, hard_label
from latentpath.metrics.scored import Scored

OTHERS = "others_changed"  # the leak in decisions; other leaks are named after their measure
# Edits that do not go from the neutral image to one attribute and stay there.
NOT_WAYS = (*ORIGINS, *INTERPOLATIONS, "removal", "window", "combination")


class Setting(NamedTuple):
    """A setting of a method: its dial, and the step from which it edits."""

    strength: float
    swap_step: int


@dataclass(frozen=True)
class Outcomes:
    """What K settings of one method did in S seeds and C cells, each a class and an attribute.

    effect  (S, C, K) 1 where the attribute newly appears, 0 where it does not
    leaks   measure -> (S, C, K); OTHERS is the share of the judge's other decisions (about the other
            attributes, and the class) that differ from those on the neutral image of the seed
    NaN where the neutral image already shows the attribute, or where a score is missing in any setting of any
    method: all methods are compared on the same images.
    """

    method: str
    settings: tuple[Setting, ...]
    effect: Array
    leaks: dict[str, Array]


def ways_of_editing(scored: Scored) -> list[str]:
    """Return the methods that lead from the neutral image to one attribute, in the order of the table."""
    return list(dict.fromkeys(_edits(scored)["method"]))


def cells_of(scored: Scored, methods: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs (class, attribute) that all of the methods were run for, in order of the table."""
    rows = _edits(scored)
    pairs = list(dict.fromkeys(zip(rows["class"], rows["attribute"], strict=True)))
    of = {m: set(zip(r["class"], r["attribute"], strict=True)) for m, r in rows.groupby("method")}
    return [pair for pair in pairs if all(pair in of.get(m, ()) for m in methods)]


def outcomes(
    scored: Scored, methods: Sequence[str], cells: Sequence[tuple[str, str]], measures: Sequence[str] = ()
) -> dict[str, Outcomes]:
    """Return the outcomes of the methods in the cells, for the seeds of the table in ascending order.

    measures: columns of the table that are leaks besides OTHERS, such as lpips_squeeze.
    """
    rows = _edits(scored)
    rows = rows[rows["method"].isin(list(methods))].reset_index(drop=True)
    rows = pd.concat([rows, _judged(scored, rows)], axis=1)
    seeds = sorted(rows["seed"].unique())
    values = ["effect", OTHERS, *measures]
    wide = {}
    for method, of_method in rows.groupby("method"):
        table = of_method.pivot(
            index="seed", columns=["class", "attribute", "strength", "swap_step"], values=values
        )
        wide[method] = table.reindex(index=seeds)
    found = {method: _arrays(table, cells, values) for method, table in wide.items()}
    there = np.all([np.isfinite(a).all(axis=(0, 3)) for _, a in found.values()], axis=0)  # (S, C)
    return {
        method: Outcomes(method, settings, masked[0], dict(zip(values[1:], masked[1:], strict=True)))
        for method in methods
        for settings, array in [found[method]]
        for masked in [np.where(there[..., None], array, np.nan)]
    }


def _arrays(
    table: pd.DataFrame, cells: Sequence[tuple[str, str]], values: Sequence[str]
) -> tuple[tuple[Setting, ...], Array]:
    """Return the settings that a method has in any cell, and its values (V, S, C, K)."""
    settings = sorted({(column[3], column[4]) for column in table.columns})
    keys = [(v, *cell, *setting) for v in values for cell in cells for setting in settings]
    columns = pd.MultiIndex.from_tuples(keys, names=table.columns.names)
    array = table.reindex(columns=columns).to_numpy(np.float64, na_value=np.nan)
    array = array.reshape(len(table), len(values), len(cells), len(settings))
    return tuple(Setting(float(x), int(s)) for x, s in settings), np.moveaxis(array, 1, 0)


def _edits(scored: Scored) -> pd.DataFrame:
    """The rows that go from the neutral image to an attribute with a head, by any method."""
    rows = scored.rows
    kept = rows["swap_step"].notna() & ~rows["method"].isin(NOT_WAYS)
    return rows[kept & rows["attribute"].isin(list(scored.heads)) & rows["class"].isin(list(scored.classes))]


def _judged(scored: Scored, rows: pd.DataFrame) -> pd.DataFrame:
    """Return effect and OTHERS of each row, NaN where the neutral image already shows the attribute."""
    neutral = scored.rows[scored.rows["method"] == "neutral"].drop_duplicates(["class", "seed"])
    places = pd.MultiIndex.from_frame(rows[["class", "seed"]])
    before = neutral.set_index(["class", "seed"]).reindex(places)
    heads = [f"prob_{head}" for head in scored.heads]
    labels = [
        hard_label(table.reindex(columns=heads).to_numpy(np.float64, na_value=np.nan), scored.threshold)
        for table in (before, rows)
    ]
    changed = np.abs(labels[1] - labels[0])  # (rows, heads)
    own = np.array([scored.heads.index(a) for a in rows["attribute"]], dtype=int)
    every = np.arange(len(rows))
    eligible = labels[0][every, own] == 0
    effect = np.where(eligible, labels[1][every, own], np.nan)
    changed[every, own] = np.nan
    columns = [f"class_prob_{cls}" for cls in scored.classes]
    if len(columns) > 1 and set(columns) <= set(rows):
        decided = [table[columns].to_numpy(np.float64).argmax(axis=1) for table in (before, rows)]
        changed = np.column_stack([changed, decided[0] != decided[1]])
    count = np.isfinite(changed).sum(axis=1)
    others = np.where(count > 0, np.nansum(changed, axis=1) / np.maximum(count, 1), np.nan)
    return pd.DataFrame({"effect": effect, OTHERS: np.where(eligible, others, np.nan)})
