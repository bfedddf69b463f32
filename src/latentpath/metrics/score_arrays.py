"""From the rows of scores.parquet to the arrays of `metrics.cfrt`, `flips` and `co_change`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from latentpath.errors import UserError
from latentpath.keys import position_column
from latentpath.metrics.flips import Array


def strong_swap_steps(swap_steps: Sequence[int]) -> tuple[int, ...]:
    """The strongest (smallest) third of the swap steps, at least one: of 5, 10, ..., 45 the 5, 10, 15."""
    steps = sorted(set(swap_steps))
    return tuple(steps[: max(1, round(len(steps) / 3))])


def strong_frames(frames: Sequence[int]) -> tuple[int, ...]:
    """The last 40 % of the frames, at least one; of 0..49 the paper's 30..49."""
    ordered = sorted(set(frames))
    return tuple(ordered[-max(1, len(ordered) * 2 // 5) :])


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
        """(S,) index of the class decision, NaN where unknown; None with a single class."""
        return _decision(self.neutral_class_probs)

    @property
    def edited_class(self) -> Array | None:
        """(A, S, P), likewise."""
        return _decision(self.edited_class_probs)

    def at(self, positions: Sequence[int]) -> "ScoreArrays":
        """The same at some of the positions only."""
        keep = [self.positions.index(p) for p in positions]
        edited, probs = self.edited[:, :, keep], self.edited_class_probs[:, :, keep]
        return replace(self, positions=tuple(positions), edited=edited, edited_class_probs=probs)


class Sweep:
    """The scored images of one method and model, and the neutral images that they belong to.

    `method` 'swap' uses swap steps as positions, every other method frames.
    """

    def __init__(self, scores: pd.DataFrame, method: str, model: str) -> None:
        of_model = scores["model"] == model if "model" in scores else np.ones(len(scores), dtype=bool)
        self.method, self.column = method, position_column(method)
        self.rows = scores.loc[(scores["method"] == method) & of_model]
        self.neutral = scores.loc[(scores["method"] == "neutral") & of_model]

    def positions(self, asked: Sequence[int] | None = None, *, strong: bool = True) -> tuple[int, ...]:
        """`asked`, checked; by default the strong end or, with `strong` false, all but frame 0, which is the
        neutral image itself. In ascending order."""
        there = sorted(map(int, self.rows[self.column].dropna().unique())) if self.column in self.rows else []
        if not there:
            raise UserError(
                f"the scores hold no images with method '{self.method}': run evaluate with that method first"
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
        """Early swaps and late frames are strong."""
        return tuple(sorted(positions, reverse=self.column == "frame"))

    def arrays(
        self, attributes: Sequence[str], classes: Sequence[str], cls: str, positions: Sequence[int]
    ) -> ScoreArrays:
        """Scores of class `cls`; `attributes` are both the heads and the attributes moved toward."""
        neutral = self.neutral.loc[self.neutral["class"] == cls]
        rows = self.rows.loc[self.rows["class"] == cls]
        # the union: a seed that lacks its neutral image or its edits is counted as left out, not lost
        seeds = sorted(set(neutral["seed"]) | set(rows["seed"]))
        heads, class_heads = [f"prob_{a}" for a in attributes], [f"class_prob_{c}" for c in classes]
        before = _unique(neutral.set_index("seed")).reindex(seeds)
        keys = [list(attributes), seeds, list(positions)]
        after = _unique(rows.set_index(["attribute", "seed", self.column])).reindex(
            pd.MultiIndex.from_product(keys)
        )
        shape = tuple(len(k) for k in keys)  # (A, S, P)
        return ScoreArrays(
            seeds=seeds,
            positions=tuple(positions),
            neutral=_columns(before, heads),
            edited=_columns(after, heads).reshape(*shape, len(heads)),
            neutral_class_probs=_columns(before, class_heads),
            edited_class_probs=_columns(after, class_heads).reshape(*shape, len(classes)),
        )


def uncalibrated(scores: pd.DataFrame, temperatures: Mapping[str, float]) -> pd.DataFrame:
    """The scores before the classifier's logits were divided by a temperature each (head, or "class" -> T).

        p_c^T / sum_k p_k^T,   over the classes, or over present and absent

    0 and 1 stay what they are, and so do the decisions at 0.5 and by argmax.
    """
    columns: dict[str, Array] = {}
    for head, temperature in temperatures.items():
        names = [f"prob_{head}"]
        if head == "class":
            names = [str(column) for column in scores if str(column).startswith("class_prob_")]
        if names and set(names) <= set(scores):
            p = scores[names].to_numpy(np.float64)
            power = (p if head == "class" else np.hstack([p, 1 - p])) ** temperature
            raw = power / power.sum(axis=1, keepdims=True)
            columns |= {name: raw[:, i] for i, name in enumerate(names)}
    return scores.assign(**columns)


def _unique(rows: pd.DataFrame) -> pd.DataFrame:
    if not rows.index.is_unique:
        first = rows.index[rows.index.duplicated()][0]
        names = ", ".join(str(n) for n in rows.index.names)
        raise UserError(f"the scores hold two rows for the same image ({names} = {first}): evaluate again")
    return rows


def _columns(rows: pd.DataFrame, names: list[str]) -> Array:
    """A missing head is all NaN."""
    return rows.reindex(columns=names).to_numpy(dtype=np.float64, na_value=np.nan)


def _decision(class_probs: Array) -> Array | None:
    """(..., C) -> (...): argmax as float, NaN where a probability is; None with a single class."""
    if class_probs.shape[-1] < 2:
        return None
    known = np.isfinite(class_probs).all(axis=-1)
    return np.where(known, np.nan_to_num(class_probs).argmax(axis=-1), np.nan)
