"""Which images a human labels, and what the labels say of all images."""

import numpy as np
import pandas as pd
import pytest

from latentpath.keys import LABELLED
from latentpath.metrics import Scored
from latentpath.metrics.human_labels import KEY, draw_sample, human_figures

SEEDS, STEPS, CLASSES, ATTRIBUTES = 40, (5, 10), ["MEL", "NV"], ["hair", "ink"]


def scores(present: dict[str, float], sees: float, rng: np.random.Generator) -> tuple[Scored, pd.DataFrame]:
    """Scores of a judge that sees an attribute that is there with probability `sees`, and the truth.

    present: the share of images with the attribute after its swap; neutral images have none.
    """
    rows, truths = [], []
    for cls in CLASSES:
        for seed in range(SEEDS):
            for toward in ("", *ATTRIBUTES):
                for step in STEPS if toward else (50,):
                    truth = {a: float(a == toward and rng.uniform() < present[a]) for a in ATTRIBUTES}
                    key = (cls, seed, toward, "swap" if toward else "neutral", step)
                    seen = {f"prob_{a}": t * (rng.uniform() < sees) for a, t in truth.items()}
                    rows.append(dict(zip(KEY, key, strict=True)) | seen)
                    truths.append(dict(zip(KEY, key, strict=True)) | truth)
    return Scored(pd.DataFrame(rows), ATTRIBUTES, CLASSES), pd.DataFrame(truths)


def labels_of(sample: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    return sample.merge(truth, on=KEY).set_index("image")[ATTRIBUTES]


def read(table: pd.DataFrame, figure: str, cls=None, attribute=None, method: str = "swap") -> dict:
    rows = table[(table["figure"] == figure) & (table["method"] == method)]
    for column, wanted in (("class", cls), ("attribute", attribute)):
        rows = rows[rows[column].isna() if wanted is None else rows[column] == wanted]
    (row,) = rows.to_dict("records")
    return row


@pytest.fixture
def half() -> tuple[Scored, pd.DataFrame, pd.DataFrame]:
    """A judge that misses half of the hairs and inks, which are there in 0.8 and 0.4 of the images."""
    scored, truth = scores({"hair": 0.8, "ink": 0.4}, 0.5, np.random.default_rng(0))
    return scored, truth, draw_sample(truth[KEY], 24)


def test_each_drawn_seed_has_one_image_of_every_kind_and_the_probabilities_are_those_of_drawing():
    images = scores({"hair": 1, "ink": 1}, 1, np.random.default_rng(0))[1][KEY]
    sample = draw_sample(images, 10)
    assert sample["image"].tolist() == list(range(1, 61))  # 10 seeds, 2 classes, neutral and 2 attributes
    assert (sample.groupby(["class", "method", "attribute"])["seed"].nunique() == 10).all()
    assert set(sample.loc[sample["method"] == "neutral", "probability"]) == {10 / 40}
    assert set(sample.loc[sample["method"] == "swap", "probability"]) == {10 / 40 / 2}
    drawn = pd.concat([draw_sample(images, 10, random_state=i) for i in range(100)])
    share = drawn.groupby(["seed", "swap_step"]).size() / 100
    assert len(share) == SEEDS * 3  # every seed and every step is drawn
    assert share.xs(50, level="swap_step").between(0.1, 0.9).all()  # 2 neutral images with probability 1/4
    assert share.xs(5, level="swap_step").mean() == pytest.approx(4 / 8, abs=0.03)  # 4 swaps with 1/8


def test_the_order_tells_nothing_and_a_second_drawing_is_the_same(half):
    _, truth, sample = half
    assert sample.equals(draw_sample(truth[KEY], 24))
    assert not sample["seed"].is_monotonic_increasing and sample["class"].iloc[:72].nunique() == 2


def test_a_judge_that_misses_half_is_corrected_by_labels(half):
    scored, truth, sample = half
    found = human_figures(scored, ATTRIBUTES, STEPS, sample, labels_of(sample, truth))
    for cls in CLASSES:
        for attribute, share in (("hair", 0.8), ("ink", 0.4)):
            reading = read(found, "present_human", cls, attribute)
            assert reading["low"] < share < reading["high"] and reading["n"] == 24
            assert read(found, "present_human", cls, attribute, method="neutral")["value"] == 0
    mean = read(found, "present_human")
    assert mean["low"] < 0.6 < mean["high"] and mean["high"] - mean["low"] < 0.3
    assert read(found, "human_agreement", None, "hair", method=LABELLED)["n"] == 24 * 2 * 3
    # one image of three is edited toward hair, which the judge misses in half of 0.8 of them
    assert read(found, "human_agreement", None, "hair", method=LABELLED)["value"] == pytest.approx(
        1 - 0.4 / 3, abs=0.05
    )


def test_a_judge_that_is_right_gives_what_it_says_and_full_agreement():
    scored, truth = scores({"hair": 0.8, "ink": 0.4}, 1.0, np.random.default_rng(1))
    sample = draw_sample(truth[KEY], 24)
    found = human_figures(scored, ATTRIBUTES, STEPS, sample, labels_of(sample, truth))
    swaps = truth[(truth["method"] == "swap") & (truth["attribute"] == "hair") & (truth["class"] == "NV")]
    reading = read(found, "present_human", "NV", "hair")
    assert reading["low"] < swaps["hair"].mean() < reading["high"]
    assert read(found, "human_agreement", method=LABELLED)["value"] == 1


def test_what_is_not_labelled_is_left_out_and_too_little_is_named(half):
    scored, truth, sample = half
    labels = labels_of(sample, truth)
    first = sample[(sample["class"] == "MEL") & (sample["attribute"] == "hair")].set_index("image")
    labels.loc[first.index[1:], "hair"] = np.nan
    found = human_figures(scored, ATTRIBUTES, STEPS, sample, labels)
    assert np.isnan(read(found, "present_human", "MEL", "hair")["value"])
    assert "labelled seeds: 1" in read(found, "present_human", "MEL", "hair")["reason"]
    assert read(found, "present_human", "MEL", "ink")["n"] == 24
    assert read(found, "present_human")["n"] == 1  # of the seeds with a label in every cell
    assert read(found, "human_agreement", None, "hair", method=LABELLED)["n"] == 24 * 6 - 23
