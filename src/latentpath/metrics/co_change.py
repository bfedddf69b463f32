"""Co-change: how much every output of the classifier changes under an edit toward one attribute.

The heads of the result are those of `Scored` and, with two classes or more, `class <name>` for each class
probability. Probabilities of two classes mirror each other.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from latentpath.metrics.flips import Array, hard_label
from latentpath.metrics.intervals import mean_intervals, rate_intervals
from latentpath.metrics.paired import sign_flips
from latentpath.metrics.scored import ScoreArrays, Scored, Sweep

COLUMNS = [
    "class",
    "attribute",
    "head",
    "change",
    "low",
    "high",
    "abs_change",
    "label_changes",
    "label_changes_low",
    "label_changes_high",
    "p",
    "n",
    "reason",
]


def co_change_table(
    scored: Scored, method: str = "swap", positions: Sequence[int] | None = None
) -> pd.DataFrame:
    """Return the matrix of co-changes: one row per class, target attribute A and head h.

        change        1/n sum_s mean_p ( f_h(x_sp) - f_h(x_s0) )       in [-1, 1]
        low, high     its 95 % interval over seeds (see `metrics.intervals`)
        abs_change    1/n sum_s mean_p | f_h(x_sp) - f_h(x_s0) |       in [0, 1]
        label_changes share of images whose hard label differs from the neutral image's: above `threshold`
                      or not; of a class, chosen by the classifier or not; with its 95 % interval, _low, _high
        p             P(a change as far from 0 among all heads but A's own, if no seed leaned either way), by
                      sign flips of whole seeds (`metrics.paired`); NaN for A's own, and without resamples
        n             seeds s that have the scores at all positions

    x_sp are the images moved toward A at the positions p of the strong end (or `positions`), x_s0 the neutral
    image. A change of zero with a large abs_change is one that goes either way from seed to seed. abs_change
    has no zero to be tested against: any redrawing of an image moves it. NaN with a `reason` where no seed
    can say. Raises UserError as `cfrt_table` does.
    """
    sweep, attributes, classes = Sweep(scored, method), scored.heads, scored.classes
    strong = sweep.positions(positions)
    table = []
    for cls in classes:
        arrays = sweep.arrays(cls, strong)
        heads, shifts, changes = _changes(arrays, attributes, classes, scored.threshold)
        per_seed = shifts.mean(axis=2)  # (A, S, H); a seed without one of its positions is NaN
        flat = per_seed.transpose(1, 0, 2).reshape(len(arrays.seeds), len(attributes) * len(heads))
        low, high = (end.reshape(len(attributes), len(heads)) for end in mean_intervals(flat))
        p = _among_all(per_seed, scored.resamples)
        relabelled = changes.mean(axis=2).transpose(1, 0, 2).reshape(flat.shape)
        ends = [end.reshape(low.shape) for end in rate_intervals(relabelled)]
        for i, attribute in enumerate(attributes):
            for h, head in enumerate(heads):
                known = np.isfinite(per_seed[i, :, h])
                row = {"class": cls, "attribute": attribute, "head": head}
                row |= {"change": _mean(per_seed[i, known, h]), "low": low[i, h], "high": high[i, h]}
                row |= {"abs_change": _mean(np.abs(shifts[i, known, :, h]))}
                row |= {"label_changes": _mean(changes[i, known, :, h])}
                row |= {"label_changes_low": ends[0][i, h], "label_changes_high": ends[1][i, h]}
                row |= {"p": p[i, h], "n": int(known.sum())}
                table.append(row | {"reason": "" if known.any() else _reason(arrays, i, h, attribute, head)})
    return pd.DataFrame(table, columns=COLUMNS)


def most_entangled(table: pd.DataFrame, k: int = 10) -> pd.DataFrame:
    """Return the k most entangled pairs (attribute, other head), from the rows of `co_change_table`.

    The first pair is that whose other label changes most often; ties are ordered by |change|. Significance
    does not count for the order: a head that flips either way in half of the seeds is more entangled than one
    that always rises by 0.01. The column `significant` is whether p, which accounts for all pairs of the
    class, is at most 0.05. Undefined pairs are left out. Of two classes only one is listed, because the
    other is its mirror image.
    """
    of_classes = table["head"].str.startswith("class ")
    if table.loc[of_classes, "head"].nunique() == 2:
        table = table[~of_classes | (table["head"] == "class " + table["class"])]
    pairs = table[(table["head"] != table["attribute"]) & table["change"].notna()]
    pairs = pairs.assign(significant=pairs["p"] <= 0.05, size=pairs["change"].abs())
    pairs = pairs.sort_values(["label_changes", "size"], ascending=False, kind="stable")
    return pairs.drop(columns="size").head(k).reset_index(drop=True)


def _among_all(per_seed: Array, resamples: int) -> Array:
    """Return p (A, H) of the changes (A, S, H), adjusted for all pairs of an attribute and another head."""
    count, _, heads = per_seed.shape
    p = np.full((count, heads), np.nan)
    off = ~np.eye(count, heads, dtype=bool)
    if resamples:
        p[off] = sign_flips(per_seed.transpose(1, 0, 2)[:, off], resamples=resamples)[1]
    return p


def _changes(
    arrays: ScoreArrays, attributes: Sequence[str], classes: Sequence[str], threshold: float
) -> tuple[list[str], Array, Array]:
    """Return heads, score changes and label changes (1 or 0), (A, S, P, H); NaN if unknown."""
    heads = list(attributes)
    before, after = arrays.neutral, arrays.edited
    labels = hard_label(before, threshold), hard_label(after, threshold)
    y, y_edited = arrays.neutral_class, arrays.edited_class
    if y is not None and y_edited is not None:
        heads += [f"class {c}" for c in classes]
        before = np.concatenate([before, arrays.neutral_class_probs], axis=-1)
        after = np.concatenate([after, arrays.edited_class_probs], axis=-1)
        chosen = (_one_hot(y, len(classes)), _one_hot(y_edited, len(classes)))
        labels = tuple(np.concatenate(pair, axis=-1) for pair in zip(labels, chosen, strict=True))
    before, label = before[None, :, None], labels[0][None, :, None]  # (1, S, 1, H)
    unknown = np.isnan(label) | np.isnan(labels[1])
    return heads, after - before, np.where(unknown, np.nan, label != labels[1])


def _one_hot(decision: Array, count: int) -> Array:
    return np.where(np.isnan(decision)[..., None], np.nan, decision[..., None] == np.arange(count))


def _mean(values: Array) -> float:
    return float(values.mean()) if values.size else float("nan")


def _reason(arrays: ScoreArrays, i: int, h: int, attribute: str, head: str) -> str:
    neutral = np.concatenate([arrays.neutral, arrays.neutral_class_probs], axis=-1)
    if not arrays.seeds:
        return "no images of this class"
    if np.isnan(neutral[:, h]).all():
        return f"no score of head {head} on the neutral images"
    if np.isnan(arrays.edited[i]).all():
        return f"no scored images toward {attribute}"
    return "no seed has a score at every position"
