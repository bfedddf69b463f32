"""Human labels of some generated images: which images are labelled, and what the labels say of all images.

The judge sees every image, a human sees a few. Prediction-powered inference takes the judge's decisions on
all images and corrects them by its mistakes on the labelled ones (`judge_error.prediction_powered`).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from latentpath.keys import LABELLED, NEUTRAL
from latentpath.metrics.figure_table import COLUMNS
from latentpath.metrics.flips import hard_label
from latentpath.metrics.intervals import overall_rate_interval, rate_intervals
from latentpath.metrics.judge_error import prediction_powered
from latentpath.metrics.scored import Scored

HUMAN = ("present_human", "human_agreement")  # the figures
KEY = ["class", "seed", "attribute", "method", "swap_step"]


def draw_sample(images: pd.DataFrame, seeds: int, *, random_state: int = 0) -> pd.DataFrame:
    """Draw the images that a human is to label: of each drawn seed one image of every kind, in random order.

    images: a row for each image that may be drawn, neutral images and strong swaps, with the columns KEY. A
    kind is a class, a method and an attribute. `seeds` seeds are drawn without replacement from the S seeds
    that all classes have; then, of each kind and seed, one of its P swap steps. Columns of the result: image
    (numbered from 1), KEY, and probability, with which the image was drawn: seeds / (S P).
    Raises ValueError if there are fewer than `seeds` seeds.
    """
    of_classes = [set(of_class["seed"]) for _, of_class in images.groupby("class")]
    common = sorted(set.intersection(*of_classes)) if of_classes else []
    if seeds > len(common):
        raise ValueError(f"{seeds} seeds are asked for, there are {len(common)}")
    rng = np.random.default_rng(random_state)
    drawn = images[images["seed"].isin(rng.choice(common, seeds, replace=False))].sort_values(KEY)
    kind = ["class", "seed", "attribute", "method"]
    probability = seeds / len(common) / drawn.groupby(kind)["swap_step"].transform("size")
    # of shuffled rows the first of a kind is any of them
    table = drawn[KEY].assign(probability=probability).sample(frac=1, random_state=rng).drop_duplicates(kind)
    table.insert(0, "image", range(1, len(table) + 1))
    return table.reset_index(drop=True)


def human_figures(
    scored: Scored,
    attributes: Sequence[str],
    strong: Sequence[int],
    sample: pd.DataFrame,
    labels: pd.DataFrame,
) -> pd.DataFrame:
    """Return the figures of human labels as rows of the table of figures (`metrics.figure_table`).

        present_human     share of the strong swaps with their attribute, and of the neutral images with each
                          attribute: prediction-powered, with one entry a seed; n is the number of labelled
                          seeds. The mean over classes and attributes takes the seeds without a gap
        human_agreement   share of the labelled images on which the judge decides as the human: of each
                          attribute, and the mean over attributes; the method is LABELLED

    sample: the result of `draw_sample`. labels: indexed by its `image`, a column of 1, 0 or NaN (not
    labelled) for each attribute.
    """
    images = _decided(scored, attributes, strong)
    labelled = images.merge(sample[["image", *KEY]], on=KEY).set_index("image").sort_index()
    names, cells = list(attributes), [(c, a) for c in scored.classes for a in attributes]
    said, truth = labelled[names], labels.reindex(labelled.index)[names].astype(float)
    rows: list[Mapping[str, object]] = []
    for method in ("swap", "neutral"):
        tables = [images, labelled, labelled[KEY].join(truth)]
        f, g, y = (_of_seeds(table, method, cells) for table in tables)
        for cell in cells:
            key = {"class": cell[0], "attribute": cell[1], "method": method}
            rows.append(key | _estimate(f[[cell]], g[[cell]], y[[cell]]))
        rows.append({"method": method} | _estimate(f, g, y))
    right = (said == truth).astype(float).where(truth.notna() & said.notna())
    counts = right.notna().astype(float).groupby(labelled["seed"]).sum()
    shares = right.groupby(labelled["seed"]).mean()
    ends = rate_intervals(shares, counts)
    agreement = {"method": LABELLED, "figure": "human_agreement"}
    for i, attribute in enumerate(attributes):
        known = right[attribute].dropna()
        found = {"value": known.mean(), "low": ends.low[i], "high": ends.high[i], "n": len(known)}
        rows.append(agreement | {"attribute": attribute} | found)
    low, high = overall_rate_interval(shares, counts)
    rows.append(agreement | {"value": right.mean().mean(), "low": low, "high": high})
    table = pd.DataFrame(rows, columns=COLUMNS).astype({"position": "Int64", "n": "Int64", "value": float})
    return table.assign(model=scored.model, reason=table["reason"].fillna(""))


def _decided(scored: Scored, attributes: Sequence[str], strong: Sequence[int]) -> pd.DataFrame:
    """Return the neutral images and the strong swaps: KEY, and the judge's decision on each attribute."""
    rows = scored.rows
    strongly = (rows["method"] == "swap") & rows["swap_step"].isin(list(strong))
    rows = rows[strongly | (rows["method"] == "neutral")]
    columns = rows.reindex(columns=[f"prob_{attribute}" for attribute in attributes])
    decided = hard_label(columns.to_numpy(np.float64, na_value=np.nan), scored.threshold)
    return rows[KEY].join(pd.DataFrame(decided, index=rows.index, columns=list(attributes)))


def _of_seeds(images: pd.DataFrame, method: str, cells: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """Return a row a seed, a column a cell (class, attribute): the mean of the attribute over its images."""
    images = images[images["method"] == method]
    columns = {}
    for cls, attribute in cells:
        toward = attribute if method == "swap" else NEUTRAL
        own = images[(images["class"] == cls) & (images["attribute"] == toward)]
        columns[cls, attribute] = own.groupby("seed")[attribute].mean()
    return pd.DataFrame(columns)


def _estimate(f: pd.DataFrame, g: pd.DataFrame, y: pd.DataFrame) -> dict[str, object]:
    """Estimate the mean over cells, from tables (seeds, cells): f and g of the judge, y of the human."""
    known = (y.notna() & g.notna()).all(axis=1)
    labelled = y.index[known]
    others = f.drop(index=labelled, errors="ignore").dropna().mean(axis=1)
    found = prediction_powered(
        others, g.loc[labelled].mean(axis=1), y.loc[labelled].mean(axis=1), unit=1 / y.shape[1]
    )
    return {"figure": "present_human", "n": len(labelled)} | vars(found)
