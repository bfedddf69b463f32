"""`Scored`: the scores of a run and the meaning of their columns, the input of every table of figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from latentpath.errors import UserError
from latentpath.keys import FINETUNED, position_column, trajectories_in
from latentpath.metrics.flips import Array


@dataclass(frozen=True)
class Scored:
    """The scores of a run, the input of every table of figures.

    table      rows as in evaluate/scores.parquet: class, seed, attribute, method, swap_step or frame,
               prob_<head>, class_prob_<class>, and model where there are images of several
    heads      attributes that the classifier judges; the tables of CFRT take them as the attributes moved
               toward, too
    classes    classes of the images, in the order of the tables
    threshold  a probability above it means that the attribute is present
    model      the images of this model are taken
    resamples  random draws of the tests that need them, such as `metrics.paired.sign_flips`; 0 leaves these
               tests out. Intervals (`metrics.intervals`) draw nothing
    """

    table: pd.DataFrame
    heads: Sequence[str]
    classes: Sequence[str]
    threshold: float = 0.5
    model: str = FINETUNED
    resamples: int = 0

    @property
    def rows(self) -> pd.DataFrame:
        """The rows of the model."""
        return self.table[self.table["model"] == self.model] if "model" in self.table else self.table

    @property
    def trajectories(self) -> list[str]:
        """The methods that lead from the neutral image to an attribute, swaps first."""
        return trajectories_in(self.rows["method"])

    def uncalibrated(
        self, temperatures: Mapping[str, float], log_weights: Mapping[str, Sequence[float]] | None = None
    ) -> "Scored":
        """Undo calibration, which made the probabilities p of the classifier's logits z.

            p = softmax((z - log w) / T),   so   w_c p_c^T / sum_k w_k p_k^T

        over the classes, or over present and absent (of which absent has w = 1). `temperatures`: head, or
        "class" -> T. `log_weights`: the same -> log w of each class, or of present; 0 where not given. 0 and
        1 stay what they are and, without weights, so do the decisions at 0.5 and by argmax.
        """
        columns: dict[str, Array] = {}
        for head, temperature in temperatures.items():
            names = [f"prob_{head}"]
            if head == "class":
                names = [str(column) for column in self.table if str(column).startswith("class_prob_")]
            if names and set(names) <= set(self.table):
                p = self.table[names].to_numpy(np.float64)
                weights = np.exp(np.zeros(len(names)) if log_weights is None else log_weights.get(head, 0.0))
                power = (p if head == "class" else np.hstack([p, 1 - p])) ** temperature
                power[:, : len(names)] *= weights
                raw = power / power.sum(axis=1, keepdims=True)
                columns |= {name: raw[:, i] for i, name in enumerate(names)}
        return replace(self, table=self.table.assign(**columns))


@dataclass(frozen=True)
class ScoreArrays:
    """The scores of one class: S seeds, A attributes moved toward, P positions, H heads, C classes."""

    seeds: list
    positions: tuple[int, ...]
    neutral: Array  # (S, H)
    edited: Array  # (A, S, P, H)
    neutral_class_probs: Array  # (S, C)
    edited_class_probs: Array  # (A, S, P, C)

    @property
    def neutral_class(self) -> Array | None:
        """(S,) index of the class decision, NaN if unknown; None with a single class."""
        return _decision(self.neutral_class_probs)

    @property
    def edited_class(self) -> Array | None:
        """(A, S, P) index of the class decision, NaN if unknown; None with a single class."""
        return _decision(self.edited_class_probs)

    def at(self, positions: Sequence[int]) -> "ScoreArrays":
        """Return the scores at some of the positions only."""
        keep = [self.positions.index(p) for p in positions]
        edited, probs = self.edited[:, :, keep], self.edited_class_probs[:, :, keep]
        return replace(self, positions=tuple(positions), edited=edited, edited_class_probs=probs)


class Sweep:
    """The scored images of one method, and the neutral images that they belong to.

    The swap steps are the positions of the method 'swap', the frames those of every other method.
    """

    def __init__(self, scored: Scored, method: str) -> None:
        rows = scored.rows
        self.scored, self.method, self.column = scored, method, position_column(method)
        self.rows, self.neutral = rows[rows["method"] == method], rows[rows["method"] == "neutral"]

    def positions(self, asked: Sequence[int] | None = None, *, strong: bool = True) -> tuple[int, ...]:
        """Check and return `asked`, else the strong end or, if not `strong`, all positions; ascending.

        Frame 0 is the neutral image itself and no position. Raises UserError if the scores hold no image
        of the method, or none at a position that is asked for.
        """
        there = sorted(map(int, self.rows[self.column].dropna().unique())) if self.column in self.rows else []
        if not there:
            raise UserError(
                f"the scores hold no images with method '{self.method}': traverse and evaluate with it first"
            )
        if asked is None:
            if strong:
                return (strong_swap_steps if self.column == "swap_step" else strong_frames)(there)
            return tuple(p for p in there if self.column == "swap_step" or p > 0) or tuple(there)
        if absent := sorted(set(asked) - set(there)):
            raise UserError(
                f"the scores hold no {self.column} {absent} for method '{self.method}'; there are {there}"
            )
        return tuple(sorted(set(asked)))

    def strongest_first(self, positions: Sequence[int]) -> tuple[int, ...]:
        """Sort positions from strong to weak: early swaps and late frames are strong."""
        return tuple(sorted(positions, reverse=self.column == "frame"))

    def arrays(self, cls: str, positions: Sequence[int]) -> ScoreArrays:
        """Return the scores of class `cls` as arrays; the heads are also the target attributes."""
        heads, classes = list(self.scored.heads), self.scored.classes
        neutral = self.neutral.loc[self.neutral["class"] == cls]
        rows = self.rows.loc[self.rows["class"] == cls]
        # the union: a seed that lacks its neutral image or its edits is counted as left out, not lost
        seeds = sorted(set(neutral["seed"]) | set(rows["seed"]))
        columns, class_columns = [f"prob_{h}" for h in heads], [f"class_prob_{c}" for c in classes]
        before = _unique(neutral.set_index("seed")).reindex(seeds)
        keys = [heads, seeds, list(positions)]
        after = _unique(rows.set_index(["attribute", "seed", self.column])).reindex(
            pd.MultiIndex.from_product(keys)
        )
        shape = tuple(len(k) for k in keys)  # (A, S, P)
        return ScoreArrays(
            seeds=seeds,
            positions=tuple(positions),
            neutral=_columns(before, columns),
            edited=_columns(after, columns).reshape(*shape, len(columns)),
            neutral_class_probs=_columns(before, class_columns),
            edited_class_probs=_columns(after, class_columns).reshape(*shape, len(class_columns)),
        )


def strong_swap_steps(swap_steps: Sequence[int]) -> tuple[int, ...]:
    """Return the strongest (smallest) third of the swap steps, at least one: 5, 10, 15 of 5, 10, ..., 45."""
    steps = sorted(set(swap_steps))
    return tuple(steps[: max(1, round(len(steps) / 3))])


def strong_frames(frames: Sequence[int]) -> tuple[int, ...]:
    """Return the last 40 % of the frames, at least one: the paper's 30..49 of 0..49."""
    ordered = sorted(set(frames))
    return tuple(ordered[-max(1, len(ordered) * 2 // 5) :])


def _unique(rows: pd.DataFrame) -> pd.DataFrame:
    if not rows.index.is_unique:
        first = rows.index[rows.index.duplicated()][0]
        names = ", ".join(str(n) for n in rows.index.names)
        raise UserError(
            f"the scores hold two rows for the same image ({names} = {first}): run "
            "`latentpath evaluate` again"
        )
    return rows


def _columns(rows: pd.DataFrame, names: list[str]) -> Array:
    """Return columns as an array; a missing head is all NaN."""
    return rows.reindex(columns=names).to_numpy(dtype=np.float64, na_value=np.nan)


def _decision(class_probs: Array) -> Array | None:
    """(..., C) -> (...): argmax as float, NaN if a probability is; None with a single class."""
    if class_probs.shape[-1] < 2:
        return None
    known = np.isfinite(class_probs).all(axis=-1)
    return np.where(known, np.nan_to_num(class_probs).argmax(axis=-1), np.nan)
