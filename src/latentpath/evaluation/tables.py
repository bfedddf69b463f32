"""The long tables beside metrics.json: one CSV file each, for other people's scripts and for the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from latentpath.metrics import (
    Scored,
    cfrt_by_position,
    cfrt_sensitivity,
    co_change_table,
    edit_table,
    flip_table,
    most_entangled,
)
from latentpath.runs.files import write_csv


def write_tables(
    folder: Path,
    scored: Scored,
    *,
    strong: Sequence[int],
    geometry: pd.DataFrame,
    temperatures: Mapping[str, float] | None = None,
) -> list[Path]:
    """Write `folder`/<name>.csv and return their paths; figures of the plain swaps unless a column says more.

    cfrt_by_position   both definitions and each condition at every swap step and every frame of a curve alone
    cfrt_sensitivity   how they move with the threshold, with which swap steps or frames count, and with the
                       classifier's calibration, whose `temperatures` are given
    flip_rate          share of seeds at every swap step, and every frame
    co_change          flip one attribute: by how much each output of the classifier moves
    most_entangled     the pairs of co_change that move together most
    edits              what every kind of edit did (see metrics.edits)
    geometry           cosines, curvature, path over chord; distances of latents, in pixels, to a network:
                       means with bands over the seeds
    Rates come with 95 % intervals, low and high, over the seeds.
    """

    def of_each(table: Callable[[str], pd.DataFrame]) -> pd.DataFrame:
        return pd.concat([table(method) for method in scored.trajectories], ignore_index=True)

    def sensitivity(method: str) -> pd.DataFrame:
        positions = strong if method == "swap" else None
        return cfrt_sensitivity(scored, method, positions, temperatures=temperatures)

    changes = co_change_table(scored, "swap", strong)
    makers: dict[str, Callable[[], pd.DataFrame]] = {
        "cfrt_by_position": lambda: of_each(lambda m: cfrt_by_position(scored, m)),
        "cfrt_sensitivity": lambda: of_each(sensitivity),
        "flip_rate": lambda: of_each(lambda m: flip_table(scored, m)),
        "co_change": lambda: changes,
        "most_entangled": lambda: most_entangled(changes, 12),
        "edits": lambda: edit_table(scored),
        "geometry": lambda: geometry,
    }
    paths = []
    for name, make in makers.items():
        write_csv(folder / f"{name}.csv", make())
        paths.append(folder / f"{name}.csv")
    return paths
