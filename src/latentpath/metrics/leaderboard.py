"""The leaderboard of methods: one row per method, over all classes and attributes of a run."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from latentpath.errors import UserError
from latentpath.metrics.flips import Array
from latentpath.metrics.front import cheapest, mean_over_cells
from latentpath.metrics.front_outcomes import Edits, Outcomes, Setting
from latentpath.metrics.front_table import AREA, AT, EQUAL, front_tables
from latentpath.metrics.scored import Scored, Sweep
from latentpath.metrics.selectivity import selectivity
from latentpath.metrics.tables import cfrt_means


def leaderboard(scored: Scored) -> pd.DataFrame:
    """Return one row per method, the least leak at an effect of 50 % first, those that miss it last.

    measure                the leak that ranks: decisions over placebo, or decisions where no placebo was run
    strength, swap_step    the setting that the method uses most to reach an effect of 50 %, or its most
                           effective one; effect and leak: what it does alone
    at_50, at_80           the leak at equal effect; lpips_at_50 that of LPIPS. front_area
    selectivity, cfrt_strict   of the swaps at that dial, on the strong end of the steps
    settings, n            how many settings the front is over, and how many seeds
    For at_50, at_80 and front_area also _low and _high, their difference to the plain swap on the same seeds,
    _difference, _difference_low and _difference_high, and _p, adjusted for all of them (`front_table`).
    Raises UserError if the scores hold fewer than two methods.
    """
    edits = Edits(scored)
    _, fronts = front_tables(scored, resamples=scored.resamples)
    fronts = fronts[fronts["attribute"] == ""]
    if fronts.empty:
        raise UserError(
            f"the scores hold {', '.join(edits.methods) or 'no edit'}: a leaderboard compares two or more "
            "methods that were run for the same class and attribute. Traverse with method=[swap,contrast]."
        )
    methods, measure = list(dict.fromkeys(fronts["method"])), edits.leaks[0]
    lpips = next((leak for leak in edits.leaks if leak.startswith("lpips")), "")
    found = edits.outcomes(methods, edits.cells(methods))
    board = []
    for method in methods:
        own = fronts[fronts["method"] == method]
        row = {"method": method, "measure": measure, **_shown(found[method], measure)}
        figures = {f"at_{100 * level:.0f}": (AT, level) for level in EQUAL} | {AREA: (AREA, np.nan)}
        for name, (figure, level) in figures.items():
            row |= _figure(own[own["measure"] == measure], name, figure, level)
        if lpips:
            row |= _figure(own[own["measure"] == lpips], "lpips_at_50", AT, EQUAL[0])
        board.append(row | _of_dial(scored, method, row["strength"]))
    table = pd.DataFrame(board)
    return table.sort_values(["at_50", AREA], ascending=[True, False], na_position="last", ignore_index=True)


def _shown(of: Outcomes, measure: str) -> dict[str, float | int]:
    """Return the setting that stands for the method, and its own effect and leak."""
    effect, leak = _means(mean_over_cells(of.effect)), _means(mean_over_cells(of.leaks[measure]))
    best = cheapest(effect, leak, EQUAL[0])
    k = int(best.weights.argmax()) if np.isfinite(best.cost) else int(effect.argmax())
    setting: Setting = of.settings[k]
    n = int(np.asarray(np.isfinite(of.effect).all(axis=2)).any(axis=1).sum())
    return setting._asdict() | {"effect": effect[k], "leak": leak[k], "settings": len(effect), "n": n}


def _means(values: Array) -> Array:
    return values[np.isfinite(values).all(axis=1)].mean(axis=0)


def _figure(rows: pd.DataFrame, name: str, figure: str, level: float) -> Mapping[str, float | str]:
    rows = rows[rows["figure"] == figure]
    row = (rows[rows["level"] == level] if figure == AT else rows).iloc[0]
    parts = ("low", "high", "difference", "difference_low", "difference_high", "p", "reason")
    return {name: row["value"]} | {f"{name}_{part}": row[part] for part in parts}


def _of_dial(scored: Scored, method: str, dial: float) -> dict[str, float]:
    """Return the selectivity and the strict CFRT of one method at one dial, as if it were the swap."""
    rows = scored.rows
    names = ("swap", "strength") if method == "swap" else (method,)
    own = rows[rows["method"].isin(names) & (rows["strength"] == dial)].assign(method="swap")
    attributes = [head for head in scored.heads if head in set(own["attribute"])]
    alone = replace(scored, table=pd.concat([rows[rows["method"] == "neutral"], own]))
    found = {"cfrt_strict": cfrt_means(alone, "swap", of=attributes)["cfrt_strict"]}
    if len(attributes) > 1:
        sweep = Sweep(replace(alone, heads=attributes), "swap")
        arrays = [sweep.arrays(cls, sweep.positions()) for cls in scored.classes]
        found["selectivity"] = float(np.nanmean([selectivity(a.neutral, a.edited).mean for a in arrays]))
    return found
