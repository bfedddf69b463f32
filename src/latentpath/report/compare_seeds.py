"""Compares two runs seed by seed: differences of figures with intervals, and one test over all of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from latentpath.metrics import figure
from latentpath.metrics.paired import paired_differences
from latentpath.report.artefacts import RunArtefacts
from latentpath.report.cells import Cell, Table, header, number, signed
from latentpath.report.pictures import words

FIGURES = ("cfrt_strict", "all_strict", "cfrt_released", "flipped", "class_kept", "others_kept")
_CELL = ["class", "attribute", "figure"]


def paired_table(
    first: RunArtefacts, other: RunArtefacts, classes: Sequence[str], attributes: Sequence[str]
) -> Table | None:
    """The differences `other` - `first`: a row of their means, then a row per class and attribute.

    The same seed starts both runs from the same noise, so the differences vary less than the seeds. The
    tooltip of a difference gives its p among all differences of the table (max-T over sign flips of whole
    seeds). None if the runs share fewer than two seeds.
    """
    tables = [run.of_seeds for run in (first, other) if run.of_seeds is not None]
    if len(tables) < 2:
        return None
    wide = [table.pivot(index="seed", columns=_CELL, values="value") for table in tables]
    shared = wide[0].index.intersection(wide[1].index)
    if len(shared) < 2:
        return None
    cells = [(c, a, key) for c in classes for a in attributes for key in FIGURES]
    a, b = (
        table.reindex(index=shared, columns=pd.MultiIndex.from_tuples(cells, names=_CELL)) for table in wide
    )
    together = [_with_means(table) for table in (a, b)]
    found = paired_differences(*(table.to_numpy(np.float64) for table in together))
    shown: dict[Any, Cell] = {}
    for i, key in enumerate(together[0].columns):
        if found.n[i] < 2:
            shown[key] = number(None, "fewer than two seeds have it in both runs")
            continue
        says = f"p = {found.p_adjusted[i]:.3g} among all differences of this table; {found.n[i]} seeds"
        mean, low, high = (float(end[i]) for end in (found.mean, found.low, found.high))
        tint = max(-1.0, min(1.0, mean))
        shown[key] = Cell(signed(mean), value=mean, low=low, high=high, tint=tint, says=says)
    clear = int((found.p_adjusted <= 0.05).sum())
    caption = (
        f"{other.name} − {first.name} on the {len(shared)} seeds of both, with 95 % intervals; {clear} of "
        f"{len(shown)} differences have a p of at most 0.05 among all of them"
    )
    table = Table(
        caption, ["class", "attribute", *(figure(key).label for key in FIGURES)], name=f"paired_{other.name}"
    )
    table.groups.append([[header("mean"), header(""), *(shown["mean", "", key] for key in FIGURES)]])
    for cls in classes:
        lines = [
            [header(words(cls)), header(words(at)), *(shown[cls, at, key] for key in FIGURES)]
            for at in attributes
        ]
        table.groups.append(lines)
    return table


def _with_means(table: pd.DataFrame) -> pd.DataFrame:
    """With a column more a figure, ("mean", "", figure): of each seed the mean over the cells that it has."""
    means = table.T.groupby(level="figure").mean().T[list(FIGURES)]
    means.columns = pd.MultiIndex.from_tuples([("mean", "", key) for key in FIGURES], names=_CELL)
    return pd.concat([means, table], axis=1)
