"""CFRT and flip tables: from the rows of scores.parquet to the arrays of `metrics.cfrt` and `flips`."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from latentpath.errors import UserError
from latentpath.metrics.cfrt import cfrt_released, cfrt_strict
from latentpath.metrics.flips import Array, flip_rate, flip_step


def strong_swap_steps(swap_steps: Sequence[int]) -> tuple[int, ...]:
    """The strongest (smallest) third of the swap steps, at least one: of 5, 10, ..., 45 the 5, 10, 15."""
    steps = sorted(set(swap_steps))
    return tuple(steps[: max(1, round(len(steps) / 3))])


def strong_frames(frames: Sequence[int]) -> tuple[int, ...]:
    """The last 40 % of the frames, at least one; of 0..49 the paper's 30..49."""
    ordered = sorted(set(frames))
    return tuple(ordered[-max(1, len(ordered) * 2 // 5) :])


def cfrt_table(
    scores: pd.DataFrame,
    attributes: Sequence[str],
    classes: Sequence[str],
    method: str,
    positions: Sequence[int] | None = None,
    threshold: float = 0.5,
    *,
    model: str = "finetuned",
) -> pd.DataFrame:
    """Both CFRT definitions and each condition: one row a class and attribute.

    `scores`: rows as in evaluate/scores.parquet (class, seed, attribute, method, swap_step or frame,
    prob_<attribute>, class_prob_<class>); `method` 'swap' uses swap steps as positions, every other method
    frames. `positions`: the strong end, by default `strong_swap_steps` or `strong_frames` of what is there.
    The baseline x of a seed is its 'neutral' row (frame 0 of an interpolation decodes the same latent).
    Columns: class, attribute, method, positions, n_seeds, n_images, cfrt_released, cfrt_strict, flipped,
    dominant_heads, dominant_images, class_kept, others_kept, all_released, all_strict, already_present (in
    [0, 1], NaN where undefined) and reason ('' or 'column: why; ...' for the undefined and for those that
    left images out). Raises UserError if the method or a position has no rows, or an image has two.
    """
    rows, column = _rows(scores, method, model)
    strong = _positions(rows, column, method, positions)
    table = []
    for cls in classes:
        cube = _Cube(scores, rows, column, attributes, classes, cls, strong, model)
        for i, attribute in enumerate(attributes):
            args = (cube.neutral, cube.edited, i)
            options = dict(neutral_class=cube.neutral_class, edited_class=cube.edited_class)
            released = cfrt_released(*args, **options, threshold=threshold, names=attributes)
            strict = cfrt_strict(*args, **options, threshold=threshold, names=attributes)
            rates = {
                "cfrt_released": released.cfrt,
                "cfrt_strict": strict.cfrt,
                "flipped": strict.flipped,
                "dominant_heads": released.dominant,
                "dominant_images": strict.dominant,
                "class_kept": strict.class_kept,
                "others_kept": strict.others_kept,
                "all_released": released.all,
                "all_strict": strict.all,
                "already_present": strict.already_present,
            }
            table.append(
                {"class": cls, "attribute": attribute, "method": method, "positions": list(strong)}
                | {"n_seeds": strict.seeds, "n_images": strict.flipped.n}
                | {name: rate.value for name, rate in rates.items()}
                | {
                    "reason": "; ".join(
                        f"{name}: {rate.reason}" for name, rate in rates.items() if rate.reason
                    )
                }
            )
    return pd.DataFrame(table)


def flip_table(
    scores: pd.DataFrame,
    attributes: Sequence[str],
    classes: Sequence[str],
    method: str,
    threshold: float = 0.5,
    *,
    model: str = "finetuned",
) -> pd.DataFrame:
    """Flip rate at every position; columns class, attribute, method, position, flip_rate, n (seeds)."""
    rows, column = _rows(scores, method, model)
    everywhere = _positions(rows, column, method, None, strong=False)
    table = []
    for cls in classes:
        cube = _Cube(scores, rows, column, attributes, classes, cls, everywhere, model)
        for i, attribute in enumerate(attributes):
            before, after = cube.neutral[:, i], cube.edited[i, :, :, i]  # (S,), (S, P)
            decided = (np.isfinite(before)[:, None] & np.isfinite(after)).sum(axis=0)
            for position, rate, n in zip(
                everywhere, flip_rate(before, after, threshold=threshold), decided, strict=True
            ):
                key = {"class": cls, "attribute": attribute, "method": method, "position": position}
                table.append(key | {"flip_rate": float(rate), "n": int(n)})
    return pd.DataFrame(table)


def flip_step_table(
    scores: pd.DataFrame,
    attributes: Sequence[str],
    classes: Sequence[str],
    method: str,
    threshold: float = 0.5,
    *,
    model: str = "finetuned",
) -> pd.DataFrame:
    """`flip_step` of each seed; columns class, attribute, method, seed, flip_step (NaN as there)."""
    rows, column = _rows(scores, method, model)
    everywhere = _positions(rows, column, method, None, strong=False)
    strongest = "smallest" if column == "swap_step" else "largest"
    table = []
    for cls in classes:
        cube = _Cube(scores, rows, column, attributes, classes, cls, everywhere, model)
        for i, attribute in enumerate(attributes):
            before, after = cube.neutral[:, i], cube.edited[i, :, :, i]
            steps = flip_step(before, after, everywhere, strongest=strongest, threshold=threshold)
            for seed, step in zip(cube.seeds, steps, strict=True):
                key = {"class": cls, "attribute": attribute, "method": method, "seed": seed}
                table.append(key | {"flip_step": float(step)})
    return pd.DataFrame(table)


class _Cube:
    """The arrays of one class, as the docstring of `metrics.cfrt` describes them."""

    def __init__(
        self,
        scores: pd.DataFrame,
        rows: pd.DataFrame,
        column: str,
        attributes: Sequence[str],
        classes: Sequence[str],
        cls: str,
        positions: Sequence[int],
        model: str,
    ) -> None:
        neutral, _ = _rows(scores, "neutral", model)
        neutral, rows = neutral.loc[neutral["class"] == cls], rows.loc[rows["class"] == cls]
        # the union: a seed that lacks its neutral image or its edits is counted as left out, not lost
        self.seeds = sorted(set(neutral["seed"]) | set(rows["seed"]))
        heads = [f"prob_{a}" for a in attributes]
        class_heads = [f"class_prob_{c}" for c in classes]
        before = _unique(neutral.set_index("seed")).reindex(self.seeds)
        keys = [list(attributes), self.seeds, list(positions)]
        after = _unique(rows.set_index(["attribute", "seed", column])).reindex(
            pd.MultiIndex.from_product(keys)
        )
        shape = tuple(len(k) for k in keys)  # (A, S, P)
        self.neutral = _columns(before, heads)
        self.edited = _columns(after, heads).reshape(*shape, len(heads))
        self.neutral_class = self.edited_class = None
        if len(classes) > 1:
            self.neutral_class = _decision(_columns(before, class_heads))
            self.edited_class = _decision(_columns(after, class_heads)).reshape(shape)


def _rows(scores: pd.DataFrame, method: str, model: str) -> tuple[pd.DataFrame, str]:
    chosen = scores["method"] == method
    if "model" in scores:
        chosen &= scores["model"] == model
    return scores.loc[chosen], "swap_step" if method == "swap" else "frame"


def _positions(
    rows: pd.DataFrame, column: str, method: str, asked: Sequence[int] | None, *, strong: bool = True
) -> tuple[int, ...]:
    there = sorted({int(p) for p in rows[column].dropna()}) if column in rows else []
    if not there:
        raise UserError(
            f"the scores hold no images with method '{method}': run evaluate with that method first"
        )
    if asked is None:
        choose = strong_swap_steps if column == "swap_step" else strong_frames
        return choose(there) if strong else tuple(there)
    if absent := sorted(set(asked) - set(there)):
        raise UserError(f"the scores hold no {column} {absent} for method '{method}'; there are {there}")
    return tuple(sorted(set(asked)))


def _unique(rows: pd.DataFrame) -> pd.DataFrame:
    if not rows.index.is_unique:
        first = rows.index[rows.index.duplicated()][0]
        names = ", ".join(str(n) for n in rows.index.names)
        raise UserError(f"the scores hold two rows for the same image ({names} = {first}): evaluate again")
    return rows


def _columns(rows: pd.DataFrame, names: list[str]) -> Array:
    return rows.reindex(columns=names).to_numpy(
        dtype=np.float64, na_value=np.nan
    )  # a missing head is all NaN


def _decision(class_probs: Array) -> Array:
    """(rows, C) -> (rows,): argmax as float, NaN where a probability is."""
    known = np.isfinite(class_probs).all(axis=1)
    return np.where(known, np.nan_to_num(class_probs).argmax(axis=1), np.nan)
