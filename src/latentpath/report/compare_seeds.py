"""Compares two runs seed by seed: differences of figures with intervals, and one test over all of them."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from latentpath.metrics import figure
from latentpath.metrics.paired import Differences, paired_differences, unpaired_differences
from latentpath.report.artefacts import RunArtefacts
from latentpath.report.cells import Cell, Table, difference, header, number, signed
from latentpath.report.pictures import words

FIGURES = ("cfrt_strict", "all_strict", "cfrt_released", "flipped", "class_kept", "others_kept")
MAIN = "all_strict"  # the figure of the verdict: unlike CFRT it is 0 if nothing happens
_CELL = ["class", "attribute", "figure"]


@dataclass(frozen=True)
class Comparison:
    """What differs between two runs: one sentence, and a table of differences with intervals."""

    verdict: str
    table: Table


def compared(
    first: RunArtefacts, other: RunArtefacts, classes: Sequence[str], attributes: Sequence[str]
) -> Comparison | None:
    """Return the differences `other` - `first`: a row of their means, then a row per class and attribute.

    The same seed starts both runs from the same noise, so that differences of seeds vary less than seeds; p
    is then by max-T over sign flips of whole seeds. Runs that share fewer than two seeds are compared
    unpaired. The tooltip of a difference gives its p among all differences of the table. None if an older
    version evaluated one of the runs.
    """
    tables = [run.of_seeds for run in (first, other) if run.of_seeds is not None]
    if len(tables) < 2:
        return None
    cells = [(c, a, key) for c in classes for a in attributes for key in FIGURES]
    columns = pd.MultiIndex.from_tuples(cells, names=_CELL)
    wide = [t.pivot(index="seed", columns=_CELL, values="value").reindex(columns=columns) for t in tables]
    shared = wide[0].index.intersection(wide[1].index)
    paired = len(shared) > 1
    a, b = (_with_means(table.loc[shared] if paired else table) for table in wide)
    # the least difference of two seeds: one decision in one cell, and in the mean the share of a cell
    units = [1.0 if attribute else len(FIGURES) / len(cells) for _, attribute, _ in a.columns]
    differences = paired_differences if paired else unpaired_differences
    found = differences(a.to_numpy(np.float64), b.to_numpy(np.float64), unit=units)
    clear = int((found.p_adjusted <= 0.05).sum())
    how = f"the {len(shared)} seeds of both" if paired else "different seeds, so unpaired"
    table = _table(a.columns, found, classes, attributes, f"{other.name} − {first.name} on {how}")
    main = [key for *_, key in a.columns].index(MAIN)
    means = f"{figure(MAIN).label} differs by {signed(found.mean[main])}"
    means += f" ({signed(found.low[main])} to {signed(found.high[main])})"
    tells = f"{clear} of {len(a.columns)} differences" if clear else "no difference"
    verdict = (
        f"{other.name} against {first.name}, on {how}: {tells} can be told from chance (p at most 0.05 among "
        f"all {len(a.columns)}); the mean of {means}."
    )
    return Comparison(verdict, table)


def _table(
    keys: Iterable[Hashable], found: Differences, classes: Sequence[str], attributes: Sequence[str], what: str
) -> Table:
    shown: dict[Hashable, Cell] = {}
    for i, key in enumerate(keys):
        if found.n[i] < 2:
            shown[key] = number(None, "fewer than two seeds have it")
            continue
        tooltip = f"p = {found.p_adjusted[i]:.3g} among all differences of this table; {found.n[i]} seeds"
        mean, ends = found.mean[i], (found.low[i], found.high[i])
        shown[key] = difference(mean, tint=mean, ends=ends, tooltip=tooltip)
    head = ["class", "attribute", *(figure(key).label for key in FIGURES)]
    table = Table(f"{what}, with 95 % intervals", head, name=f"differences_{what.partition(' ')[0]}")
    table.groups.append([[header("mean"), header(""), *(shown["mean", "", key] for key in FIGURES)]])
    for cls in classes:
        lines = [
            [header(words(cls)), header(words(at)), *(shown[cls, at, key] for key in FIGURES)]
            for at in attributes
        ]
        table.groups.append(lines)
    return table


def _with_means(table: pd.DataFrame) -> pd.DataFrame:
    """Add a column ("mean", "", figure) for each figure: the mean of each seed over its cells."""
    means = table.T.groupby(level="figure").mean().T[list(FIGURES)]
    means.columns = pd.MultiIndex.from_tuples([("mean", "", key) for key in FIGURES], names=_CELL)
    return pd.concat([means, table], axis=1)
