"""The long tables beside metrics.json: one CSV file each, for other people's scripts and for the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from latentpath.metrics import (
    cfrt_by_position,
    cfrt_sensitivity,
    co_change_table,
    edit_table,
    flip_table,
    most_entangled,
)


def write_tables(
    folder: Path,
    scores: pd.DataFrame,
    *,
    classes: Sequence[str],
    heads: Sequence[str],
    strong: Sequence[int],
    threshold: float,
    resamples: int,
    geometry: pd.DataFrame,
) -> list[Path]:
    """Write `folder`/<name>.csv and return their paths; figures of the plain swaps unless a column says more.

    cfrt_by_position   both definitions and each condition at every swap step alone
    cfrt_sensitivity   how they move with the threshold, and with which swap steps count
    flip_rate          share of seeds at every swap step
    co_change          flip one attribute: by how much each output of the classifier moves
    most_entangled     the pairs of co_change that move together most
    edits              what every kind of edit did (see metrics.edits)
    geometry           cosines, distances, curvature, path over chord: means with bands over the seeds
    Rates come with 95 % intervals, low and high, over the seeds.
    """
    options = {"threshold": threshold, "intervals": resamples}
    changes = co_change_table(scores, heads, classes, "swap", strong, threshold, resamples=resamples)
    makers: dict[str, Callable[[], pd.DataFrame]] = {
        "cfrt_by_position": lambda: cfrt_by_position(scores, heads, classes, "swap", **options),
        "cfrt_sensitivity": lambda: cfrt_sensitivity(scores, heads, classes, "swap", strong, **options),
        "flip_rate": lambda: flip_table(scores, heads, classes, "swap", **options),
        "co_change": lambda: changes,
        "most_entangled": lambda: most_entangled(changes, 12),
        "edits": lambda: edit_table(scores, heads, threshold),
        "geometry": lambda: geometry,
    }
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, make in makers.items():
        make().to_csv(folder / f"{name}.csv", index=False, float_format="%.6g")
        paths.append(folder / f"{name}.csv")
    return paths
