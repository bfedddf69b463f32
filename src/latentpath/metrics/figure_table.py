"""The tidy table of a run's figures, evaluate/figures.parquet, with lookup.

class, attribute  what the figure is of; both empty for the mean over classes and attributes
method            how the images were made: one of keys.TRAJECTORIES, or 'neutral'
position          swap step or frame; empty for the figure of the whole trajectory: of CFRT and its
                  conditions on the strong end, of distances over all positions
model             'finetuned', or 'base'
figure            its key, see `metrics.figures`
value             NaN if undefined
low, high         ends of the 95 % interval over seeds, NaN if there is none
n                 seeds that it is taken over
reason            why it is undefined, or what was left out; '' otherwise
"""

from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from latentpath.keys import FINETUNED

KEY = ["class", "attribute", "method", "position", "model", "figure"]
COLUMNS = [*KEY, "value", "low", "high", "n", "reason"]


@dataclass(frozen=True)
class Reading:
    """One figure.

    value, and low and high, the ends of its interval: None if undefined. n: the seeds that it is taken over.
    reason: why it is undefined, or what was left out.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    reason: str = ""


@dataclass(frozen=True)
class FigureTable:
    """The rows of figures.parquet."""

    rows: pd.DataFrame

    def get(
        self,
        figure: str,
        cls: str | None = None,
        attribute: str | None = None,
        *,
        method: str = "swap",
        position: int | None = None,
        model: str = FINETUNED,
    ) -> Reading | None:
        """Return the figure with this key for a class and attribute; without both, its mean over all.

        position: a swap step or frame; None: the figure of the whole trajectory. The other arguments are
        columns of the table. Returns None if the table does not have it.
        """
        return self._readings.get((cls, attribute, method, position, model, figure))

    def value(self, figure: str, cls: str | None = None, attribute: str | None = None, **key) -> float | None:
        """Return the value of `get` alone; None if it is undefined or missing."""
        found = self.get(figure, cls, attribute, **key)
        return found.value if found else None

    def positions(self, figure: str, *, method: str = "swap", model: str = FINETUNED) -> list[int]:
        """Return the positions for which the figure is known, ascending."""
        rows = self.rows[(self.rows["figure"] == figure) & (self.rows["method"] == method)]
        return sorted(map(int, rows.loc[rows["model"] == model, "position"].dropna().unique()))

    def by_position(self, method: str, *, model: str = FINETUNED) -> pd.DataFrame:
        """Return one row per class, attribute and position; columns <figure>, <figure>_low, <figure>_high."""
        rows = self.rows[(self.rows["method"] == method) & (self.rows["model"] == model)]
        rows = rows[rows["position"].notna()].astype({"position": int})
        keys = ["class", "attribute", "position"]
        wide = rows.pivot(index=keys, columns="figure", values=["value", "low", "high"])
        wide.columns = [f if part == "value" else f"{f}_{part}" for part, f in wide.columns]
        return wide.reset_index()

    @cached_property
    def methods(self) -> set[str]:
        """The methods of which the table has figures."""
        return set(self.rows["method"])

    @cached_property
    def figures(self) -> set[str]:
        """The keys of the figures in the table."""
        return set(self.rows["figure"])

    @cached_property
    def _readings(self) -> dict[tuple, Reading]:
        rows = self.rows[COLUMNS].astype(object)
        readings = {}
        for *key, value, low, high, n, reason in rows.where(rows.notna(), None).itertuples(index=False):
            cls, attribute, method, position, model, figure = key
            place = None if position is None else int(position)
            seeds = None if n is None else int(n)
            found = Reading(value, low, high, seeds, reason or "")
            readings[cls, attribute, method, place, model, figure] = found
        return readings
